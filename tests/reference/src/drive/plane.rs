//! What two edges share with each other: a store that stands in for the control plane.
//!
//! It does what the control plane promises of shares, and nothing of how: the bytes and
//! fields that an edge gives are kept as they are, found again by their place and by the
//! request fields that they vary on, as old as they are by then; none is kept that was hit
//! by an invalidation since its fetch began, and none is found that was hit since; one edge
//! at a time is told to fetch. It lacks a log, so another history begins empty here, and
//! the quota, the pace and the checks of what an edge may send.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, ready};
use http::{HeaderMap, HeaderName, HeaderValue, header::VARY};
use parking_lot::Mutex;
use tidegate_clock::{BootInstant, Clock as _, ManualClock};
use tidegate_domain::{Epoch, Revision, TagPattern};
use tidegate_edge::proxy::{
    FetchNumber, PushedEntry, SecondTier, TierAnswer, TierPlace, TierQuestion, TierShare,
    TierStored, TierTurn, Unanswered,
};
use tokio::sync::{oneshot, watch};

use super::lie::{Lie, OfShare};

/// See the module.
#[derive(Debug)]
pub(super) struct Plane {
    clock: Arc<ManualClock>,
    lie: Lie,
    state: Mutex<State>,
}

/// The same, as one edge sees it.
#[derive(Debug)]
pub(super) struct PlaneOf {
    pub(super) plane: Arc<Plane>,
    pub(super) edge: usize,
}

#[derive(Debug, Default)]
struct State {
    epoch: Epoch,
    head: Revision,
    /// What was invalidated in this history.
    invalidated: Vec<(Revision, TagPattern)>,
    kept: Vec<Kept>,
    turns: Vec<Turn>,
    /// Answers to look-ups are kept back.
    is_held: bool,
    held: Vec<oneshot::Sender<()>>,
}

#[derive(Debug)]
struct Kept {
    place: TierPlace,
    vary: Vec<(HeaderName, HeaderValue)>,
    filled_at: Revision,
    entry: PushedEntry,
    since: BootInstant,
}

/// An edge that was told to fetch.
#[derive(Debug)]
struct Turn {
    place: TierPlace,
    edge: usize,
    number: FetchNumber,
    /// Dropped at its end.
    _under_way: watch::Sender<()>,
    ended: watch::Receiver<()>,
}

impl Plane {
    pub(super) fn new(clock: Arc<ManualClock>, lie: Lie) -> Arc<Self> {
        let state = Mutex::default();
        Arc::new(Self { clock, lie, state })
    }

    /// Another history begins.
    pub(super) fn begin(&self, epoch: Epoch) {
        let mut state = self.state.lock();
        state.epoch = epoch;
        state.invalidated.clear();
        state.kept.clear();
        state.turns.clear();
    }

    /// Keeps the answers to look-ups back from here on.
    pub(super) fn hold(&self) {
        self.state.lock().is_held = true;
    }

    /// Gives all that were kept back.
    pub(super) fn let_go(&self) {
        let mut state = self.state.lock();
        state.is_held = false;
        // Dropped, each goes on.
        state.held.clear();
    }

    /// Waits as long as answers are kept back.
    async fn leave(&self) {
        let turn = {
            let mut state = self.state.lock();
            state.is_held.then(|| {
                let (sender, turn) = oneshot::channel();
                state.held.push(sender);
                turn
            })
        };
        if let Some(turn) = turn {
            let _ = turn.await;
        }
    }

    pub(super) fn advance(&self, head: Revision) {
        self.state.lock().head = head;
    }

    pub(super) fn invalidate(&self, head: Revision, pattern: &TagPattern) {
        let mut state = self.state.lock();
        state.head = head;
        state.invalidated.push((head, pattern.clone()));
        if self.lie != Lie::Share(OfShare::Invalidations) {
            state.kept.retain(|kept| !is_hit(kept, pattern));
        }
    }

    fn store(&self, edge: usize, share: TierShare) -> TierStored {
        let mut state = self.state.lock();
        state.turns.retain(|turn| {
            turn.place != share.place || (turn.edge, turn.number) != (edge, share.number)
        });
        let filled_at = share.filled_at.revision;
        let kept = Kept {
            place: share.place,
            vary: share.vary,
            filled_at,
            entry: share.entry,
            since: self.clock.boot(),
        };
        let is_fenced = self.lie != Lie::Share(OfShare::Fence);
        let mut since = state.invalidated.iter().filter(|(at, _)| *at > filled_at);
        let is_hit = is_fenced && since.any(|(_, pattern)| is_hit(&kept, pattern));
        let is_same = |known: &Kept| known.place == kept.place && known.vary == kept.vary;
        let is_older = |known: &Kept| is_same(known) && known.filled_at > filled_at;
        if share.filled_at.epoch != state.epoch || is_hit || state.kept.iter().any(is_older) {
            return TierStored::NotStored;
        }
        state.kept.retain(|known| !is_same(known));
        state.kept.push(kept);
        TierStored::Stored
    }

