//! Leaves an upstream alone that fails again and again, and finds out with one request
//! at a time when it is well again.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tidegate_domain::site::BreakerConfig;
use tidegate_net::spread;
use tokio::time::Instant;

/// Who has ever answered is left alone only if all that it was asked for so long was in vain:
/// requests that fail at one moment say no more than one of them.
const IN_VAIN: Duration = Duration::from_secs(1);

/// See the module.
#[derive(Debug)]
pub(crate) struct Breaker {
    rules: BreakerConfig,
    state: Mutex<State>,
}

#[derive(Debug, Clone, Copy)]
enum State {
    /// Everything passes.
    Closed(Row),
    /// Nothing passes until then; after that one request does.
    Open { until: Instant, pause: Duration },
    /// One request is on its way, and nothing else passes.
    Probing { pause: Duration },
}

/// Failures since it answered last.
#[derive(Debug, Clone, Copy, Default)]
struct Row {
    failures: u32,
    answered: Option<Instant>,
    /// When the first of what has failed was asked, as far as that was since then.
    since: Option<Instant>,
}

impl Row {
    fn answered() -> Self {
        Self {
            answered: Some(Instant::now()),
            ..Self::default()
        }
    }

    fn failed(mut self, asked: Instant) -> Self {
        let asked = self.answered.map_or(asked, |answered| asked.max(answered));
        self.since = Some(self.since.map_or(asked, |since| since.min(asked)));
        self.failures = self.failures.saturating_add(1);
        self
    }

    fn is_too_long(&self, failures: u32) -> bool {
        let has_answered = self.answered.is_some();
        let is_for_long = self.since.is_some_and(|since| since.elapsed() >= IN_VAIN);
        self.failures >= failures && (is_for_long || !has_answered)
    }
}

impl Breaker {
    pub(crate) fn new(rules: BreakerConfig) -> Arc<Self> {
        Arc::new(Self {
            rules,
            state: Mutex::new(State::Closed(Row::default())),
        })
    }

    /// Whether nothing holds requests back.
    pub(super) fn is_closed(&self) -> bool {
        matches!(*self.state.lock(), State::Closed(_))
    }

    /// Whether a request would pass.
    pub(super) fn would_pass(&self) -> bool {
        match *self.state.lock() {
            State::Closed(_) => true,
            State::Open { until, .. } => until <= Instant::now(),
            State::Probing { .. } => false,
        }
    }

    /// Lets a request pass, if one may.
    pub(crate) fn pass(self: &Arc<Self>) -> Option<Pass> {
        let mut state = self.state.lock();
        let is_probe = match *state {
            State::Closed(_) => false,
            State::Open { until, pause } if until <= Instant::now() => {
                *state = State::Probing { pause };
                true
            }
            State::Open { .. } | State::Probing { .. } => return None,
        };
        Some(Pass {
            breaker: self.clone(),
            asked: Instant::now(),
            is_probe,
        })
    }

    fn opened(&self, pause: Duration) -> State {
        let half = pause / 2;
        State::Open {
            // Not all edges come back at one moment.
            until: Instant::now() + half + spread(half),
            pause,
        }
    }
}

/// A request that was let pass. Dropped, it has shown nothing.
#[derive(Debug)]
pub(crate) struct Pass {
    breaker: Arc<Breaker>,
    asked: Instant,
    is_probe: bool,
}

impl Pass {
    /// The upstream has answered.
    pub(crate) fn succeeded(mut self) {
        let mut state = self.breaker.state.lock();
        let is_probe = std::mem::take(&mut self.is_probe);
        // What began before it opened says nothing of how it is now.
        if is_probe || matches!(*state, State::Closed(_)) {
            *state = State::Closed(Row::answered());
        }
    }

