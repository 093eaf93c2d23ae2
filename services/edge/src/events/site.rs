//! The events of one site: what happened, who listens, and what ends.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tidegate_domain::site::CheckedSite;
use tidegate_domain::{Cursor, Revision, SiteName, TagPattern};
use tokio::sync::{Notify, Semaphore};

use super::body::Member;
use super::caps::Caps;
use super::cors::Cors;
use super::event::SiteEvent;
use super::fold::Fold;
use super::frame::{self, Detail, Encoder};
use super::group::{Group, GroupKey, Reader};
use super::hearing::Hearing;
use super::limits::Limits;
use super::resume::Replay;
use super::terms::Terms;
use crate::standing::Standing;

/// The events of one site. See the module above for how it works.
///
/// The link is its one writer: it calls [`publish`](Self::publish) for every event
/// of the site in the order of the log, after the standing has moved,
/// [`progress`](Self::progress) after each batch, and [`reset`](Self::reset) when it
/// adopted a snapshot.
pub struct SiteEvents {
    pub(super) name: SiteName,
    pub(super) standing: Arc<Standing>,
    pub(super) replay: Arc<dyn Replay>,
    pub(super) replays: Semaphore,
    pub(super) limits: Limits,
    pub(super) caps: Arc<Caps>,
    /// Held while the ring and then the groups are changed, so that all groups see
    /// one order. Taken before `state`.
    order: Mutex<()>,
    /// Held briefly. Taken before a group's locks.
    state: Mutex<State>,
    /// The time of the last tick, in nanoseconds since boot.
    ticked: AtomicU64,
    /// Wakes the timer when its period changed.
    changed: Arc<Notify>,
}

/// What the configuration says.
pub(super) struct Rules {
    pub(super) public_tags: Arc<[TagPattern]>,
    pub(super) cors: Cors,
    pub(super) heartbeat: Duration,
    pub(super) max_connections: u32,
    pub(super) max_connections_per_address: u32,
}

pub(super) struct State {
    /// Everything up to here has been published.
    pub(super) head: Cursor,
    /// The ring holds everything behind this, up to the head.
    pub(super) floor: Revision,
    pub(super) terms: Terms,
    pub(super) rules: Arc<Rules>,
    pub(super) is_closing: bool,
    ring: VecDeque<Arc<SiteEvent>>,
    ring_weight: usize,
    groups: HashMap<Arc<GroupKey>, Membership>,
}

struct Membership {
    group: Arc<Group>,
    members: usize,
}

impl SiteEvents {
    /// The events of a site behind `start`: everything up to it counts as
    /// published, and every later event of the site has to be.
    #[must_use]
    pub fn new(
        name: SiteName,
        site: &CheckedSite,
        standing: Arc<Standing>,
        replay: Arc<dyn Replay>,
        start: Cursor,
        limits: Limits,
    ) -> Arc<Self> {
        let mut terms = Terms::default();
        terms.note(&start);
        Arc::new(Self {
            name,
            replay,
            replays: Semaphore::new(limits.replays),
            limits,
            caps: Arc::default(),
            order: Mutex::default(),
            ticked: AtomicU64::new(standing.clock().boot().as_nanos()),
            changed: Arc::default(),
            standing,
            state: Mutex::new(State {
                head: start,
                floor: start.revision,
                terms,
                rules: Arc::new(Rules::of(site)),
                is_closing: false,
                ring: VecDeque::new(),
                ring_weight: 0,
                groups: HashMap::new(),
            }),
        })
    }

    /// Open connections.
    #[must_use]
    pub fn connections(&self) -> u32 {
        self.caps.open()
    }

    /// Tells everyone who may hear it. Each event must lie behind the one before:
    /// one that does not shows that order was lost, and becomes a reset.
    pub fn publish(&self, event: SiteEvent) {
        let _order = self.order.lock();
        let event = Arc::new(event);
        let groups = {
            let mut state = self.state.lock();
            if !state.is_behind_head(&event.cursor) {
                tracing::error!(
                    site = %self.name,
                    revision = %event.cursor.revision,
                    head = %state.head.revision,
                    "an event came out of order: browsers are told to reset"
                );
                let at = state.newest_of(event.cursor);
                drop(state);
                return self.reset_in_order(at, "out-of-order");
            }
            state.append(event.clone(), &self.limits);
            state.groups()
        };
        let mut encoder = Encoder::new(&event, self.limits.spread);
        for group in groups {
            if let Some(bytes) = encoder.encode(&group.hearing(), group.key().detail) {
                group.push(event.cursor.revision, bytes, &self.limits);
                group.wake();
            }
        }
    }

