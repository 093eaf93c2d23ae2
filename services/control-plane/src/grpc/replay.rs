//! Reading the order again: for browsers that were away, and for people who watch.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use prost::Message as _;
use tidegate_domain::{Revision, SiteFilter, SiteName};
use tidegate_proto::{Code, EVENT_VERSION, v1};
use tokio::sync::mpsc;
use tonic::Status;

use super::context::Context;
use super::fault::Fault;
use super::fields;
use super::page::MAX_PAGE_BYTES;
use crate::fleet::locate;
use crate::log::{Log, ReadError};

/// Events that `ReadLog` answers one by one.
const MAX_EVENTS: usize = 1_000;
/// Bytes of events that `ReadLog` answers one by one.
const MAX_EVENT_BYTES: usize = MAX_PAGE_BYTES;
/// Patterns of a folded answer; more become `*`.
const MAX_FOLDED: usize = 1_000;
/// Entries read at once.
const CHUNK: usize = 64;
/// Events that wait for a person's screen.
const EVENTS_AHEAD: usize = 64;

/// Answers `ReadLog`.
pub(crate) async fn read_log(
    context: &Context,
    request: &v1::ReadLogRequest,
) -> Result<v1::ReadLogResponse, Fault> {
    let site = fields::site_name(&request.site)?;
    let cursor = fields::cursor("cursor", &request.cursor)?;
    let after = match locate(&*context.log, &cursor) {
        Ok(revision) => revision,
        Err(misplaced) => return Ok(not_found(misplaced.into())),
    };
    let up_to = Revision(request.to_inclusive).min(context.log.head());
    if up_to.0.saturating_sub(after.0) > context.fleet.settings().max_behind {
        return Ok(not_found(v1::ResetReason::TooFarBehind));
    }
    let log = context.log.clone();
    let replay = context.read(move || Replay::of(&*log, &site, after, up_to));
    match replay.await? {
        Ok(replay) => Ok(replay.into_answer()),
        // It was compacted meanwhile.
        Err(ReadError::BelowFloor(_)) => Ok(not_found(v1::ResetReason::BelowFloor)),
        Err(error) => Err(error.into()),
    }
}

fn not_found(reason: v1::ResetReason) -> v1::ReadLogResponse {
    v1::ReadLogResponse {
        found: false,
        reason: reason.into(),
        ..v1::ReadLogResponse::default()
    }
}

/// A part of the order as one site's browsers need it.
#[derive(Debug, Default)]
struct Replay {
    events: Vec<Bytes>,
    /// Of these events together.
    bytes: usize,
    /// Once there are too many events: their invalidations as one.
    folded: Option<BTreeSet<String>>,
}

impl Replay {
    fn of(
        log: &dyn Log,
        site: &SiteName,
        after: Revision,
        up_to: Revision,
    ) -> Result<Self, ReadError> {
        let mut replay = Self::default();
        let mut position = after;
        while position < up_to {
            let entries = log.read(position, up_to, CHUNK)?;
            let Some(last) = entries.last() else { break };
            position = last.revision;
            for entry in entries {
                if entry.site.is_empty() || entry.site == site.as_str() {
                    replay.add(entry.event);
                }
            }
        }
        Ok(replay)
    }

    fn add(&mut self, event: Bytes) {
        if let Some(folded) = &mut self.folded {
            fold(folded, event);
            return;
        }
        self.bytes += event.len();
        self.events.push(event);
        if self.events.len() > MAX_EVENTS || self.bytes > MAX_EVENT_BYTES {
            let mut folded = BTreeSet::new();
            for event in self.events.drain(..) {
                fold(&mut folded, event);
            }
            self.folded = Some(folded);
        }
    }

    fn into_answer(self) -> v1::ReadLogResponse {
        let folded = self.folded.map(Vec::from_iter);
        v1::ReadLogResponse {
            found: true,
            reason: v1::ResetReason::Unspecified.into(),
            events: self.events,
            folded_patterns: folded.unwrap_or_default(),
        }
    }
}

/// Adds the patterns of an event. One that cannot be read whole may have been an
/// invalidation of everything.
fn fold(folded: &mut BTreeSet<String>, event: Bytes) {
    use v1::event::Kind;
    let event = v1::Event::decode(event).unwrap_or_default();
    let patterns = match event.kind {
        _ if event.version != EVENT_VERSION => None,
        Some(Kind::Invalidated(invalidated)) => Some(invalidated.patterns),
        Some(Kind::ReleaseActivated(activated)) => Some(activated.patterns),
        Some(Kind::SiteDeleted(_)) | None => None,
        Some(
            Kind::Preloaded(_)
            | Kind::Published(_)
            | Kind::SiteChanged(_)
            | Kind::ReleasePublished(_)
            | Kind::Noted(_),
        ) => Some(Vec::new()),
    };
    match patterns {
        Some(patterns) => folded.extend(patterns),
        None => {
            folded.insert("*".to_owned());
        }
    }
    if folded.len() > MAX_FOLDED || folded.contains("*") {
        folded.clear();
        folded.insert("*".to_owned());
    }
}

type Seen = Result<v1::WatchEventsResponse, Status>;

