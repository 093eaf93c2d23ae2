//! What the answer to a heartbeat grants. Whoever answers may be wrong, or late: what
//! cannot be right grants nothing.

use std::time::Duration;

use thiserror::Error;
use tidegate_clock::BootInstant;
use tidegate_domain::{Cursor, Epoch, FieldError, Revision};
use tidegate_proto::v1;

/// The shortest time between two heartbeats that a control plane may ask for.
const MIN_INTERVAL: Duration = Duration::from_millis(10);
/// The longest.
const MAX_INTERVAL: Duration = Duration::from_secs(60);
/// The longest lease that is believed.
const MAX_LEASE: Duration = Duration::from_secs(600);

/// A lease, and when to ask for the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Granted {
    /// When to call again; `None` if the answer does not say.
    pub(super) interval: Option<Duration>,
    /// When the lease ends and what has to be applied before it is used; `None` if there
    /// is none.
    pub(super) lease: Option<(BootInstant, Revision)>,
}

/// An answer that grants nothing because it cannot be right.
#[derive(Debug, PartialEq, Eq, Error)]
pub(super) enum Unusable {
    #[error("the answer to a heartbeat holds what is not allowed: {0}")]
    Field(#[from] FieldError),
    #[error(
        "heartbeats are answered for another history ({answered:016x}) than the stream's \
         ({followed:016x})"
    )]
    OtherHistory { answered: u64, followed: u64 },
    #[error("a heartbeat is answered at revision {head}, and {applied} has been applied already")]
    BehindApplied { head: u64, applied: u64 },
    #[error("a lease asks for revision {min_applied}, and the newest there is is {head}")]
    AheadOfHead { min_applied: u64, head: u64 },
    #[error("a lease of {lease:?} is over before it begins: the margin is {margin:?}")]
    ShorterThanMargin { lease: Duration, margin: Duration },
}

/// Reads the answer to a heartbeat that was sent at `sent` from the position `position`.
///
/// # Errors
/// It cannot be right.
pub(super) fn read(
    answer: &v1::HeartbeatResponse,
    position: Option<Cursor>,
    sent: BootInstant,
    margin: Duration,
) -> Result<Granted, Unusable> {
    let interval = within(
        "heartbeat",
        answer.heartbeat.as_ref(),
        MIN_INTERVAL,
        MAX_INTERVAL,
    )?;
    let lease = within("lease", answer.lease.as_ref(), Duration::ZERO, MAX_LEASE)?;
    let none = Granted {
        interval,
        lease: None,
    };
    // Who follows no history has no use for a lease.
    let Some(position) = position else {
        return Ok(none);
    };
    if position.epoch != Epoch(answer.epoch) {
        return Err(Unusable::OtherHistory {
            answered: answer.epoch,
            followed: position.epoch.0,
        });
    }
    if answer.head < position.revision.0 {
        return Err(Unusable::BehindApplied {
            head: answer.head,
            applied: position.revision.0,
        });
    }
    let Some(lease) = lease.filter(|lease| !lease.is_zero()) else {
        return Ok(none);
    };
    if answer.min_applied > answer.head {
        return Err(Unusable::AheadOfHead {
            min_applied: answer.min_applied,
            head: answer.head,
        });
    }
    if lease <= margin {
        return Err(Unusable::ShorterThanMargin { lease, margin });
    }
    // Counted from before the request can have left.
    let ends = sent + (lease - margin);
    Ok(Granted {
        interval,
        lease: Some((ends, Revision(answer.min_applied))),
    })
}

fn within(
    field: &str,
    wire: Option<&prost_types::Duration>,
    min: Duration,
    max: Duration,
) -> Result<Option<Duration>, FieldError> {
    if wire.is_none() {
        return Ok(None);
    }
    let value = tidegate_proto::duration_from_wire(field, wire, Duration::ZERO)?;
    if value < min || value > max {
        let allowed = format!("{min:?} to {max:?}");
        return Err(FieldError::new(field, format!("{value:?}"), allowed));
    }
    Ok(Some(value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidegate_domain::{SiteFilter, Term};
    use tidegate_proto::duration_to_wire;

    const MARGIN: Duration = Duration::from_millis(500);

    fn answer() -> v1::HeartbeatResponse {
        v1::HeartbeatResponse {
            epoch: 1,
            head: 9,
            lease: Some(duration_to_wire(Duration::from_secs(10))),
            min_applied: 7,
            heartbeat: Some(duration_to_wire(Duration::from_secs(1))),
        }
    }

    fn reading(edit: impl FnOnce(&mut v1::HeartbeatResponse)) -> Result<Granted, Unusable> {
        let mut answer = answer();
        edit(&mut answer);
        let position = Cursor {
            epoch: Epoch(1),
            term: Term(1),
            revision: Revision(8),
            filter: SiteFilter::ALL,
        };
        let sent = BootInstant::from_boot(Duration::from_secs(100));
        read(&answer, Some(position), sent, MARGIN)
    }

    fn seconds(n: u64) -> Option<prost_types::Duration> {
        Some(duration_to_wire(Duration::from_secs(n)))
    }

    #[test]
    fn a_lease_ends_a_margin_early_counted_from_when_the_heartbeat_was_sent() {
        let granted = reading(|_| {}).unwrap();
        let ends = BootInstant::from_boot(Duration::from_millis(109_500));
        assert_eq!(granted.lease, Some((ends, Revision(7))));
        assert_eq!(granted.interval, Some(Duration::from_secs(1)));
        // No lease, said in either way, is no error.
        for none in [None, seconds(0)] {
            let without = reading(|answer| answer.lease = none).unwrap();
            assert_eq!(without.lease, None);
        }
    }

    #[test]
    fn who_follows_no_history_hears_how_often_to_call_and_nothing_else() {
        let sent = BootInstant::from_boot(Duration::from_secs(100));
        let granted = read(&answer(), None, sent, MARGIN).unwrap();
        assert_eq!(granted.interval, Some(Duration::from_secs(1)));
        assert_eq!(granted.lease, None);
    }

    #[test]
    fn what_cannot_be_right_is_named_and_grants_nothing() {
        let negative = prost_types::Duration {
            seconds: -1,
            nanos: 0,
        };
        type Edit = Box<dyn FnOnce(&mut v1::HeartbeatResponse)>;
        let cases: [(Edit, &str); 9] = [
            (Box::new(|a| a.lease = seconds(86_400)), "lease"),
            (Box::new(move |a| a.lease = Some(negative)), "lease"),
            (
                Box::new(|a| a.lease = Some(duration_to_wire(MARGIN))),
                "margin",
            ),
            (Box::new(|a| a.min_applied = 1 << 60), "1152921504606846976"),
            (Box::new(|a| a.min_applied = 10), "10"),
            (Box::new(|a| a.heartbeat = seconds(0)), "heartbeat"),
            (Box::new(|a| a.heartbeat = seconds(3_600)), "heartbeat"),
            (Box::new(|a| a.epoch = 2), "another history"),
            (Box::new(|a| a.head = 7), "applied already"),
        ];
        for (edit, named) in cases {
            let error = reading(edit).unwrap_err().to_string();
            assert!(error.contains(named), "{error}");
        }
    }
}
