//! Where a connection begins, and what it missed.
//!
//! A browser that names the last id it heard gets everything behind it, in order:
//! from this edge's ring, from the log beyond it, or, if neither goes back that far,
//! a reset. It joins its group and takes what it missed under one lock, so nothing
//! lies between the two.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use tidegate_domain::{Cursor, Revision, SiteName, TagPattern};

use super::body::Member;
use super::event::SiteEvent;
use super::fold::{Fold, TooMuch};
use super::frame::{self, Encoder};
use super::group::{GroupKey, Reader};
use super::request::{Ask, LastEvent};
use super::site::{SiteEvents, State, reset_frame};
use crate::standing::Placed;

/// Reads events that are older than what this edge remembers.
pub trait Replay: Send + Sync + 'static {
    /// Reads the events of `site` behind `after`, up to and with `to`. May take its
    /// time: the caller sets a limit. What goes wrong is [`Replayed::NotFound`].
    fn read<'a>(
        &'a self,
        site: &'a SiteName,
        after: Cursor,
        to: Revision,
    ) -> BoxFuture<'a, Replayed>;
}

/// What was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Replayed {
    /// The events, in order.
    Events(Vec<SiteEvent>),
    /// More than is worth reading one by one: the invalidations of all, as one.
    Folded(Vec<TagPattern>),
    /// The history does not go back that far, or cannot be asked.
    NotFound,
}

/// A connection that has joined its group.
pub(super) struct Begun {
    pub(super) member: Member,
    pub(super) reader: Reader,
    pub(super) seen: u64,
    /// The first frames.
    pub(super) opening: Bytes,
}

/// The edge drains: no stream is opened any more.
#[derive(Debug)]
pub(super) struct Closing;

/// How a stream begins.
enum Start {
    Fresh,
    After(Cursor),
    /// Behind what was read from the log up to `to`.
    Replayed {
        after: Cursor,
        to: Cursor,
        past: Vec<Past>,
    },
    Reset(&'static str),
}

/// A piece of what was missed.
enum Past {
    Event(Arc<SiteEvent>),
    Folded(Cursor, Vec<TagPattern>),
}

/// Why a stream cannot simply go on behind a cursor.
enum Obstacle {
    Closing,
    Reset(&'static str),
    /// The ring begins later; it is whole from here on.
    BelowFloor(Cursor),
}

impl SiteEvents {
    /// Joins the group of `ask` where the browser left off.
    pub(super) async fn begin(self: &Arc<Self>, ask: Ask) -> Result<Begun, Closing> {
        let start = match ask.last {
            LastEvent::None => Start::Fresh,
            LastEvent::Unreadable => Start::Reset("unreadable-id"),
            LastEvent::At(cursor) => {
                if !self.has_reached(&cursor).await {
                    Start::Reset("ahead-of-edge")
                } else {
                    Start::After(cursor)
                }
            }
        };
        let start = match self.join(&ask.key, start) {
            Ok(begun) => return Ok(begun),
            Err((_, Obstacle::Closing)) => return Err(Closing),
            Err((_, Obstacle::Reset(reason))) => Start::Reset(reason),
            Err((after, Obstacle::BelowFloor(to))) => self.read_past(after, to).await,
        };
        match self.join(&ask.key, start) {
            Ok(begun) => Ok(begun),
            Err((_, Obstacle::Closing)) => Err(Closing),
            // The ring moved on while the log was read.
            Err(_) => self
                .join(&ask.key, Start::Reset("too-far-behind"))
                .map_err(|_| Closing),
        }
    }

    /// Waits, bounded, until this edge has applied what the browser heard from
    /// another.
    async fn has_reached(&self, cursor: &Cursor) -> bool {
        let is_ahead =
            |here: &Cursor| here.epoch == cursor.epoch && here.revision < cursor.revision;
        if !self.with_state(|state| is_ahead(&state.head)) {
            return true;
        }
        let reached = self.standing.reach(*cursor);
        matches!(
            tokio::time::timeout(self.limits.ahead_wait, reached).await,
            Ok(placed) if placed != Placed::Ahead
        )
    }

    async fn read_past(&self, after: Cursor, to: Cursor) -> Start {
        let read = async {
            let _place = self.replays.acquire().await.ok()?;
            Some(self.replay.read(&self.name, after, to.revision).await)
        };
        let replayed = tokio::time::timeout(self.limits.replay_wait, read).await;
        let past = match replayed {
            Ok(Some(Replayed::Events(events))) => events
                .into_iter()
                .filter(|e| {
                    (after.revision < e.cursor.revision) && (e.cursor.revision <= to.revision)
                })
                .map(|event| Past::Event(Arc::new(event)))
                .collect(),
            Ok(Some(Replayed::Folded(patterns))) => vec![Past::Folded(to, patterns)],
            Ok(Some(Replayed::NotFound)) => return Start::Reset("below-floor"),
            Ok(None) | Err(_) => return Start::Reset("history-unavailable"),
        };
        Start::Replayed { after, to, past }
    }

