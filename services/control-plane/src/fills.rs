//! Which edge is fetching what the others want too, so that the origin answers once for
//! all of them.
//!
//! Nothing here is durable, and nothing depends on it: who waits does so for a bounded
//! time and asks the origin then.

mod key;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tidegate_clock::{BootInstant, Clock};
use tidegate_domain::InstanceId;
use tokio::sync::{Semaphore, SemaphorePermit, watch};

pub(crate) use key::FillKey;

/// Responses that are being fetched at once. Beyond that edges fetch for themselves.
const MAX_FILLS: usize = 16_384;
/// Look-ups that wait at once. Beyond that they are answered at once.
const MAX_WAITING: usize = 4_096;
/// An edge that says nothing for so long may be gone.
const PATIENCE: Duration = Duration::from_secs(5);
/// Turns that one edge has at the same response, one for each fetch of it. Beyond that it
/// fetches for itself.
const MAX_TURNS: usize = 8;

/// A fetch of an edge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fetcher {
    /// The run of the edge.
    pub(crate) edge: InstanceId,
    /// Which of its fetches: no word about one ends the turn of another.
    pub(crate) number: u64,
}

/// Who fetches it.
#[derive(Debug)]
pub(crate) enum Turn {
    /// Who asks.
    Yours,
    /// Another edge.
    UnderWay(UnderWay),
    /// Nobody is told to: too much is being fetched already.
    Nobody,
}

/// A fetch of another edge.
#[derive(Debug)]
pub(crate) struct UnderWay {
    ended: watch::Receiver<Option<Ended>>,
    /// How long the other edge is given yet.
    patience: Duration,
}

/// How a fetch has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    /// The response is shared.
    Shared,
    /// It is not: the edge has given its turn back, or has said nothing in time.
    Unshared,
    /// It is still under way, and was waited for long enough.
    Slow,
}

/// A turn that the edge has not been told of yet. Dropped, it is given back: the edge has
/// left and will not fetch anything.
#[derive(Debug)]
pub(crate) struct Untold<'a> {
    fills: &'a Fills,
    key: FillKey,
    who: &'a Fetcher,
    how: Option<Ended>,
}

impl Untold<'_> {
    /// The edge is told that it is its turn.
    pub(crate) fn told(mut self) {
        self.how = None;
    }

    /// There is nothing to fetch: others find it.
    pub(crate) fn answered(mut self) {
        self.how = Some(Ended::Shared);
    }
}

impl Drop for Untold<'_> {
    fn drop(&mut self) {
        if let Some(how) = self.how {
            self.fills.end(&self.key, self.who, how);
        }
    }
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Fills {
    clock: Arc<dyn Clock>,
    inner: Mutex<Inner>,
    waiting: Semaphore,
}

#[derive(Debug, Default)]
struct Inner {
    fills: HashMap<FillKey, Fill>,
    /// When each is given up, in order.
    ends: VecDeque<(BootInstant, u64, FillKey)>,
    number: u64,
}

#[derive(Debug)]
struct Fill {
    number: u64,
    owner: InstanceId,
    /// The fetches of its owner that are to share it, by number; never none.
    turns: Vec<u64>,
    until: BootInstant,
    ended: watch::Sender<Option<Ended>>,
}

