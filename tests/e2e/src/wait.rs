//! Waiting for something to become true, never for time to pass.

use std::fmt::Debug;
use std::future::Future;
use std::time::Duration;

/// How long anything may take before a test gives up. Long, because it is only ever
/// spent by a test that fails.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// How long to wait between two looks.
const BETWEEN_LOOKS: Duration = Duration::from_millis(20);

/// Waits for the future.
///
/// # Panics
///
/// If it is not there within [`PATIENCE`]; the message says what was waited for.
#[track_caller]
pub fn within<F: Future>(what: &str, future: F) -> impl Future<Output = F::Output> {
    let what = what.to_owned();
    async move {
        match tokio::time::timeout(PATIENCE, future).await {
            Ok(output) => output,
            Err(_) => panic!("{what}: not within {PATIENCE:?}"),
        }
    }
}

/// Looks again and again until `look` gives something, and returns it. `Err` says what
/// was seen in place of it.
///
/// # Panics
///
/// If that takes longer than [`PATIENCE`]; the message says what was seen last.
pub async fn eventually<T, E, F>(what: &str, mut look: impl FnMut() -> F) -> T
where
    E: Debug,
    F: Future<Output = Result<T, E>>,
{
    let deadline = tokio::time::Instant::now() + PATIENCE;
    let mut seen = None;
    loop {
        match tokio::time::timeout_at(deadline, look()).await {
            Ok(Ok(found)) => return found,
            Ok(Err(other)) => seen = Some(other),
            Err(_) => panic!("{what}: not within {PATIENCE:?}; seen last: {seen:?}"),
        }
        if tokio::time::Instant::now() + BETWEEN_LOOKS > deadline {
            panic!("{what}: not within {PATIENCE:?}; seen last: {seen:?}");
        }
        tokio::time::sleep(BETWEEN_LOOKS).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn looks_until_it_is_there() {
        let mut looks = 0;
        let found = eventually("three looks", || {
            looks += 1;
            std::future::ready(if looks < 3 { Err(looks) } else { Ok(looks) })
        })
        .await;
        assert_eq!(found, 3);
    }

    #[tokio::test(start_paused = true)]
    #[should_panic(expected = "the moon: not within 30s; seen last: Some(\"clouds\")")]
    async fn gives_up_and_says_what_was_seen() {
        eventually("the moon", || std::future::ready(Err::<(), _>("clouds"))).await;
    }

    #[tokio::test(start_paused = true)]
    #[should_panic(expected = "the bus: not within 30s")]
    async fn a_future_that_never_comes_is_given_up() {
        within("the bus", std::future::pending::<()>()).await;
    }
}