    /// Joins under one lock; encodes what was missed after it.
    fn join(self: &Arc<Self>, key: &GroupKey, start: Start) -> Result<Begun, (Cursor, Obstacle)> {
        let joined = self.with_state(|state| {
            let head = state.head;
            let (after, position, past) = match start {
                _ if state.is_closing => return Err((head, Obstacle::Closing)),
                Start::Fresh => (Opening::From(head), head.revision, Vec::new()),
                Start::Reset(reason) => (Opening::Reset(head, reason), head.revision, Vec::new()),
                Start::After(cursor) => {
                    let past = missed(state, &cursor).map_err(|obstacle| (cursor, obstacle))?;
                    (
                        Opening::From(cursor),
                        cursor.revision.max(head.revision),
                        past,
                    )
                }
                Start::Replayed {
                    after,
                    to,
                    mut past,
                } => {
                    past.extend(missed(state, &to).map_err(|obstacle| (after, obstacle))?);
                    (Opening::From(after), head.revision, past)
                }
            };
            let member = state.join(self, key.clone());
            // Read before the ring: what is pushed in between is looked at again.
            let seen = member.group.pulse();
            let reader = member.group.reader(position);
            Ok((
                member,
                seen,
                reader,
                after,
                past,
                head,
                state.rules.heartbeat,
            ))
        });
        let (member, seen, reader, opening, past, head, heartbeat) = joined?;
        let opening = self.opening(&member, &opening, &past, &head, heartbeat);
        Ok(Begun {
            member,
            reader,
            seen,
            opening,
        })
    }

    fn opening(
        &self,
        member: &Member,
        opening: &Opening,
        past: &[Past],
        head: &Cursor,
        heartbeat: Duration,
    ) -> Bytes {
        let detail = member.group.key().detail;
        let spread = self.limits.spread;
        let retry = Duration::from_millis(rand::random_range(1_000..=5_000));
        let mut out = Vec::with_capacity(256);
        let mut connect = |id: Option<&Cursor>, cursor| {
            frame::write_connected(&mut out, retry, id, cursor, heartbeat, spread);
        };
        match opening {
            Opening::From(cursor) => connect(Some(cursor), cursor),
            Opening::Reset(cursor, _) => connect(None, cursor),
        }
        match opening {
            Opening::Reset(cursor, reason) => {
                out.extend_from_slice(&reset_frame(cursor, reason, detail));
            }
            Opening::From(_) => {
                let told = self
                    .tell(member, past)
                    .unwrap_or_else(|_| reset_frame(head, "too-far-behind", detail));
                out.extend_from_slice(&told);
            }
        }
        out.into()
    }

    /// What was missed: one by one, or folded if it is much.
    fn tell(&self, member: &Member, past: &[Past]) -> Result<Bytes, TooMuch> {
        let hearing = member.group.hearing();
        let detail = member.group.key().detail;
        let (spread, max_bytes) = (self.limits.spread, self.limits.replay_bytes);
        if past.len() <= self.limits.replay_events {
            let mut out = Vec::new();
            for piece in past {
                match piece {
                    Past::Event(event) => {
                        let frame = Encoder::new(event, spread).encode(&hearing, detail);
                        out.extend_from_slice(&frame.unwrap_or_default());
                    }
                    Past::Folded(to, patterns) => {
                        let mut fold = Fold::new(&hearing, detail, spread, max_bytes);
                        fold.add_folded(*to, patterns);
                        out.extend_from_slice(&fold.finish()?);
                    }
                }
            }
            if out.len() <= max_bytes {
                return Ok(out.into());
            }
        }
        let mut fold = Fold::new(&hearing, detail, spread, max_bytes);
        for piece in past {
            match piece {
                Past::Event(event) => fold.add(event)?,
                Past::Folded(to, patterns) => fold.add_folded(*to, patterns),
            }
        }
        fold.finish()
    }
}

/// What the first frame says.
enum Opening {
    From(Cursor),
    Reset(Cursor, &'static str),
}

/// The events of the ring behind `cursor`.
fn missed(state: &State, cursor: &Cursor) -> Result<Vec<Past>, Obstacle> {
    if cursor.epoch != state.head.epoch || state.terms.contradict(cursor) {
        return Err(Obstacle::Reset("unknown-history"));
    }
    if cursor.revision < state.floor {
        return Err(Obstacle::BelowFloor(state.head));
    }
    let events = state.behind(cursor.revision);
    Ok(events.into_iter().map(Past::Event).collect())
}
