//! What a call says besides its message: who makes it and how long it may take.

use std::time::Duration;

use tonic::Request;
use tonic::metadata::MetadataMap;

/// Kept back of a caller's deadline, so that the answer still arrives.
const ANSWER_TAKES: Duration = Duration::from_millis(500);

/// Who makes a call, as the audit trail names them. The one place that decides it.
pub(crate) fn caller<T>(request: &Request<T>) -> String {
    match request.remote_addr() {
        Some(address) => format!("anonymous@{}", address.ip()),
        None => "anonymous".to_owned(),
    }
}

/// Within what the idempotency keys of callers are known. Callers without
/// credentials share one scope for each site: an address is no name, since who is
/// moved repeats its calls from another one.
pub(crate) const IDEMPOTENCY_SCOPE: &str = "anonymous";

/// How long a call may take by its caller's own deadline, with enough kept back to
/// answer in time.
pub(crate) fn budget<T>(request: &Request<T>) -> Option<Duration> {
    let timeout = grpc_timeout(request.metadata())?;
    Some(timeout.saturating_sub(ANSWER_TAKES.min(timeout / 4)))
}

/// Reads `grpc-timeout`: at most eight digits and a unit.
fn grpc_timeout(metadata: &MetadataMap) -> Option<Duration> {
    let text = metadata.get("grpc-timeout")?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let count: u64 = digits.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(count * 3_600),
        "M" => Duration::from_secs(count * 60),
        "S" => Duration::from_secs(count),
        "m" => Duration::from_millis(count),
        "u" => Duration::from_micros(count),
        "n" => Duration::from_nanos(count),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &'static str) -> Option<Duration> {
        let mut metadata = MetadataMap::new();
        metadata.insert("grpc-timeout", text.parse().unwrap());
        grpc_timeout(&metadata)
    }

    #[test]
    fn deadlines_are_read_in_every_unit_and_nonsense_is_ignored() {
        assert_eq!(read("2H"), Some(Duration::from_secs(7_200)));
        assert_eq!(read("15S"), Some(Duration::from_secs(15)));
        assert_eq!(read("99999999m"), Some(Duration::from_millis(99_999_999)));
        for bad in ["", "S", "1", "-1S", "999999999S", "1x", "+1S"] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_part_of_the_deadline_is_kept_back_for_the_answer() {
        let mut request = Request::new(());
        request.set_timeout(Duration::from_secs(2));
        assert_eq!(budget(&request), Some(Duration::from_millis(1_500)));
        request.set_timeout(Duration::from_millis(40));
        assert_eq!(budget(&request), Some(Duration::from_millis(30)));
    }
}
