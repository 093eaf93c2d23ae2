//! When a schedule is due.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use chrono::{DateTime, Utc};
use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};
use tidegate_domain::FieldError;
use tidegate_proto::{duration_from_wire, v1};
use v1::schedule::When;

const MIN_EVERY: Duration = Duration::from_secs(1);
const MAX_EVERY: Duration = Duration::from_secs(366 * 24 * 3_600);
/// Longest cron expression, in bytes.
const MAX_CRON_BYTES: usize = 128;
const CRON: &str = "five fields, in UTC: minute 0-59, hour 0-23, day of month 1-31, month 1-12, \
                    day of week 0-7; each a \"*\", a number, a range \"1-5\", a step \"*/15\" or a \
                    list \"1,15\" of them";
const NEVER: &str =
    "an expression that comes due again and again; no day of the calendar fits this one";

/// When a schedule is due, over and over.
#[derive(Debug, Clone)]
pub struct Cadence(Kind);

#[derive(Debug, Clone)]
enum Kind {
    Every(Duration),
    Cron(Box<Cron>),
}

impl Cadence {
    /// Reads a cadence.
    ///
    /// # Errors
    /// There is none, it is too short or too long, it is no cron expression, or it
    /// never comes due.
    pub fn parse(when: Option<&When>) -> Result<Self, FieldError> {
        match when {
            None => Err(FieldError::new(
                "every",
                "",
                "a time, or a cron expression in cron",
            )),
            Some(When::Every(wire)) => {
                let every = duration_from_wire("every", Some(wire), Duration::ZERO)?;
                if (MIN_EVERY..=MAX_EVERY).contains(&every) {
                    return Ok(Self(Kind::Every(every)));
                }
                Err(FieldError::new(
                    "every",
                    format!("{every:?}"),
                    "1 s to 366 days",
                ))
            }
            Some(When::Cron(text)) => cron(text).map(|cron| Self(Kind::Cron(Box::new(cron)))),
        }
    }

    /// The first time after `time`: by `every`, this long after it. None only beyond
    /// the end of the calendar.
    #[must_use]
    pub fn after(&self, time: SystemTime) -> Option<SystemTime> {
        match &self.0 {
            Kind::Every(every) => time.checked_add(*every),
            Kind::Cron(cron) => {
                let next = cron.find_next_occurrence(&civil(time)?, false).ok()?;
                moment(next)
            }
        }
    }

    /// The last time up to `now`, counted from `due`, which is one that is not after
    /// `now`.
    #[must_use]
    pub fn latest(&self, due: SystemTime, now: SystemTime) -> SystemTime {
        let Ok(late) = now.duration_since(due) else {
            return due;
        };
        match &self.0 {
            Kind::Every(every) => {
                let rest = late.as_nanos() % every.as_nanos();
                // Less than `every`, which is far below 584 years.
                due + (late - Duration::from_nanos(u64::try_from(rest).unwrap_or(0)))
            }
            Kind::Cron(cron) => {
                let last = civil(now)
                    .and_then(|now| cron.find_previous_occurrence(&now, true).ok())
                    .and_then(moment);
                last.map_or(due, |last| last.max(due))
            }
        }
    }
}

fn cron(text: &str) -> Result<Cron, FieldError> {
    let wrong = |allowed: &str| FieldError::new("cron", text, allowed);
    if text.len() > MAX_CRON_BYTES {
        return Err(wrong("at most 128 bytes"));
    }
    // The crate reads names such as `@daily` too.
    if !text.is_ascii() || text.split_ascii_whitespace().count() != 5 {
        return Err(wrong(CRON));
    }
    let parser = CronParser::builder()
        .seconds(Seconds::Disallowed)
        .year(Year::Disallowed)
        .build();
    let cron = parser.parse(text).map_err(|_| wrong(CRON))?;
    // Any time will do: the calendar repeats itself within 400 years.
    let first = cron.find_next_occurrence(&DateTime::<Utc>::UNIX_EPOCH, true);
    first.map_err(|_| wrong(NEVER))?;
    Ok(cron)
}

/// The second of a time.
fn civil(time: SystemTime) -> Option<DateTime<Utc>> {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    DateTime::from_timestamp(i64::try_from(since.as_secs()).ok()?, 0)
}

