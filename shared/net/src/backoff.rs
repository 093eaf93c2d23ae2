//! How long to wait before the next attempt.

use std::time::Duration;

use rand::RngExt as _;

/// Exponential, with full jitter that stays full at the cap: a fleet that lost its
/// control plane at one moment does not come back at one moment, however long it
/// was away.
#[derive(Debug, Clone)]
pub struct Backoff {
    base: Duration,
    cap: Duration,
    ceiling: Duration,
}

impl Backoff {
    /// Waits between nothing and `base` at first, and never longer than `cap`.
    #[must_use]
    pub fn new(base: Duration, cap: Duration) -> Self {
        Self {
            base,
            cap,
            ceiling: base,
        }
    }

    /// The next wait.
    pub fn next_wait(&mut self) -> Duration {
        let wait = spread(self.ceiling);
        self.ceiling = (self.ceiling * 2).min(self.cap);
        wait
    }

    /// Begins anew, after a connection that held for a while.
    pub fn reset(&mut self) {
        self.ceiling = self.base;
    }
}

/// A random part of `over`, so that many do not do the same thing at one moment.
#[must_use]
pub fn spread(over: Duration) -> Duration {
    over.mul_f64(rand::rng().random::<f64>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_a_reset_waits_are_short_again() {
        let base = Duration::from_millis(100);
        let mut backoff = Backoff::new(base, Duration::from_secs(5));
        let waits: Vec<_> = (0..50).map(|_| backoff.next_wait()).collect();
        assert!(waits.iter().any(|w| *w > base));
        for _ in 0..50 {
            backoff.reset();
            assert!(backoff.next_wait() <= base);
        }
    }

    #[test]
    fn jitter_is_still_full_at_the_cap() {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));
        for _ in 0..20 {
            assert!(backoff.next_wait() <= Duration::from_secs(5));
        }
        let waits: Vec<_> = (0..500).map(|_| backoff.next_wait()).collect();
        assert!(waits.iter().any(|w| *w < Duration::from_secs(1)));
        assert!(waits.iter().any(|w| *w > Duration::from_secs(4)));
    }
}
