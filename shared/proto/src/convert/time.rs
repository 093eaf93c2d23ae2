//! Durations and moments.

use std::time::{Duration, SystemTime};

use tidegate_domain::FieldError;

/// The longest duration that protobuf allows, in seconds (10,000 years).
const MAX_SECONDS: i64 = 315_576_000_000;

/// Reads a duration; an absent one is `default`.
///
/// # Errors
/// It is negative or not normalised.
pub fn duration_from_wire(
    field: &str,
    wire: Option<&prost_types::Duration>,
    default: Duration,
) -> Result<Duration, FieldError> {
    let Some(wire) = wire else {
        return Ok(default);
    };
    let seconds = u64::try_from(wire.seconds).ok();
    let nanos = u32::try_from(wire.nanos)
        .ok()
        .filter(|n| *n < 1_000_000_000);
    match (seconds, nanos) {
        (Some(seconds), Some(nanos)) if wire.seconds <= MAX_SECONDS => {
            Ok(Duration::new(seconds, nanos))
        }
        _ => Err(FieldError::new(
            field,
            format!("{} s {} ns", wire.seconds, wire.nanos),
            "a duration that is not negative, with less than 1,000,000,000 nanoseconds",
        )),
    }
}

/// Writes a duration, at most 10,000 years.
#[must_use]
pub fn duration_to_wire(duration: Duration) -> prost_types::Duration {
    prost_types::Duration {
        seconds: i64::try_from(duration.as_secs())
            .unwrap_or(MAX_SECONDS)
            .min(MAX_SECONDS),
        // Below 1,000,000,000 by definition.
        nanos: i32::try_from(duration.subsec_nanos()).unwrap_or(0),
    }
}

/// Reads a moment; one before 1970 becomes 1970.
#[must_use]
pub fn time_from_wire(wire: Option<&prost_types::Timestamp>) -> SystemTime {
    let since = wire.map_or(Duration::ZERO, |t| {
        let seconds = u64::try_from(t.seconds.min(MAX_SECONDS)).unwrap_or(0);
        let nanos = u32::try_from(t.nanos).unwrap_or(0).min(999_999_999);
        Duration::new(seconds, nanos)
    });
    SystemTime::UNIX_EPOCH + since
}

/// Writes a moment; one before 1970 becomes 1970.
#[must_use]
pub fn time_to_wire(time: SystemTime) -> prost_types::Timestamp {
    let since = time
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    let wire = duration_to_wire(since);
    prost_types::Timestamp {
        seconds: wire.seconds,
        nanos: wire.nanos,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_round_trip_and_negative_ones_are_refused() {
        let duration = Duration::new(3, 5);
        let wire = duration_to_wire(duration);
        assert_eq!(
            duration_from_wire("f", Some(&wire), Duration::ZERO),
            Ok(duration)
        );
        assert_eq!(duration_from_wire("f", None, duration), Ok(duration));
        for (seconds, nanos) in [(-1, 0), (0, -1), (0, 1_000_000_000), (i64::MAX, 0)] {
            let wire = prost_types::Duration { seconds, nanos };
            assert!(duration_from_wire("f", Some(&wire), Duration::ZERO).is_err());
        }
    }

    #[test]
    fn absurd_times_do_not_panic() {
        for seconds in [i64::MIN, -1, 0, i64::MAX] {
            let wire = prost_types::Timestamp {
                seconds,
                nanos: i32::MIN,
            };
            let _ = time_to_wire(time_from_wire(Some(&wire)));
        }
    }
}