    /// The upstream has failed.
    pub(crate) fn failed(mut self) {
        let breaker = &self.breaker;
        let rules = &breaker.rules;
        let mut state = breaker.state.lock();
        let is_probe = std::mem::take(&mut self.is_probe);
        *state = match *state {
            State::Probing { pause } if is_probe => {
                breaker.opened((pause * 2).min(rules.max_pause))
            }
            State::Closed(row) => {
                let row = row.failed(self.asked);
                match row.is_too_long(rules.failures) {
                    true => breaker.opened(rules.pause),
                    false => State::Closed(row),
                }
            }
            other => other,
        };
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        if self.is_probe {
            let mut state = self.breaker.state.lock();
            if let State::Probing { pause } = *state {
                // The next request finds out.
                *state = State::Open {
                    until: Instant::now(),
                    pause,
                };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAUSE: Duration = Duration::from_secs(1);
    const MAX: Duration = Duration::from_secs(4);

    fn breaker() -> Arc<Breaker> {
        Breaker::new(BreakerConfig {
            failures: 3,
            pause: PAUSE,
            max_pause: MAX,
            count_5xx: false,
        })
    }

    fn fail(breaker: &Arc<Breaker>, times: usize) {
        for _ in 0..times {
            breaker.pass().unwrap().failed();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn only_failures_in_a_row_open_it() {
        let breaker = breaker();
        fail(&breaker, 2);
        breaker.pass().unwrap().succeeded();
        fail(&breaker, 2);
        drop(breaker.pass().unwrap());
        assert!(breaker.is_closed());
        tokio::time::advance(IN_VAIN).await;
        fail(&breaker, 1);
        assert!(!breaker.is_closed() && !breaker.would_pass());
        assert!(breaker.pass().is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn what_fails_at_one_moment_does_not_open_it_whenever_it_was_asked_last() {
        for idle in [Duration::ZERO, IN_VAIN * 3] {
            let breaker = breaker();
            breaker.pass().unwrap().succeeded();
            tokio::time::advance(idle).await;
            fail(&breaker, 20);
            tokio::time::advance(IN_VAIN - Duration::from_millis(1)).await;
            fail(&breaker, 1);
            assert!(breaker.is_closed(), "{idle:?}");
            tokio::time::advance(Duration::from_millis(1)).await;
            fail(&breaker, 1);
            assert!(!breaker.is_closed(), "{idle:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_asked_in_vain_for_long_opens_it_when_it_fails() {
        for answers_meanwhile in [false, true] {
            let breaker = breaker();
            breaker.pass().unwrap().succeeded();
            let waiting = [(); 3].map(|()| breaker.pass().unwrap());
            tokio::time::advance(IN_VAIN).await;
            if answers_meanwhile {
                breaker.pass().unwrap().succeeded();
            }
            waiting.into_iter().for_each(Pass::failed);
            assert_eq!(breaker.is_closed(), answers_meanwhile);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn after_the_pause_one_request_at_a_time_finds_out() {
        let breaker = breaker();
        fail(&breaker, 3);
        tokio::time::advance(PAUSE).await;
        assert!(breaker.would_pass());
        let probe = breaker.pass().unwrap();
        assert!(!breaker.would_pass() && breaker.pass().is_none());
        // Whoever sent it has left.
        drop(probe);
        let probe = breaker.pass().unwrap();
        assert!(breaker.pass().is_none());
        probe.succeeded();
        assert!(breaker.is_closed());
        fail(&breaker, 2);
        assert!(breaker.is_closed(), "it counts anew");
    }

    #[tokio::test(start_paused = true)]
    async fn pauses_grow_up_to_the_limit_and_are_never_less_than_half() {
        let breaker = breaker();
        fail(&breaker, 3);
        for pause in [PAUSE, PAUSE * 2, MAX, MAX] {
            tokio::time::advance(pause / 2 - Duration::from_millis(2)).await;
            assert!(breaker.pass().is_none(), "{pause:?}");
            tokio::time::advance(pause / 2 + Duration::from_millis(4)).await;
            breaker.pass().expect("the pause is over").failed();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_began_before_it_opened_changes_nothing() {
        let breaker = breaker();
        let (early, late) = (breaker.pass().unwrap(), breaker.pass().unwrap());
        fail(&breaker, 3);
        early.succeeded();
        late.failed();
        assert!(!breaker.would_pass());
        tokio::time::advance(PAUSE).await;
        assert!(breaker.would_pass());
    }
}