impl Fills {
    /// Nothing is being fetched.
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            inner: Mutex::default(),
            waiting: Semaphore::new(MAX_WAITING),
        }
    }

    /// Says who is to fetch it: who asks, unless another edge does already.
    pub(crate) fn turn(&self, key: &FillKey, who: &Fetcher) -> Turn {
        let now = self.clock.boot();
        let mut inner = self.inner.lock();
        inner.give_up(now);
        if let Some(fill) = inner.fills.get_mut(key) {
            return match fill.owner == who.edge {
                true => fill.one_more(who.number),
                false => Turn::UnderWay(UnderWay {
                    ended: fill.ended.subscribe(),
                    patience: fill.until.saturating_since(now),
                }),
            };
        }
        if inner.fills.len() >= MAX_FILLS {
            return Turn::Nobody;
        }
        inner.number += 1;
        let (number, until) = (inner.number, now + PATIENCE);
        inner.ends.push_back((until, number, *key));
        let fill = Fill {
            number,
            owner: who.edge.clone(),
            turns: vec![who.number],
            until,
            ended: watch::Sender::new(None),
        };
        inner.fills.insert(*key, fill);
        Turn::Yours
    }

    /// Holds a turn until the edge is told of it.
    pub(crate) fn until_told<'a>(&'a self, key: &FillKey, who: &'a Fetcher) -> Untold<'a> {
        Untold {
            fills: self,
            key: *key,
            who,
            how: Some(Ended::Unshared),
        }
    }

    /// The edge that was told to fetch it has done so, or will not. What other fetches of it
    /// were told stands.
    pub(crate) fn end(&self, key: &FillKey, who: &Fetcher, how: Ended) {
        let mut inner = self.inner.lock();
        let Some(fill) = inner.fills.get_mut(key).filter(|it| it.owner == who.edge) else {
            return;
        };
        let Some(at) = fill.turns.iter().position(|turn| *turn == who.number) else {
            return;
        };
        fill.turns.swap_remove(at);
        if fill.turns.is_empty() {
            inner.remove(key, how);
        } else if how == Ended::Shared {
            // It may be what those want who wait.
            fill.ended.send_replace(Some(how));
            fill.ended = watch::Sender::new(None);
        }
    }

    fn place_to_wait(&self, wait: Duration) -> Option<SemaphorePermit<'_>> {
        (!wait.is_zero())
            .then(|| self.waiting.try_acquire().ok())
            .flatten()
    }

    /// Waits for another edge's fetch.
    pub(crate) async fn wait(&self, mut fill: UnderWay, wait: Duration) -> Ended {
        let Some(_place) = self.place_to_wait(wait) else {
            return Ended::Slow;
        };
        let patience = fill.patience.min(wait);
        let ended = tokio::time::timeout(patience, fill.ended.wait_for(Option::is_some)).await;
        match ended {
            Ok(Ok(ended)) => ended.unwrap_or(Ended::Unshared),
            Ok(Err(_)) => Ended::Unshared,
            Err(_) if fill.patience <= wait => Ended::Unshared,
            Err(_) => Ended::Slow,
        }
    }
}

impl Fill {
    fn one_more(&mut self, number: u64) -> Turn {
        if !self.turns.contains(&number) {
            if self.turns.len() >= MAX_TURNS {
                return Turn::Nobody;
            }
            self.turns.push(number);
        }
        Turn::Yours
    }
}

impl Inner {
    fn give_up(&mut self, now: BootInstant) {
        while let Some((until, number, _)) = self.ends.front()
            && *until <= now
        {
            let number = *number;
            let Some((_, _, key)) = self.ends.pop_front() else {
                return;
            };
            if self.fills.get(&key).is_some_and(|it| it.number == number) {
                self.remove(&key, Ended::Unshared);
            }
        }
    }

