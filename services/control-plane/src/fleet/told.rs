//! What a heartbeat tells of when invalidations were applied.

use std::time::Duration;

use tidegate_domain::{FieldError, Revision};
use tidegate_proto::{duration_from_wire, v1};

/// Elements of one heartbeat.
const MAX_TOLD: usize = 256;
/// The longest ago.
const MAX_AGO: Duration = Duration::from_secs(24 * 3_600);

/// Invalidations that an edge has applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Told {
    /// The first of their revisions.
    pub first: Revision,
    /// The last.
    pub last: Revision,
    /// How long before the heartbeat the last of them was applied.
    pub ago: Duration,
    /// Cached responses that carried a matching tag then.
    pub evicted: u64,
}

/// Reads what a heartbeat tells that acknowledges `applied`.
///
/// # Errors
/// There are too many elements, one breaks a rule, or they are not in order.
pub fn read_told(
    wire: &[v1::AppliedInvalidations],
    applied: Option<Revision>,
) -> Result<Vec<Told>, FieldError> {
    if wire.len() > MAX_TOLD {
        let found = format!("{} elements", wire.len());
        return Err(FieldError::new("applied", found, "at most 256 elements"));
    }
    let mut told: Vec<Told> = Vec::with_capacity(wire.len());
    for (index, element) in wire.iter().enumerate() {
        let before = told.last().map_or(Revision::ZERO, |told| told.last);
        let element = read(element, before, applied.unwrap_or_default());
        told.push(element.map_err(|e| e.within(format!("applied[{index}]")))?);
    }
    Ok(told)
}

fn read(
    wire: &v1::AppliedInvalidations,
    before: Revision,
    applied: Revision,
) -> Result<Told, FieldError> {
    if wire.first <= before.0 || wire.first > wire.last {
        let allowed = format!("above {before}, where the element before ends, and not above last");
        return Err(FieldError::new("first", wire.first, allowed));
    }
    if wire.last > applied.0 {
        let allowed = format!("at most {applied}, which the cursor of the heartbeat acknowledges");
        return Err(FieldError::new("last", wire.last, allowed));
    }
    let ago = duration_from_wire("ago", wire.ago.as_ref(), Duration::ZERO)?;
    if ago > MAX_AGO {
        return Err(FieldError::new("ago", format!("{ago:?}"), "at most a day"));
    }
    Ok(Told {
        first: Revision(wire.first),
        last: Revision(wire.last),
        ago,
        evicted: wire.evicted,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn element(first: u64, last: u64) -> v1::AppliedInvalidations {
        v1::AppliedInvalidations {
            first,
            last,
            ago: Some(prost_types::Duration {
                seconds: 1,
                nanos: 0,
            }),
            evicted: 5,
        }
    }

    fn refused(wire: &[v1::AppliedInvalidations]) -> String {
        read_told(wire, Some(Revision(9))).unwrap_err().field
    }

    #[test]
    fn what_is_in_order_and_acknowledged_is_read() {
        let told = read_told(&[element(3, 3), element(5, 9)], Some(Revision(9))).unwrap();
        let expected = Told {
            first: Revision(3),
            last: Revision(3),
            ago: Duration::from_secs(1),
            evicted: 5,
        };
        assert_eq!(told[0], expected);
        assert_eq!(told[1].last, Revision(9));
    }

    #[test]
    fn what_an_edge_cannot_mean_is_refused_by_name() {
        assert_eq!(refused(&vec![element(1, 1); 257]), "applied");
        assert_eq!(refused(&[element(0, 1)]), "applied[0].first");
        assert_eq!(refused(&[element(4, 3)]), "applied[0].first");
        assert_eq!(refused(&[element(5, 6), element(3, 3)]), "applied[1].first");
        assert_eq!(refused(&[element(5, 6), element(6, 7)]), "applied[1].first");
        assert_eq!(refused(&[element(10, 10)]), "applied[0].last");
        assert!(read_told(&[element(1, 1)], None).is_err(), "no cursor");
        for seconds in [-1, 24 * 3_600 + 1, i64::MAX] {
            let ago = Some(prost_types::Duration { seconds, nanos: 0 });
            let absurd = v1::AppliedInvalidations {
                ago,
                ..element(3, 3)
            };
            assert_eq!(refused(&[absurd]), "applied[0].ago");
        }
    }
}