fn moment(time: DateTime<Utc>) -> Option<SystemTime> {
    let seconds = u64::try_from(time.timestamp()).ok()?;
    UNIX_EPOCH.checked_add(Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn every(seconds: i64, nanos: i32) -> Result<Cadence, FieldError> {
        Cadence::parse(Some(&When::Every(prost_types::Duration { seconds, nanos })))
    }

    fn by_cron(text: &str) -> Result<Cadence, FieldError> {
        Cadence::parse(Some(&When::Cron(text.to_owned())))
    }

    fn at(text: &str) -> SystemTime {
        humantime::parse_rfc3339(text).unwrap()
    }

    #[test]
    fn every_is_a_second_to_366_days() {
        for (seconds, nanos) in [
            (0, 999_999_999),
            (0, 0),
            (0, 1_000_000),
            (-1, 0),
            (366 * 86_400, 1),
        ] {
            let error = every(seconds, nanos).unwrap_err();
            assert_eq!(error.field, "every", "{seconds} {nanos}");
            assert!(!error.value.is_empty());
        }
        for seconds in [1, 366 * 86_400] {
            assert!(every(seconds, 0).is_ok());
        }
        assert_eq!(Cadence::parse(None).unwrap_err().field, "every");
    }

    #[test]
    fn a_cron_expression_has_five_fields_that_mean_something() {
        for bad in [
            "",
            "     ",
            "* * * *",
            "* * * * * *",
            "*/5 * * * * *",
            "0 0 1 1 * 2027",
            "@daily",
            "@daily * * * *",
            "@reboot",
            "60 * * * *",
            "* 24 * * *",
            "* * 0 * *",
            "* * 32 * *",
            "* * * 13 *",
            "* * * * 8",
            "*/0 * * * *",
            "5-1 * * * *",
            "a b c d e",
            "\u{a0}* * * * *",
            "* * * * *;",
            "-1 * * * *",
            "99999999999999999999 * * * *",
        ] {
            let error = by_cron(bad).unwrap_err();
            assert_eq!((error.field.as_str(), error.value.as_str()), ("cron", bad));
            assert!(
                error.allowed.contains("five fields"),
                "{bad}: {}",
                error.allowed
            );
        }
        let long = format!("{} * * * *", vec!["1"; 70].join(","));
        assert!(by_cron(&long).unwrap_err().allowed.contains("128"));
    }

    #[test]
    fn an_expression_that_never_comes_due_is_refused() {
        for never in ["0 0 30 2 *", "0 0 31 4,6,9,11 *", "0 0 30-31 2 *"] {
            let error = by_cron(never).unwrap_err();
            assert!(
                error.allowed.contains("again and again"),
                "{}",
                error.allowed
            );
        }
        for seldom in ["0 0 29 2 *", "59 23 31 12 *", "0 0 29 2 1"] {
            assert!(by_cron(seldom).is_ok(), "{seldom}");
        }
    }

    #[test]
    fn every_is_counted_without_drift() {
        let cadence = every(90, 0).unwrap();
        let due = at("2026-01-01T00:00:00.25Z");
        assert_eq!(cadence.after(due), Some(at("2026-01-01T00:01:30.25Z")));
        for (now, latest) in [
            ("2026-01-01T00:00:00.25Z", "2026-01-01T00:00:00.25Z"),
            ("2026-01-01T00:01:30.249Z", "2026-01-01T00:00:00.25Z"),
            ("2026-01-01T00:01:30.25Z", "2026-01-01T00:01:30.25Z"),
            ("2026-01-02T00:00:00Z", "2026-01-01T23:58:30.25Z"),
            ("2025-01-01T00:00:00Z", "2026-01-01T00:00:00.25Z"),
        ] {
            assert_eq!(cadence.latest(due, at(now)), at(latest), "{now}");
        }
        let long = every(366 * 86_400, 0).unwrap();
        let (due, now) = (at("1970-01-01T00:00:00Z"), at("9000-01-01T00:00:00Z"));
        let latest = long.latest(due, now);
        assert!(latest <= now && long.after(latest).unwrap() > now);
    }

    #[test]
    fn cron_is_utc_and_takes_either_day() {
        for (cron, after, next) in [
            ("30 2 * * *", "2026-03-29T00:00:00Z", "2026-03-29T02:30:00Z"),
            ("30 2 * * *", "2026-03-29T02:30:00Z", "2026-03-30T02:30:00Z"),
            (
                "30 2 * * *",
                "2026-03-29T02:29:59.9Z",
                "2026-03-29T02:30:00Z",
            ),
            (
                "*/15 * * * *",
                "2026-01-01T00:00:00.5Z",
                "2026-01-01T00:15:00Z",
            ),
            ("0 0 29 2 *", "2026-01-01T00:00:00Z", "2028-02-29T00:00:00Z"),
            // The 13th, or a Friday (RFC 3339 day 2026-01-02).
            (
                "0 0 13 * FRI",
                "2026-01-01T00:00:00Z",
                "2026-01-02T00:00:00Z",
            ),
            ("0 0 * * 7", "2026-01-01T00:00:00Z", "2026-01-04T00:00:00Z"),
            (
                "0 0 1 JAN *",
                "2026-01-01T00:00:00Z",
                "2027-01-01T00:00:00Z",
            ),
        ] {
            let cadence = by_cron(cron).unwrap();
            assert_eq!(
                cadence.after(at(after)),
                Some(at(next)),
                "{cron} after {after}"
            );
        }
        let cadence = by_cron("0 * * * *").unwrap();
        let due = at("2026-01-01T01:00:00Z");
        for (now, latest) in [
            ("2026-01-01T01:00:00Z", "2026-01-01T01:00:00Z"),
            ("2026-01-01T01:59:59.9Z", "2026-01-01T01:00:00Z"),
            ("2026-01-09T12:00:00.1Z", "2026-01-09T12:00:00Z"),
        ] {
            assert_eq!(cadence.latest(due, at(now)), at(latest), "{now}");
        }
    }

    proptest! {
        #[test]
        fn no_text_breaks_the_reader_and_what_it_reads_goes_on(
            text in "[0-9*,/LW#?A-Z -]{0,24}|([0-9*]{1,2}([,/-][0-9]{1,2})?[LW#]? ?){5}",
            seconds in 0_u64..10_000_000_000,
        ) {
            if let Ok(cadence) = by_cron(&text) {
                let time = UNIX_EPOCH + Duration::from_secs(seconds);
                let next = cadence.after(time).unwrap();
                prop_assert!(next > time);
                prop_assert_eq!(cadence.latest(next, next), next);
                let following = cadence.after(next).unwrap();
                prop_assert!(following > next);
                let within = following - Duration::from_nanos(1);
                prop_assert_eq!(cadence.latest(next, within), next);
            }
        }
    }
}