    fn remove(&mut self, key: &FillKey, how: Ended) {
        if let Some(fill) = self.fills.remove(key) {
            fill.ended.send_replace(Some(how));
        }
        // Those that ended early lie there until their time; there are never more of them
        // than of fills for long.
        if self.ends.len() > 2 * MAX_FILLS {
            let fills = &self.fills;
            self.ends
                .retain(|(_, number, key)| fills.get(key).is_some_and(|it| it.number == *number));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use futures_util::FutureExt as _;
    use tidegate_clock::ManualClock;
    use tidegate_domain::{PathAndQuery, SiteName};

    fn key(path: &str) -> FillKey {
        let host = ("host".to_owned(), Bytes::from_static(b"a.example"));
        FillKey::of(
            &SiteName::parse("dev").unwrap(),
            &PathAndQuery::parse(path).unwrap(),
            &[host],
        )
    }

    fn edge(name: &str) -> Fetcher {
        numbered(name, 1)
    }

    fn numbered(name: &str, number: u64) -> Fetcher {
        Fetcher {
            edge: InstanceId::parse(name).unwrap(),
            number,
        }
    }

    fn fills() -> (Arc<ManualClock>, Fills) {
        let clock = Arc::new(ManualClock::default());
        (clock.clone(), Fills::new(clock))
    }

    fn under_way(fills: &Fills, path: &str, who: &str) -> UnderWay {
        match fills.turn(&key(path), &edge(who)) {
            Turn::UnderWay(fill) => fill,
            other => panic!("{other:?}"),
        }
    }

    fn is_yours(fills: &Fills, path: &str, who: &str) -> bool {
        matches!(fills.turn(&key(path), &edge(who)), Turn::Yours)
    }

    #[tokio::test]
    async fn one_edge_fetches_and_the_others_hear_how_it_ended() {
        for how in [Ended::Shared, Ended::Unshared] {
            let (_, fills) = fills();
            assert!(is_yours(&fills, "/a", "one"));
            assert!(is_yours(&fills, "/b", "two"), "of another URL");
            let fill = under_way(&fills, "/a", "two");
            let mut waiting = Box::pin(fills.wait(fill, Duration::from_secs(1)));
            assert_eq!(waiting.as_mut().now_or_never(), None);
            fills.end(&key("/a"), &edge("two"), how);
            assert_eq!(waiting.as_mut().now_or_never(), None, "it is not its own");
            fills.end(&key("/a"), &edge("one"), how);
            assert_eq!(waiting.now_or_never(), Some(how));
            assert!(is_yours(&fills, "/a", "three"));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_longer_than_he_wants_nor_for_an_edge_that_is_silent() {
        let (clock, fills) = fills();
        assert!(is_yours(&fills, "/a", "one"));
        let fill = under_way(&fills, "/a", "two");
        let before = tokio::time::Instant::now();
        assert_eq!(fills.wait(fill, Duration::from_secs(1)).await, Ended::Slow);
        assert_eq!(before.elapsed().as_secs(), 1);
        let fill = under_way(&fills, "/a", "two");
        let long = Duration::from_secs(60);
        assert_eq!(fills.wait(fill, long).await, Ended::Unshared);
        clock.advance(PATIENCE);
        assert!(is_yours(&fills, "/a", "two"));
        fills.end(&key("/a"), &edge("one"), Ended::Unshared);
        assert!(!is_yours(&fills, "/a", "one"), "the late word of another");
    }

    #[tokio::test(start_paused = true)]
    async fn an_edge_that_is_silent_has_only_so_long_from_when_it_was_told() {
        let (clock, fills) = fills();
        assert!(is_yours(&fills, "/a", "one"));
        clock.advance(PATIENCE - Duration::from_secs(1));
        let fill = under_way(&fills, "/a", "two");
        let before = tokio::time::Instant::now();
        let ended = fills.wait(fill, Duration::from_secs(60)).await;
        assert_eq!((ended, before.elapsed().as_secs()), (Ended::Unshared, 1));
    }

    #[test]
    fn who_was_told_is_told_again() {
        let (_, fills) = fills();
        assert!(is_yours(&fills, "/a", "one"));
        assert!(is_yours(&fills, "/a", "one"), "another request of it");
        assert!(!is_yours(&fills, "/a", "two"));
    }

    #[tokio::test]
    async fn a_turn_that_is_given_back_is_no_other_one_of_the_same_edge() {
        let (_, fills) = fills();
        let (first, second) = (numbered("one", 1), numbered("one", 2));
        let is_told = |who| matches!(fills.turn(&key("/a"), who), Turn::Yours);
        assert!(is_told(&first) && is_told(&second) && is_told(&first));
        let fill = under_way(&fills, "/a", "two");
        let mut waiting = Box::pin(fills.wait(fill, Duration::from_secs(1)));
        for number in [3, 1, 1] {
            fills.end(&key("/a"), &numbered("one", number), Ended::Unshared);
            assert_eq!(waiting.as_mut().now_or_never(), None, "{number}");
        }
        fills.end(&key("/a"), &second, Ended::Unshared);
        assert_eq!(waiting.now_or_never(), Some(Ended::Unshared));
    }

    #[tokio::test]
    async fn what_one_fetch_of_an_edge_shares_leaves_the_turn_of_another_one() {
        let (_, fills) = fills();
        let (first, second) = (numbered("one", 1), numbered("one", 2));
        let is_told = |who| matches!(fills.turn(&key("/a"), who), Turn::Yours);
        assert!(is_told(&first) && is_told(&second));
        let fill = under_way(&fills, "/a", "two");
        fills.end(&key("/a"), &first, Ended::Shared);
        let waiting = fills.wait(fill, Duration::from_secs(1));
        assert_eq!(waiting.now_or_never(), Some(Ended::Shared));
        let fill = under_way(&fills, "/a", "two");
        let waiting = fills.wait(fill, Duration::from_secs(1));
        fills.end(&key("/a"), &second, Ended::Unshared);
        assert_eq!(waiting.now_or_never(), Some(Ended::Unshared));
    }

    #[test]
    fn an_edge_has_only_so_many_turns_at_one_response() {
        let (_, fills) = fills();
        let turn = |number| fills.turn(&key("/a"), &numbered("one", number));
        for number in 0..MAX_TURNS as u64 {
            assert!(matches!(turn(number), Turn::Yours), "{number}");
        }
        assert!(matches!(turn(MAX_TURNS as u64), Turn::Nobody));
        assert!(matches!(turn(0), Turn::Yours), "told again");
    }

    #[test]
    fn the_time_of_a_turn_that_is_over_ends_no_later_one() {
        let (clock, fills) = fills();
        assert!(is_yours(&fills, "/a", "one"));
        fills.end(&key("/a"), &edge("one"), Ended::Shared);
        clock.advance(PATIENCE - Duration::from_secs(1));
        assert!(is_yours(&fills, "/a", "two"));
        clock.advance(Duration::from_secs(1));
        assert!(!is_yours(&fills, "/a", "three"), "it has its own time");
    }

    #[tokio::test]
    async fn who_does_not_want_to_wait_does_not() {
        let (_, fills) = fills();
        assert!(is_yours(&fills, "/a", "one"));
        let fill = under_way(&fills, "/a", "two");
        let waiting = fills.wait(fill, Duration::ZERO);
        assert_eq!(waiting.now_or_never(), Some(Ended::Slow));
    }

    #[tokio::test]
    async fn only_so_many_wait() {
        let (_, fills) = fills();
        assert!(is_yours(&fills, "/a", "one"));
        let wait = || {
            let fill = under_way(&fills, "/a", "two");
            Box::pin(fills.wait(fill, Duration::from_secs(1)))
        };
        let mut waiting: Vec<_> = (0..MAX_WAITING).map(|_| wait()).collect();
        for one in &mut waiting {
            assert_eq!(one.as_mut().now_or_never(), None);
        }
        assert_eq!(wait().now_or_never(), Some(Ended::Slow));
        waiting.pop();
        assert_eq!(wait().now_or_never(), None);
    }

    #[tokio::test]
    async fn a_turn_that_nobody_was_told_of_is_given_back() {
        type End = fn(Untold<'_>);
        let cases: [(End, Option<Ended>); 3] = [
            (|untold| drop(untold), Some(Ended::Unshared)),
            (|untold| untold.answered(), Some(Ended::Shared)),
            (|untold| untold.told(), None),
        ];
        for (end, ended) in cases {
            let (_, fills) = fills();
            let one = edge("one");
            assert!(is_yours(&fills, "/a", "one"));
            let untold = fills.until_told(&key("/a"), &one);
            let fill = under_way(&fills, "/a", "two");
            end(untold);
            let waiting = fills.wait(fill, Duration::from_secs(1));
            assert_eq!(waiting.now_or_never(), ended);
        }
    }

    #[test]
    fn there_are_only_so_many() {
        let (clock, fills) = fills();
        for number in 0..MAX_FILLS {
            assert!(is_yours(&fills, &format!("/{number}"), "one"));
        }
        assert!(matches!(
            fills.turn(&key("/more"), &edge("one")),
            Turn::Nobody
        ));
        for round in 0..3 {
            for number in 0..MAX_FILLS {
                let key = key(&format!("/{number}"));
                fills.end(&key, &edge("one"), Ended::Unshared);
                assert!(matches!(fills.turn(&key, &edge("one")), Turn::Yours));
            }
            assert!(
                fills.inner.lock().ends.len() <= 2 * MAX_FILLS + 1,
                "{round}"
            );
        }
        clock.advance(PATIENCE);
        assert!(is_yours(&fills, "/more", "two"));
        assert_eq!(fills.inner.lock().fills.len(), 1);
    }
}