/// Begins `WatchEvents`. It ends when the watcher leaves or takes nothing, and in a
/// drain.
pub(crate) fn watch(
    context: &Arc<Context>,
    request: &v1::WatchEventsRequest,
) -> Result<mpsc::Receiver<Seen>, Fault> {
    let site = match request.site.as_str() {
        "" => None,
        name => {
            let site = fields::site_name(name)?;
            context.site(&site)?;
            Some(site)
        }
    };
    let after = match fields::optional_cursor("cursor", &request.cursor)? {
        None => context.log.head(),
        Some(cursor) => locate(&*context.log, &cursor).map_err(|e| Fault::misplaced(e, cursor))?,
    };
    let Ok(turn) = context.watchers.clone().try_acquire_owned() else {
        return Err(Fault::new(
            Code::ResourceExhausted,
            "too many watch events already; try again later",
        ));
    };
    let (sender, receiver) = mpsc::channel(EVENTS_AHEAD);
    let context = context.clone();
    tokio::spawn(async move {
        let _turn = turn;
        let drain = context.fleet.draining().clone();
        let fault = tokio::select! {
            () = sender.closed() => return,
            () = drain.cancelled() => Fault::new(
                Code::Unavailable,
                "the control plane is about to end; watch again from the last cursor",
            ),
            Err(fault) = follow(&context, site, after, &sender) => fault,
        };
        // Whoever takes nothing now sees the stream end.
        let _ = sender.try_send(Err(fault.into()));
    });
    Ok(receiver)
}

async fn follow(
    context: &Context,
    site: Option<SiteName>,
    after: Revision,
    sender: &mpsc::Sender<Seen>,
) -> Result<std::convert::Infallible, Fault> {
    let stall = context.fleet.settings().send_stall;
    let mut head = context.log.watch_head();
    let mut position = after;
    loop {
        let durable = *head.borrow_and_update();
        while position < durable {
            let log = context.log.clone();
            let read = move || log.read(position, durable, CHUNK);
            let entries = context.read(read).await??;
            let Some(last) = entries.last() else { break };
            position = last.revision;
            for entry in entries {
                let wanted = match &site {
                    None => true,
                    Some(site) => entry.site == site.as_str(),
                };
                if !wanted {
                    continue;
                }
                let event = entry.decode().map_err(Fault::internal)?;
                let cursor = context.log.cursor_at(entry.revision, SiteFilter::ALL);
                let seen = v1::WatchEventsResponse {
                    event: Some(event),
                    cursor: cursor.map(|c| c.to_string()).unwrap_or_default(),
                };
                match tokio::time::timeout(stall, sender.send(Ok(seen))).await {
                    Ok(Ok(())) => {}
                    Ok(Err(_)) | Err(_) => {
                        return Err(Fault::new(
                            Code::DeadlineExceeded,
                            format!(
                                "nothing was read for {stall:?}; watch again from the last cursor"
                            ),
                        ));
                    }
                }
            }
        }
        if head.changed().await.is_err() {
            return Err(Fault::new(Code::Unavailable, "the log has stopped"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn invalidation(pattern: &str) -> Bytes {
        let event = v1::Event {
            version: EVENT_VERSION,
            kind: Some(v1::event::Kind::Invalidated(v1::Invalidated {
                patterns: vec![pattern.to_owned()],
                ..v1::Invalidated::default()
            })),
            ..v1::Event::default()
        };
        event.encode_to_vec().into()
    }

    #[test]
    fn up_to_a_thousand_events_are_told_one_by_one_and_more_as_one() {
        let mut replay = Replay::default();
        for n in 0..1_000 {
            replay.add(invalidation(&format!("t{}", n % 10)));
        }
        assert_eq!(replay.events.len(), 1_000);
        replay.add(invalidation("t9"));
        replay.add(invalidation("u"));
        let answer = replay.into_answer();
        assert!(answer.found && answer.events.is_empty());
        assert_eq!(answer.folded_patterns.len(), 11);
    }

    #[test]
    fn events_that_would_not_fit_into_one_message_are_told_as_one() {
        let mut replay = Replay::default();
        let pattern = "x".repeat(64 << 10);
        for _ in 0..31 {
            replay.add(invalidation(&pattern));
        }
        assert_eq!(replay.events.len(), 31);
        replay.add(invalidation("a"));
        replay.add(invalidation(&pattern));
        let answer = replay.into_answer();
        assert!(answer.events.is_empty());
        assert_eq!(answer.folded_patterns.len(), 2);
    }

    #[test]
    fn what_cannot_be_folded_is_everything() {
        let newer = v1::Event {
            version: EVENT_VERSION + 1,
            ..v1::Event::decode(invalidation("a")).unwrap()
        };
        let no_kind = v1::Event {
            version: EVENT_VERSION,
            ..v1::Event::default()
        };
        for event in [newer, no_kind] {
            let mut folded = BTreeSet::from(["a".to_owned()]);
            fold(&mut folded, event.encode_to_vec().into());
            assert_eq!(Vec::from_iter(folded), ["*"]);
        }
        let mut folded = BTreeSet::new();
        for n in 0..1_001 {
            fold(&mut folded, invalidation(&format!("t{n}")));
        }
        assert_eq!(Vec::from_iter(folded), ["*"]);
    }
}