    /// Tells everyone who is listening of an event that had to wait while later ones
    /// were told, such as a hint whose URLs had to be fetched. It goes out without an
    /// id, because an id stands for all before it, and is not kept: a browser that is
    /// away does not hear of it.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "an event is told once, so it is given away as to publish"
    )]
    pub fn publish_late(&self, event: SiteEvent) {
        let _order = self.order.lock();
        let groups = self.state.lock().groups();
        let mut encoder = Encoder::late(&event, self.limits.spread);
        for group in groups {
            if let Some(bytes) = encoder.encode(&group.hearing(), group.key().detail) {
                group.push_late(event.cursor.revision, bytes, &self.limits);
                group.wake();
            }
        }
    }

    /// Says that every event of this site up to `cursor` has been published. Costs
    /// next to nothing; without it browsers resume from older positions.
    pub fn progress(&self, cursor: Cursor) {
        let _order = self.order.lock();
        let mut state = self.state.lock();
        if cursor.epoch != state.head.epoch {
            drop(state);
            self.reset_in_order(cursor, "unknown-history");
        } else if cursor.revision > state.head.revision {
            state.head = cursor;
            state.terms.note(&cursor);
        }
    }

    /// Forgets what happened before `cursor` and tells every browser that anything
    /// may have changed. `reason` is for people and programs: `kebab-case`.
    pub fn reset(&self, cursor: Cursor, reason: &str) {
        let _order = self.order.lock();
        self.reset_in_order(cursor, reason);
    }

    /// Sends a heartbeat to everyone if the edge holds a lease, ends connections
    /// that are too old, and forgets frames nobody waits for. To be called once a
    /// heartbeat period, as [`beats`](Self::beats) does.
    pub fn tick(&self) {
        let _order = self.order.lock();
        let now = self.standing.clock().boot().as_nanos();
        self.ticked.store(now, Ordering::Release);
        let (head, groups) = {
            let state = self.state.lock();
            (state.head, state.groups())
        };
        let beats =
            self.standing.now().leased().then(|| {
                [Detail::Plain, Detail::Full].map(|detail| frame::heartbeat(&head, detail))
            });
        for group in groups {
            group.trim();
            match &beats {
                Some([plain, full]) => {
                    let bytes = match group.key().detail {
                        Detail::Plain => plain,
                        Detail::Full => full,
                    };
                    group.push_heartbeat(head.revision, bytes.clone());
                    group.wake();
                }
                None => group.wake_expired(now),
            }
        }
    }

    /// Ticks until the site is closed or dropped. One timer for all connections.
    pub fn beats(self: &Arc<Self>) -> impl Future<Output = ()> + Send + 'static {
        let site = Arc::downgrade(self);
        let changed = self.changed.clone();
        async move {
            loop {
                let period = match site.upgrade() {
                    Some(site) if !site.state.lock().is_closing => site.rules().heartbeat,
                    _ => return,
                };
                if tokio::time::timeout(period, changed.notified())
                    .await
                    .is_err()
                    && let Some(site) = site.upgrade()
                {
                    site.tick();
                }
            }
        }
    }

    /// Follows a change of the configuration. Open connections stay; what they may
    /// hear changes with the next event.
    pub fn update(&self, site: &CheckedSite) {
        let _order = self.order.lock();
        let rules = Arc::new(Rules::of(site));
        let mut state = self.state.lock();
        if rules.public_tags != state.rules.public_tags {
            for membership in state.groups.values() {
                let group = &membership.group;
                group.set_hearing(Hearing::new(&group.key().interests, &rules.public_tags));
            }
        }
        state.rules = rules;
        drop(state);
        self.changed.notify_one();
    }

    /// Asks every browser to come back, elsewhere if it can, spread over `spread`,
    /// and ends all streams. No new ones are opened.
    pub fn close_all(&self, spread: Duration) {
        let _order = self.order.lock();
        let groups = {
            let mut state = self.state.lock();
            state.is_closing = true;
            state.groups()
        };
        let bytes = frame::reconnect(spread);
        for group in groups {
            group.close(bytes.clone());
            group.wake();
        }
        self.changed.notify_one();
    }

    fn reset_in_order(&self, cursor: Cursor, reason: &str) {
        let groups = {
            let mut state = self.state.lock();
            state.begin_at(cursor);
            state.groups()
        };
        let frames =
            [Detail::Plain, Detail::Full].map(|detail| reset_frame(&cursor, reason, detail));
        for group in groups {
            let [plain, full] = &frames;
            let bytes = match group.key().detail {
                Detail::Plain => plain,
                Detail::Full => full,
            };
            group.push_reset(cursor.revision, bytes.clone(), &self.limits);
            group.wake();
        }
    }
}

