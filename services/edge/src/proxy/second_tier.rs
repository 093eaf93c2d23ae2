//! What edges share with each other through the control plane: what is asked of it, and
//! the bounds within which it is asked.
//!
//! Nothing here is needed for an answer: whatever fails, takes too long or finds no place
//! is the same as nothing found, and the origin is asked.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::future::BoxFuture;
use http::{HeaderMap, HeaderName, HeaderValue};
use thiserror::Error;
use tidegate_clock::BootInstant;
use tidegate_domain::site::BreakerConfig;
use tidegate_domain::{Cursor, PathAndQuery, SiteName};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::entries::PushedEntry;
use super::lately::Lately;
use super::silences::Silences;
use crate::cache::key::Key;
use crate::origin::Breaker;

/// Look-ups under way at once, of all sites.
const MAX_LOOK_UPS: usize = 256;
/// Responses that are on their way to the control plane at once, of all sites.
const MAX_SHARING: usize = 32;
/// How long one of them may be on its way. As much is taken off the time that it is
/// fresh: nobody knows how long it was.
pub(super) const SHARE_TIMEOUT: Duration = Duration::from_secs(2);
/// Keys whose responses were nothing to share are remembered, so many ...
const MAX_NOT_SHARED: usize = 16_384;
/// ... and for so long.
const NOT_SHARED_FOR: Duration = Duration::from_secs(60);

/// The control plane, for what edges share.
pub trait SecondTier: Send + Sync + 'static {
    /// Looks for what another edge shares, or a backend has pushed.
    fn look(&self, question: TierQuestion) -> BoxFuture<'static, Result<TierAnswer, Unanswered>>;

    /// Shares a response. An answer ends what this edge was told to do, but for
    /// [`TierStored::Unfit`].
    fn share(&self, share: TierShare) -> BoxFuture<'static, Result<TierStored, Unanswered>>;

    /// Says that nothing will be shared of what this fetch was told to.
    fn release(
        &self,
        place: TierPlace,
        number: FetchNumber,
    ) -> BoxFuture<'static, Result<(), Unanswered>>;
}

/// The control plane gave no answer.
#[derive(Debug, Clone, Error)]
#[error("{0}")]
pub struct Unanswered(pub String);

/// Which fetch of this run of the edge is told to fetch for others, or says that it will
/// not: no two have the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FetchNumber(pub u64);

/// What shares are found by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TierPlace {
    /// Name of the site.
    pub site: SiteName,
    /// Normalised.
    pub url: PathAndQuery,
    /// The host, with the port if one was named, the scheme, and the request fields of the
    /// site's key.
    pub key: Vec<(HeaderName, HeaderValue)>,
}

/// A look-up.
#[derive(Debug, Clone)]
pub struct TierQuestion {
    /// What is looked for.
    pub place: TierPlace,
    /// Who looks.
    pub number: FetchNumber,
    /// The fields of the request.
    pub request: HeaderMap,
    /// The position that was applied before.
    pub at: Cursor,
    /// Whether the response would be fetched whole and shared.
    pub may_fill: bool,
    /// How long the control plane may wait for another edge.
    pub wait: Duration,
}

/// What the control plane answers.
#[derive(Debug, Clone)]
pub struct TierAnswer {
    /// An entry that answers the request.
    pub entry: Option<PushedEntry>,
    /// Who fetches it, if there is none.
    pub turn: TierTurn,
}

/// Who fetches what is not shared yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TierTurn {
    /// Whoever wants to; it is not to be shared.
    Nobody,
    /// This edge.
    Yours,
    /// Another edge.
    UnderWay,
}

/// A response to be shared.
#[derive(Debug, Clone)]
pub struct TierShare {
    /// Where it is found.
    pub place: TierPlace,
    /// Whose response it is.
    pub number: FetchNumber,
    /// The position that was applied before its fetch began.
    pub filled_at: Cursor,
    /// The response. `fresh_for` is what is left of its time.
    pub entry: PushedEntry,
    /// The request fields that it varies on, besides those of the key.
    pub vary: Vec<(HeaderName, HeaderValue)>,
}

/// What the control plane says of a response that was to be shared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TierStored {
    /// It is there for the others.
    Stored,
    /// It is not, this time.
    NotStored,
    /// It breaks a rule, and so will the next ones.
    Unfit,
}

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Silence {
    /// Nothing was asked: there was no answer lately.
    LeftAlone,
    /// What was asked may have been heard.
    NoAnswer,
}

/// What all sites of an edge have in common.
#[derive(Debug)]
pub(super) struct Tier {
    look_ups: Arc<Semaphore>,
    sharing: Arc<Semaphore>,
    breaker: Arc<Breaker>,
    not_shared: Lately<BootInstant>,
    fetches: AtomicU64,
    silences: Silences,
    pub(super) counts: TierCounts,
}

/// Counted since the start.
#[derive(Debug, Default)]
pub(super) struct TierCounts {
    pub(super) look_ups: AtomicU64,
    pub(super) found: AtomicU64,
    pub(super) failed: AtomicU64,
    pub(super) skipped: AtomicU64,
    pub(super) shared: AtomicU64,
    pub(super) refused: AtomicU64,
    pub(super) dropped: AtomicU64,
}

/// Figures since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TierStats {
    /// Look-ups.
    pub look_ups: u64,
    /// Of these, with an entry that was used.
    pub found: u64,
    /// Of these, without an answer.
    pub failed: u64,
    /// Fetches that looked nothing up, because too many look-ups were under way or the
    /// control plane had given no answer lately.
    pub skipped: u64,
    /// Responses that were shared.
    pub shared: u64,
    /// Responses that the control plane did not store.
    pub refused: u64,
    /// Responses that were not shared, because too many were on their way or the control
    /// plane gave no answer.
    pub dropped: u64,
}

