//! What commands answer: the messages of the protocol as JSON with its field names,
//! and as tables for people. Reading and writing only; nothing is asked here.

pub(crate) mod audit;
pub(crate) mod backup;
pub(crate) mod entry;
pub(crate) mod event;
pub(crate) mod explain;
pub(crate) mod fleet;
pub(crate) mod invalidation;
pub(crate) mod release;
pub(crate) mod schedule;
pub(crate) mod site;

use std::fmt::Write as _;

use prost_types::{Duration, Timestamp};
use serde::Serialize;
use tidegate_proto::time_from_wire;
use tidegate_proto::v1;

use crate::output::{Report, Style};

/// A position in the order.
#[derive(Debug, Serialize)]
pub(crate) struct Position {
    pub(crate) revision: u64,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) cursor: String,
    /// What was done, for people.
    #[serde(skip)]
    pub(crate) done: String,
}

impl Report for Position {
    fn text(&self, _: Style) -> String {
        format!("revision {}: {}\n", self.revision, self.done)
    }
}

/// A moment as RFC 3339 in UTC with milliseconds; none if there is none, or if it is
/// beyond the year 9999, which RFC 3339 cannot write.
pub(crate) fn time(wire: Option<&Timestamp>) -> Option<String> {
    wire?;
    let mut text = String::new();
    let shown = humantime::format_rfc3339_millis(time_from_wire(wire));
    write!(text, "{shown}").ok().map(|()| text)
}

/// A duration in seconds.
pub(crate) fn seconds(wire: Option<&Duration>) -> Option<f64> {
    wire.map(|it| {
        #[expect(clippy::cast_precision_loss, reason = "seconds below 2^52 are exact")]
        let whole = it.seconds as f64;
        whole + f64::from(it.nanos) / 1e9
    })
}

/// A time for a table: `-` for none.
pub(crate) fn or_dash(text: Option<String>) -> String {
    text.unwrap_or_else(|| "-".to_owned())
}

/// Bytes as people read them.
pub(crate) fn bytes(count: u64) -> String {
    indicatif::HumanBytes(count).to_string()
}

/// The first digits of a release's id, enough to tell releases apart.
pub(crate) fn short_id(id: &str) -> String {
    const SHOWN_DIGITS: usize = 12;
    let digits = id.strip_prefix("sha256:").unwrap_or(id);
    digits.chars().take(SHOWN_DIGITS).collect()
}

/// `1 page`, `2 pages`.
pub(crate) fn count(number: u64, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

/// The name of a mode, as the command line and JSON have it.
pub(crate) fn mode(wire: i32) -> &'static str {
    match v1::InvalidationMode::try_from(wire) {
        Ok(v1::InvalidationMode::Unspecified | v1::InvalidationMode::Hard) => "HARD",
        Ok(v1::InvalidationMode::Soft) => "SOFT",
        Err(_) => "UNKNOWN",
    }
}

/// The name of a cause.
pub(crate) fn cause(wire: i32) -> &'static str {
    match v1::InvalidationCause::try_from(wire) {
        Ok(v1::InvalidationCause::Call) => "CALL",
        Ok(v1::InvalidationCause::Release) => "RELEASE",
        Ok(v1::InvalidationCause::Entry) => "ENTRY",
        Ok(v1::InvalidationCause::Schedule) => "SCHEDULE",
        Ok(v1::InvalidationCause::Unspecified) | Err(_) => "UNKNOWN",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_rfc_3339_and_absurd_ones_are_none() {
        let at = |seconds, nanos| time(Some(&Timestamp { seconds, nanos }));
        assert_eq!(
            at(1_700_000_000, 5_000_000).as_deref(),
            Some("2023-11-14T22:13:20.005Z")
        );
        assert_eq!(at(i64::MAX, 0), None);
        assert_eq!(time(None), None);
    }

    #[test]
    fn durations_are_seconds() {
        let wire = Duration {
            seconds: 3,
            nanos: 250_000_000,
        };
        assert_eq!(seconds(Some(&wire)), Some(3.25));
        assert_eq!(seconds(None), None);
    }

    #[test]
    fn ids_are_shortened_to_their_digits() {
        assert_eq!(short_id("sha256:0123456789abcdef"), "0123456789ab");
        assert_eq!(short_id("x"), "x");
    }
}
