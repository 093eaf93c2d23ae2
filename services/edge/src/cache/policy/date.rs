//! Dates in fields (RFC 9110, section 5.6.7), as caches read them (RFC 9111, section 4.2):
//! whatever the case of their letters and the day of the week, in GMT only, in the
//! obsolete forms too. Conditions are evaluated by valid dates alone:
//! [`valid_date`](crate::conditional::valid_date).

use std::time::{Duration, SystemTime};

use http::{HeaderMap, HeaderName};

/// A field that is there once, and a date. One that is repeated names no time at all.
#[must_use]
pub fn once(fields: &HeaderMap, name: &HeaderName, now: SystemTime) -> Option<SystemTime> {
    let mut values = fields.get_all(name).iter();
    let value = values.next()?;
    if values.next().is_some() {
        return None;
    }
    parse(value.to_str().ok()?, now)
}

/// A date that is compared with other dates of the same message: which century two
/// digits mean does not matter to it.
#[must_use]
pub fn of_field(fields: &HeaderMap, name: &HeaderName) -> Option<SystemTime> {
    once(fields, name, SystemTime::UNIX_EPOCH)
}

/// Reads a date. `now` tells the century of a year of two digits.
#[must_use]
pub fn parse(text: &str, now: SystemTime) -> Option<SystemTime> {
    // Nearly all are as they should be.
    if let Ok(date) = httpdate::parse_http_date(text) {
        return Some(date);
    }
    let text = text.trim_matches([' ', '\t']).as_bytes();
    preferred(text)
        .or_else(|| of_asctime(text))
        .or_else(|| of_rfc_850(text, now))?
        .time()
}

/// `Sun, 06 Nov 1994 08:49:37 GMT`.
fn preferred(text: &[u8]) -> Option<Parts<'_>> {
    let (weekday, rest) = text.split_at_checked(3)?;
    let rest = rest.strip_prefix(b", ")?;
    let is_in_form = is_word(weekday) && rest.len() == 24 && is_gmt(&rest[20..]);
    let spaces = is_in_form.then(|| [rest[2], rest[6], rest[11]])?;
    (spaces == *b"   ").then(|| Parts {
        day: &rest[..2],
        month: &rest[3..6],
        year: number(&rest[7..11]),
        time: &rest[12..20],
    })
}

/// `Sun Nov  6 08:49:37 1994`.
fn of_asctime(text: &[u8]) -> Option<Parts<'_>> {
    let is_in_form = text.len() == 24 && is_word(&text[..3]);
    let spaces = is_in_form.then(|| [text[3], text[7], text[10], text[19]])?;
    (spaces == *b"    ").then(|| Parts {
        day: text[8..10].trim_ascii_start(),
        month: &text[4..7],
        year: number(&text[20..]),
        time: &text[11..19],
    })
}

/// `Sunday, 06-Nov-94 08:49:37 GMT`. Its year is the one with these digits that is no more
/// than 50 years ahead.
fn of_rfc_850(text: &[u8], now: SystemTime) -> Option<Parts<'_>> {
    let comma = text.iter().position(|byte| *byte == b',')?;
    let (weekday, rest) = text.split_at(comma);
    let rest = rest.strip_prefix(b", ")?;
    let is_in_form = is_word(weekday)
        && weekday.to_ascii_lowercase().ends_with(b"day")
        && rest.len() == 22
        && is_gmt(&rest[18..]);
    let marks = is_in_form.then(|| [rest[2], rest[6], rest[9]])?;
    (marks == *b"-- ").then(|| Parts {
        day: &rest[..2],
        month: &rest[3..6],
        year: number(&rest[7..9]).map(|digits| whole_year(digits, now)),
        time: &rest[10..18],
    })
}

fn whole_year(digits: u64, now: SystemTime) -> u64 {
    const MEAN_SECONDS: u64 = 31_556_952;
    let since = now.duration_since(SystemTime::UNIX_EPOCH);
    let this_year = 1970 + since.map_or(0, |since| since.as_secs() / MEAN_SECONDS);
    let year = this_year - this_year % 100 + digits;
    if year > this_year + 50 {
        year - 100
    } else {
        year
    }
}

/// A date in pieces, whose values are not looked at yet.
struct Parts<'a> {
    day: &'a [u8],
    month: &'a [u8],
    year: Option<u64>,
    /// `08:49:37`.
    time: &'a [u8],
}

const MONTHS: [&[u8; 3]; 12] = [
    b"jan", b"feb", b"mar", b"apr", b"may", b"jun", b"jul", b"aug", b"sep", b"oct", b"nov", b"dec",
];
/// Days of a year that is no leap year before each month.
const DAYS_BEFORE: [u64; 12] = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334];

impl Parts<'_> {
    fn time(&self) -> Option<SystemTime> {
        let year = self.year.filter(|year| (1970..=9999).contains(year))?;
        let month = self.month.to_ascii_lowercase();
        let month = MONTHS.iter().position(|name| **name == *month)?;
        let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
        let next = DAYS_BEFORE.get(month + 1).copied().unwrap_or(365);
        let days_of_month = next - DAYS_BEFORE[month] + u64::from(is_leap && month == 1);
        let day = number(self.day).filter(|day| (1..=days_of_month).contains(day))?;
        let [h1, h2, b':', m1, m2, b':', s1, s2] = *self.time else {
            return None;
        };
        let hour = number(&[h1, h2]).filter(|hour| *hour < 24)?;
        let minute = number(&[m1, m2]).filter(|minute| *minute < 60)?;
        // A leap second is the beginning of the next minute.
        let second = number(&[s1, s2]).filter(|second| *second <= 60)?;
        let before = year - 1;
        let leap_days = before / 4 - before / 100 + before / 400 - LEAP_DAYS_BEFORE_1970;
        let days = (year - 1970) * 365
            + leap_days
            + DAYS_BEFORE[month]
            + u64::from(is_leap && month > 1)
            + day
            - 1;
        let seconds = days * 86_400 + hour * 3_600 + minute * 60 + second;
        Some(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds))
    }
}

