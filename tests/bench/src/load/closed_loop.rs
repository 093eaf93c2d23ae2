//! A closed loop: so many callers, each with one call in flight.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use tokio::task::JoinSet;

use crate::stats::Latencies;

/// What one round of calls reports.
#[derive(Debug)]
pub(crate) struct Round {
    pub(crate) calls_per_second: f64,
    pub(crate) latencies: Latencies,
}

/// Has `callers` call for `time`. `call` is given the number of the caller and of
/// its call.
///
/// # Errors
/// The first call that failed ends the round.
pub(crate) async fn run<C, F>(callers: usize, time: Duration, call: C) -> anyhow::Result<Round>
where
    C: Fn(usize, u64) -> F + Clone + Send + 'static,
    F: Future<Output = anyhow::Result<()>> + Send + 'static,
{
    let start = Instant::now();
    let mut running = JoinSet::new();
    for caller in 0..callers {
        let call = call.clone();
        running.spawn(async move {
            let mut latencies = Latencies::default();
            let mut number = 0;
            while start.elapsed() < time {
                let sent = Instant::now();
                call(caller, number).await?;
                latencies.record(sent.elapsed());
                number += 1;
            }
            anyhow::Ok(latencies)
        });
    }
    let mut latencies = Latencies::default();
    while let Some(done) = running.join_next().await {
        latencies.extend(&done.context("a caller panicked")??);
    }
    // Until the last answer, so that no call is counted for free.
    let elapsed = start.elapsed();
    Ok(Round {
        calls_per_second: per_second(latencies.len(), elapsed),
        latencies,
    })
}

pub(crate) fn per_second(count: usize, elapsed: Duration) -> f64 {
    count as f64 / elapsed.as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn every_caller_calls_and_every_call_is_counted() {
        let round = run(3, Duration::from_millis(20), |_, _| async {
            tokio::time::sleep(Duration::from_millis(1)).await;
            Ok(())
        });
        let round = round.await.unwrap();
        assert!(round.latencies.len() >= 3);
        assert!(round.latencies.percentile_ms(50).unwrap() >= 1.0);
    }

    #[tokio::test]
    async fn a_call_that_fails_fails_the_round() {
        let round = run(2, Duration::from_secs(60), |caller, number| async move {
            anyhow::ensure!(caller != 1 || number < 5, "refused");
            tokio::task::yield_now().await;
            Ok(())
        });
        assert_eq!(round.await.unwrap_err().to_string(), "refused");
    }
}
