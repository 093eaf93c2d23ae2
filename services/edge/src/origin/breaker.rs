//! Leaves an upstream alone that fails again and again, and finds out with one request
//! at a time when it is well again.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tidegate_domain::site::BreakerConfig;
use tidegate_net::spread;
use tokio::time::Instant;

/// Who has answered within this time is not left alone.
const RECENTLY: Duration = Duration::from_secs(1);

/// See the module.
#[derive(Debug)]
pub(crate) struct Breaker {
    rules: BreakerConfig,
    state: Mutex<State>,
}

#[derive(Debug, Clone, Copy)]
enum State {
    /// Everything passes. So many have failed in a row since it answered last.
    Closed {
        failures: u32,
        answered: Option<Instant>,
    },
    /// Nothing passes until then; after that one request does.
    Open { until: Instant, pause: Duration },
    /// One request is on its way, and nothing else passes.
    Probing { pause: Duration },
}

impl Breaker {
    pub(crate) fn new(rules: BreakerConfig) -> Arc<Self> {
        Arc::new(Self {
            rules,
            state: Mutex::new(State::Closed {
                failures: 0,
                answered: None,
            }),
        })
    }

    /// Whether nothing holds requests back.
    pub(super) fn is_closed(&self) -> bool {
        matches!(*self.state.lock(), State::Closed { .. })
    }

    /// Whether a request would pass.
    pub(super) fn would_pass(&self) -> bool {
        match *self.state.lock() {
            State::Closed { .. } => true,
            State::Open { until, .. } => until <= Instant::now(),
            State::Probing { .. } => false,
        }
    }

    /// Lets a request pass, if one may.
    pub(crate) fn pass(self: &Arc<Self>) -> Option<Pass> {
        let mut state = self.state.lock();
        let is_probe = match *state {
            State::Closed { .. } => false,
            State::Open { until, pause } if until <= Instant::now() => {
                *state = State::Probing { pause };
                true
            }
            State::Open { .. } | State::Probing { .. } => return None,
        };
        Some(Pass {
            breaker: self.clone(),
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
    is_probe: bool,
}

impl Pass {
    /// The upstream has answered.
    pub(crate) fn succeeded(mut self) {
        let mut state = self.breaker.state.lock();
        let is_probe = std::mem::take(&mut self.is_probe);
        // What began before it opened says nothing of how it is now.
        if is_probe || matches!(*state, State::Closed { .. }) {
            *state = State::Closed {
                failures: 0,
                answered: Some(Instant::now()),
            };
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
            State::Closed { failures, answered }
                if failures + 1 >= rules.failures && !is_recent(answered) =>
            {
                breaker.opened(rules.pause)
            }
            State::Closed { failures, answered } => State::Closed {
                failures: failures.saturating_add(1),
                answered,
            },
            other => other,
        };
    }
}

/// Who answered a moment ago is not down, however many of the requests at once fail.
fn is_recent(answered: Option<Instant>) -> bool {
    answered.is_some_and(|answered| answered.elapsed() < RECENTLY)
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
        tokio::time::advance(RECENTLY).await;
        fail(&breaker, 1);
        assert!(!breaker.is_closed() && !breaker.would_pass());
        assert!(breaker.pass().is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn who_answered_a_moment_ago_is_not_left_alone() {
        let breaker = breaker();
        breaker.pass().unwrap().succeeded();
        fail(&breaker, 20);
        assert!(breaker.is_closed());
        tokio::time::advance(RECENTLY).await;
        fail(&breaker, 1);
        assert!(!breaker.is_closed());
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