impl Default for Tier {
    fn default() -> Self {
        Self {
            look_ups: Arc::new(Semaphore::new(MAX_LOOK_UPS)),
            sharing: Arc::new(Semaphore::new(MAX_SHARING)),
            breaker: Breaker::new(BreakerConfig {
                failures: 3,
                pause: Duration::from_secs(1),
                max_pause: Duration::from_secs(10),
                count_5xx: false,
            }),
            not_shared: Lately::of_most(MAX_NOT_SHARED),
            fetches: AtomicU64::new(0),
            silences: Silences::default(),
            counts: TierCounts::default(),
        }
    }
}

impl Tier {
    /// The number of a fetch that looks for shares.
    pub(super) fn number(&self) -> FetchNumber {
        FetchNumber(self.fetches.fetch_add(1, Ordering::Relaxed))
    }

    /// A place for a look-up, if there is one.
    pub(super) fn place(&self) -> Option<OwnedSemaphorePermit> {
        self.look_ups.clone().try_acquire_owned().ok()
    }

    /// A place for a share, if there is one.
    pub(super) fn place_to_share(&self) -> Option<OwnedSemaphorePermit> {
        self.sharing.clone().try_acquire_owned().ok()
    }

    /// Asks, unless the control plane is left alone because it gave no answer lately, for
    /// as long as `patience`.
    pub(super) async fn ask<A>(
        &self,
        asking: impl FnOnce() -> BoxFuture<'static, Result<A, Unanswered>>,
        patience: Duration,
    ) -> Result<A, Silence> {
        let Some(pass) = self.breaker.pass() else {
            TierCounts::count(&self.counts.skipped);
            return Err(Silence::LeftAlone);
        };
        let answer = self.hear(asking(), patience).await;
        match answer {
            Ok(_) => pass.succeeded(),
            Err(_) => pass.failed(),
        }
        answer
    }

    /// Asks when there is a place, whether there was an answer lately or not: there is
    /// nobody else to ask.
    pub(super) async fn ask_in_turn<A>(
        &self,
        asking: impl FnOnce() -> BoxFuture<'static, Result<A, Unanswered>>,
        patience: Duration,
    ) -> Result<A, Silence> {
        let in_turn = async {
            // The semaphore is never closed.
            let _place = self.look_ups.acquire().await;
            asking().await
        };
        self.hear(in_turn, patience).await
    }

    async fn hear<A>(
        &self,
        asking: impl Future<Output = Result<A, Unanswered>>,
        patience: Duration,
    ) -> Result<A, Silence> {
        TierCounts::count(&self.counts.look_ups);
        let late = |_| Unanswered(format!("it took longer than {patience:?}"));
        let answer = tokio::time::timeout(patience, asking).await;
        answer.map_err(late).flatten().map_err(|error| {
            TierCounts::count(&self.counts.failed);
            self.silences.tell(&error);
            Silence::NoAnswer
        })
    }

    /// Whether the response to this key was nothing to share a moment ago.
    pub(super) fn is_not_shared(&self, key: &Key, now: BootInstant) -> bool {
        self.not_shared.get(key).is_some_and(|until| now < until)
    }

    pub(super) fn remember_not_shared(&self, key: &Key, now: BootInstant) {
        self.not_shared.note(key, now + NOT_SHARED_FOR);
    }

    pub(super) fn stats(&self) -> TierStats {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let counts = &self.counts;
        TierStats {
            look_ups: read(&counts.look_ups),
            found: read(&counts.found),
            failed: read(&counts.failed),
            skipped: read(&counts.skipped),
            shared: read(&counts.shared),
            refused: read(&counts.refused),
            dropped: read(&counts.dropped),
        }
    }
}

impl TierCounts {
    pub(super) fn count(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(1);

    fn failing() -> BoxFuture<'static, Result<(), Unanswered>> {
        Box::pin(std::future::ready(Err(Unanswered("on purpose".into()))))
    }

    fn silent() -> BoxFuture<'static, Result<(), Unanswered>> {
        Box::pin(std::future::pending())
    }

    fn counted(tier: &Tier) -> [u64; 3] {
        let stats = tier.stats();
        [stats.look_ups, stats.failed, stats.skipped]
    }

    #[tokio::test(start_paused = true)]
    async fn a_control_plane_that_fails_is_asked_three_times_and_then_left_alone() {
        let tier = Tier::default();
        for _ in 0..3 {
            assert_eq!(tier.ask(failing, PATIENCE).await, Err(Silence::NoAnswer));
        }
        for _ in 0..3 {
            assert_eq!(tier.ask(failing, PATIENCE).await, Err(Silence::LeftAlone));
        }
        assert_eq!(counted(&tier), [3, 3, 3]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_look_up_that_fails_does_not_end_that_one_that_was_silent_is_left_alone() {
        let tier = Tier::default();
        for _ in 0..3 {
            assert_eq!(tier.ask(silent, PATIENCE).await, Err(Silence::NoAnswer));
        }
        tokio::time::advance(Duration::from_secs(1)).await;
        // One may find out whether it is well again.
        assert_eq!(tier.ask(failing, PATIENCE).await, Err(Silence::NoAnswer));
        assert_eq!(tier.ask(silent, PATIENCE).await, Err(Silence::LeftAlone));
        assert_eq!(counted(&tier), [4, 4, 1]);
    }

    #[tokio::test(start_paused = true)]
    async fn who_has_nobody_else_to_ask_is_not_held_back() {
        let tier = Tier::default();
        for _ in 0..9 {
            let answer = tier.ask_in_turn(failing, PATIENCE).await;
            assert_eq!(answer, Err(Silence::NoAnswer));
        }
        assert_eq!(counted(&tier), [9, 9, 0]);
    }
}
