//! What one value of a configuration may be: lists, durations, numbers, and texts of each
//! kind. No field is named here; whoever checks a value says which it is.

use std::ops::RangeInclusive;
use std::time::Duration;

use crate::{FieldError, PathAndQuery};

/// Checks a list and each of its elements.
pub(super) fn each<T, U>(
    list: &[T],
    field: &str,
    count: RangeInclusive<usize>,
    check: impl Fn(&T) -> Result<U, FieldError>,
) -> Result<Vec<U>, FieldError> {
    if !count.contains(&list.len()) {
        return Err(FieldError::new(
            field,
            format!("{} elements", list.len()),
            format!("{} to {} elements", count.start(), count.end()),
        ));
    }
    list.iter()
        .enumerate()
        .map(|(index, element)| check(element).map_err(|e| e.within(format!("{field}[{index}]"))))
        .collect()
}

pub(super) fn check_duration(
    field: &str,
    duration: Duration,
    allowed: RangeInclusive<Duration>,
) -> Result<(), FieldError> {
    if allowed.contains(&duration) {
        return Ok(());
    }
    let text = humantime::format_duration;
    Err(FieldError::new(
        field,
        text(duration),
        format!("{} to {}", text(*allowed.start()), text(*allowed.end())),
    ))
}

pub(super) fn check_number(
    field: &str,
    number: u64,
    allowed: RangeInclusive<u64>,
) -> Result<(), FieldError> {
    if allowed.contains(&number) {
        return Ok(());
    }
    Err(FieldError::new(
        field,
        number,
        format!("{} to {}", allowed.start(), allowed.end()),
    ))
}

pub(super) fn check_text(text: &str, bytes: RangeInclusive<usize>) -> Result<(), FieldError> {
    if bytes.contains(&text.len()) && !text.chars().any(char::is_control) {
        return Ok(());
    }
    Err(FieldError::new(
        "",
        text,
        format!(
            "{} to {} bytes without control characters",
            bytes.start(),
            bytes.end()
        ),
    ))
}

pub(super) fn check_field_name(name: &str) -> Result<(), FieldError> {
    let is_token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    if (1..=128).contains(&name.len()) && name.bytes().all(is_token) {
        return Ok(());
    }
    Err(FieldError::new(
        "",
        name,
        "a token of 1 to 128 characters (RFC 9110, section 5.6.2)",
    ))
}

/// A cookie's name is a token too (RFC 6265, section 4.1.1), and so is a `*` at its end.
pub(super) fn check_cookie_pattern(pattern: &str) -> Result<(), FieldError> {
    let beginning = pattern.strip_suffix('*').unwrap_or(pattern);
    if beginning.contains('*') {
        return Err(FieldError::new(
            "",
            pattern,
            "the name of a cookie, with no \"*\" or one at its end",
        ));
    }
    check_field_name(pattern)
}

pub(super) fn check_field_value(
    value: &str,
    bytes: RangeInclusive<usize>,
) -> Result<(), FieldError> {
    let good = value
        .bytes()
        .all(|b| b == b'\t' || (b' '..=b'~').contains(&b));
    if good && bytes.contains(&value.len()) {
        return Ok(());
    }
    Err(FieldError::new(
        "",
        value,
        format!(
            "{} to {} printable ASCII characters",
            bytes.start(),
            bytes.end()
        ),
    ))
}

pub(super) fn check_path_pattern(pattern: &str) -> Result<(), FieldError> {
    let good = pattern.starts_with(['/', '*']) && pattern.bytes().all(|b| b.is_ascii_graphic());
    if good && pattern.len() <= 1024 {
        return Ok(());
    }
    Err(FieldError::new(
        "",
        pattern,
        "a path of visible ASCII that begins with \"/\" or \"*\"; \"*\" stands for any run of characters",
    ))
}

pub(super) fn check_location(location: &str) -> Result<(), FieldError> {
    let is_path = PathAndQuery::parse(location.split('#').next().unwrap_or_default()).is_ok();
    let is_absolute = ["http://", "https://"]
        .iter()
        .any(|s| location.starts_with(s));
    let is_plain = location.bytes().all(|b| b.is_ascii_graphic());
    if (is_path || is_absolute) && is_plain && location.len() <= 4096 {
        return Ok(());
    }
    Err(FieldError::new(
        "",
        location,
        "a path, or a URL with http or https",
    ))
}
