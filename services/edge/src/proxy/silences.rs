//! Says that look-ups at the control plane fail: a line a second at most, whatever the
//! rate of requests, with how many it stands for.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::second_tier::Unanswered;

/// Time between two lines.
const SAY_EVERY: Duration = Duration::from_secs(1);

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Silences(Mutex<Said>);

#[derive(Debug, Default)]
struct Said {
    last: Option<Instant>,
    /// Failures since then.
    left_out: u64,
}

impl Silences {
    /// Logs a failure, or counts it towards the next line.
    pub(super) fn tell(&self, error: &Unanswered) {
        if let Some(left_out) = self.due() {
            tracing::warn!(%error, left_out, "the control plane gave no answer to a look-up");
        }
    }

    /// Whether a line is due, and how many were left out since the last one. Who asks
    /// writes it.
    fn due(&self) -> Option<u64> {
        let mut said = self.0.lock();
        if said.last.is_some_and(|last| last.elapsed() < SAY_EVERY) {
            said.left_out = said.left_out.saturating_add(1);
            return None;
        }
        said.last = Some(Instant::now());
        Some(std::mem::take(&mut said.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn failures_are_a_line_a_second_that_says_how_many_it_stands_for() {
        let silences = Silences::default();
        let mut said = Vec::new();
        for millis in [0, 0, 999, 1, 500, 500, 10_000] {
            tokio::time::advance(Duration::from_millis(millis)).await;
            said.push(silences.due());
        }
        let expected = [Some(0), None, None, Some(2), None, Some(1), Some(0)];
        assert_eq!(said, expected);
    }
}