/// For connections.
impl SiteEvents {
    /// Looks at the state, briefly.
    pub(super) fn with_state<T>(&self, look: impl FnOnce(&mut State) -> T) -> T {
        look(&mut self.state.lock())
    }

    pub(super) fn rules(&self) -> Arc<Rules> {
        self.state.lock().rules.clone()
    }

    /// The time of the last tick, in nanoseconds since boot: near enough to end a
    /// life that is counted in minutes.
    pub(super) fn tick_time(&self) -> u64 {
        self.ticked.load(Ordering::Acquire)
    }

    /// What a connection that fell out of its group's ring is told instead.
    pub(super) fn catch_up(&self, group: &Group, reader: &mut Reader) -> Bytes {
        let from = reader.position;
        let detail = group.key().detail;
        let (head, events) = {
            let state = self.state.lock();
            let missed_reset = group.skip_to_end(reader);
            if missed_reset || from < state.floor {
                reader.position = state.head.revision;
                return reset_frame(&state.head, "too-far-behind", detail);
            }
            reader.position = from.max(state.head.revision);
            if let Some(bytes) = group.folded(from, state.head.revision) {
                return bytes;
            }
            (state.head, state.behind(from))
        };
        let hearing = group.hearing();
        let mut fold = Fold::new(
            &hearing,
            detail,
            self.limits.spread,
            self.limits.replay_bytes,
        );
        let folded = events
            .iter()
            .try_for_each(|event| fold.add(event))
            .and_then(|()| fold.finish())
            .unwrap_or_else(|_| reset_frame(&head, "too-far-behind", detail));
        group.keep_folded(from, head.revision, folded.clone());
        folded
    }

    pub(super) fn leave(&self, group: &Arc<Group>) {
        let mut state = self.state.lock();
        let Some(membership) = state.groups.get_mut(group.key()) else {
            return;
        };
        membership.members -= 1;
        if membership.members == 0 {
            state.groups.remove(group.key());
        }
    }
}

impl State {
    /// The group of `key`, made if there is none, with one more member.
    pub(super) fn join(&mut self, site: &Arc<SiteEvents>, key: GroupKey) -> Member {
        let key = Arc::new(key);
        let public_tags = &self.rules.public_tags;
        let membership = self.groups.entry(key.clone()).or_insert_with(|| {
            let hearing = Hearing::new(&key.interests, public_tags);
            Membership {
                group: Arc::new(Group::new(key, hearing)),
                members: 0,
            }
        });
        membership.members += 1;
        Member {
            site: site.clone(),
            group: membership.group.clone(),
        }
    }

    /// The events of the ring behind `revision`.
    pub(super) fn behind(&self, revision: Revision) -> Vec<Arc<SiteEvent>> {
        let from = self
            .ring
            .partition_point(|event| event.cursor.revision <= revision);
        self.ring.range(from..).cloned().collect()
    }

    fn groups(&self) -> Vec<Arc<Group>> {
        self.groups.values().map(|m| m.group.clone()).collect()
    }

    fn is_behind_head(&self, cursor: &Cursor) -> bool {
        cursor.epoch == self.head.epoch && cursor.revision > self.head.revision
    }

    fn newest_of(&self, cursor: Cursor) -> Cursor {
        if cursor.epoch == self.head.epoch && cursor.revision < self.head.revision {
            self.head
        } else {
            cursor
        }
    }

    fn append(&mut self, event: Arc<SiteEvent>, limits: &Limits) {
        self.head = event.cursor;
        self.terms.note(&event.cursor);
        self.ring_weight += event.weight();
        self.ring.push_back(event);
        while self.ring.len() > limits.ring_events || self.ring_weight > limits.ring_bytes {
            let Some(oldest) = self.ring.pop_front() else {
                return;
            };
            self.ring_weight -= oldest.weight();
            self.floor = oldest.cursor.revision;
        }
    }

    fn begin_at(&mut self, cursor: Cursor) {
        self.head = cursor;
        self.floor = cursor.revision;
        self.ring.clear();
        self.ring_weight = 0;
        self.terms.clear();
        self.terms.note(&cursor);
    }
}

impl Rules {
    fn of(site: &CheckedSite) -> Self {
        let events = &site.config().events;
        Self {
            public_tags: site.public_tags().into(),
            cors: Cors::new(&events.allowed_origins),
            heartbeat: events.heartbeat,
            max_connections: events.max_connections,
            max_connections_per_address: events.max_connections_per_address,
        }
    }
}

pub(super) fn reset_frame(at: &Cursor, reason: &str, detail: Detail) -> Bytes {
    let mut out = Vec::with_capacity(128);
    frame::write_reset(&mut out, at, reason, detail);
    out.into()
}