    /// What is shared, or who fetches it.
    fn answer(&self, edge: usize, question: &TierQuestion) -> (TierAnswer, Option<Ended>) {
        let mut state = self.state.lock();
        let is_of_it = question.at.epoch == state.epoch;
        let entry = state.find(self, question).filter(|_| is_of_it);
        let under_way = state.turns.iter().find(|turn| turn.place == question.place);
        let (turn, ended) = match under_way {
            _ if entry.is_some() || !question.may_fill || !is_of_it => (TierTurn::Nobody, None),
            Some(turn) if turn.edge != edge => (TierTurn::UnderWay, Some(turn.ended.clone())),
            _ => (TierTurn::Yours, None),
        };
        if turn == TierTurn::Yours {
            let (under_way, ended) = watch::channel(());
            state.turns.push(Turn {
                place: question.place.clone(),
                edge,
                number: question.number,
                _under_way: under_way,
                ended,
            });
        }
        (TierAnswer { entry, turn }, ended)
    }
}

type Ended = watch::Receiver<()>;

impl State {
    fn find(&self, plane: &Plane, question: &TierQuestion) -> Option<PushedEntry> {
        let for_all = plane.lie == Lie::Share(OfShare::Selection);
        let is_for_it = |kept: &Kept| {
            let mut fields = kept.vary.iter();
            for_all
                || fields.all(|(name, value)| value_of(&question.request, name) == value.as_bytes())
        };
        let mut of_place = self.kept.iter().filter(|it| it.place == question.place);
        let kept = of_place.find(|kept| is_for_it(kept))?;
        let been = plane.clock.boot().saturating_since(kept.since);
        let been = match plane.lie {
            Lie::Share(OfShare::Age) => Duration::ZERO,
            _ => been,
        };
        let mut entry = PushedEntry {
            age: kept.entry.age + been,
            fresh_for: kept.entry.fresh_for.checked_sub(been)?,
            validated_as_of: self.head,
            ..kept.entry.clone()
        };
        for (name, _) in &kept.vary {
            entry.headers.append(VARY, name.clone().into());
        }
        if plane.lie == Lie::Share(OfShare::Bytes) {
            entry.body = entry.body.iter().rev().copied().collect();
        }
        (!entry.fresh_for.is_zero()).then_some(entry)
    }
}

fn is_hit(kept: &Kept, pattern: &TagPattern) -> bool {
    let url = format!("url:{}", kept.place.url.as_str());
    let own = kept.entry.tags.iter().map(|tag| tag.as_str());
    own.chain([url.as_str()]).any(|tag| pattern.matches(tag))
}

/// Several lines are one list, and none is empty.
fn value_of(request: &HeaderMap, name: &HeaderName) -> Vec<u8> {
    let lines: Vec<_> = request
        .get_all(name)
        .iter()
        .map(HeaderValue::as_bytes)
        .collect();
    lines.join(&b", "[..])
}

impl SecondTier for PlaneOf {
    fn look(&self, question: TierQuestion) -> BoxFuture<'static, Result<TierAnswer, Unanswered>> {
        let (plane, edge) = (self.plane.clone(), self.edge);
        async move {
            let (answer, under_way) = plane.answer(edge, &question);
            plane.leave().await;
            let Some(mut ended) = under_way.filter(|_| !question.wait.is_zero()) else {
                return Ok(answer);
            };
            let _ = tokio::time::timeout(question.wait, ended.changed()).await;
            Ok(plane.answer(edge, &question).0)
        }
        .boxed()
    }

    fn share(&self, share: TierShare) -> BoxFuture<'static, Result<TierStored, Unanswered>> {
        ready(Ok(self.plane.store(self.edge, share))).boxed()
    }

    fn release(
        &self,
        place: TierPlace,
        number: FetchNumber,
    ) -> BoxFuture<'static, Result<(), Unanswered>> {
        let mut state = self.plane.state.lock();
        let of_it = |turn: &Turn| turn.place == place && turn.number == number;
        let edge = self.edge;
        state.turns.retain(|turn| turn.edge != edge || !of_it(turn));
        ready(Ok(())).boxed()
    }
}
