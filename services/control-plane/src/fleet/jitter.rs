//! Randomness that keeps edges from doing the same thing at the same time.

use std::time::Duration;

/// A moment within `over`.
pub(crate) fn spread(over: Duration) -> Duration {
    over.mul_f64(rand::random_range(0.0..=1.0))
}

/// 80 to 100 % of `longest`.
pub(crate) fn lifetime(longest: Duration) -> Duration {
    longest.mul_f64(rand::random_range(0.8..=1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stays_within_bounds() {
        let longest = Duration::from_secs(100);
        for _ in 0..1_000 {
            assert!(spread(longest) <= longest);
            assert!((Duration::from_secs(80)..=longest).contains(&lifetime(longest)));
        }
    }
}