const LEAP_DAYS_BEFORE_1970: u64 = 1969 / 4 - 1969 / 100 + 1969 / 400;

fn number(digits: &[u8]) -> Option<u64> {
    let is_number = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    is_number.then(|| {
        digits
            .iter()
            .fold(0, |number, digit| number * 10 + u64::from(digit - b'0'))
    })
}

fn is_word(letters: &[u8]) -> bool {
    letters.iter().all(u8::is_ascii_alphabetic)
}

fn is_gmt(zone: &[u8]) -> bool {
    zone.eq_ignore_ascii_case(b" gmt")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn now() -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000)
    }

    fn read(text: &str) -> Option<String> {
        parse(text, now()).map(httpdate::fmt_http_date)
    }

    #[test]
    fn every_form_is_read_whatever_its_case() {
        let expected = Some("Thu, 18 Aug 2050 02:01:18 GMT".to_owned());
        for text in [
            "Thu, 18 Aug 2050 02:01:18 GMT",
            "THU, 18 Aug 2050 02:01:18 GMT",
            "Thu, 18 AUG 2050 02:01:18 GMT",
            "thu, 18 aug 2050 02:01:18 gMT",
            "Thursday, 18-Aug-50 02:01:18 GMT",
            "THURSDAY, 18-aug-50 02:01:18 gmt",
            "Thu Aug 18 02:01:18 2050",
            "Mon, 18 Aug 2050 02:01:18 GMT",
            "mon aug 18 02:01:18 2050",
        ] {
            assert_eq!(read(text), expected, "{text}");
        }
    }

    #[test]
    fn two_digits_are_never_more_than_fifty_years_ahead() {
        let year_of = |text: &str| {
            let date = read(text).unwrap_or_default();
            date.get(12..16).unwrap_or_default().to_owned()
        };
        assert_eq!(year_of("Sunday, 01-Jan-73 00:00:00 GMT"), "2073");
        assert_eq!(year_of("Sunday, 01-Jan-74 00:00:00 GMT"), "1974");
        assert_eq!(year_of("Sunday, 06-Nov-94 08:49:37 GMT"), "1994");
    }

    #[test]
    fn what_is_no_date_is_none() {
        for text in [
            "0",
            "",
            "Thu, 18 Aug 2050 02:01:18 UTC",
            "Thu, 18 Aug 2050 02:01:18 AEST",
            "Thu, 18 Aug 50 02:01:18 GMT",
            "Thu 18 Aug 2050 02:01:18 GMT",
            "Thu, 18  Aug  2050 02:01:18 GMT",
            "Thu, 18-Aug-2050 02:01:18 GMT",
            "Thu, 18 Aug 2050 02.01.18 GMT",
            "Thu, 18 Aug 2050 2:01:18 GMT",
            "Thu, 18 Aug 2050 02:01:18",
            "Thu, 31 Jun 2050 02:01:18 GMT",
            "Thu, 29 Feb 2100 02:01:18 GMT",
            "Thu, 18 Aug 2050 24:01:18 GMT",
            "Thu, 18 Aug 1950 02:01:18 GMT",
            "Thu, 00 Aug 2050 02:01:18 GMT",
            "Foo, 18-Aug-50 02:01:18 GMT",
        ] {
            assert_eq!(read(text), None, "{text}");
        }
    }

    #[test]
    fn a_repeated_field_is_none() {
        let mut fields = HeaderMap::new();
        let name = http::header::EXPIRES;
        fields.append(&name, "Thu, 18 Aug 2050 02:01:18 GMT".parse().unwrap());
        assert!(once(&fields, &name, now()).is_some());
        fields.append(&name, "Thu, 18 Aug 2050 02:01:18 GMT".parse().unwrap());
        assert_eq!(once(&fields, &name, now()), None);
    }

    proptest! {
        #[test]
        fn nothing_from_outside_panics(text in "[\\PC]{0,40}") {
            let _ = parse(&text, now());
        }

        #[test]
        fn every_time_is_read_as_it_was_written(seconds in 0u64..253_402_300_799) {
            let date = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
            let text = httpdate::fmt_http_date(date);
            prop_assert_eq!(preferred(text.as_bytes()).and_then(|parts| parts.time()), Some(date));
            let asctime = format!(
                "{} {} {:>2} {} {}",
                &text[..3], &text[8..11], text[5..7].trim_start_matches('0'), &text[17..25], &text[12..16],
            );
            prop_assert_eq!(parse(&asctime, now()), Some(date), "{}", asctime);
        }

        #[test]
        fn no_date_panics(
            day in 0u8..40, month in "[a-zA-Z]{3}", year in 0u32..200, hour in 0u8..30,
            weekday in "(mon|Tues|wednes|THURS|Fri|Satur|sun)day",
        ) {
            let _ = parse(&format!("{weekday}, {day:02}-{month}-{year:02} {hour:02}:00:00 GMT"), now());
            let _ = parse(&format!("Mon, {day:02} {month} {year:04} {hour:02}:00:00 GMT"), now());
        }
    }
}
