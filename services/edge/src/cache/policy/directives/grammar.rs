//! How directives are written: names and arguments (RFC 9111, section 5.2), numbers of
//! seconds (section 1.2.2), names of fields.

use std::time::Duration;

use http::{HeaderMap, HeaderName};

use crate::cache::policy::list::Elements;

/// What is as good as for ever (RFC 9111, section 1.2.2).
pub(super) const MAX_SECONDS: u64 = 1 << 31;

/// The longest name that means something here.
const LONGEST_NAME: usize = "stale-while-revalidate".len();

/// More names of fields than that in one directive are none.
const MAX_NAMES: usize = 16;

/// The argument of a directive. Both forms of it mean the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Argument<'a> {
    /// There is none.
    Absent,
    /// As it stands there, or what is between the quotes, where a backslash quotes what
    /// follows it.
    Text(&'a str),
    /// There is one that cannot be read.
    Malformed,
}

impl Argument<'_> {
    /// A number of seconds; `None` if it is none.
    pub(super) fn seconds(self) -> Option<Duration> {
        let Self::Text(text) = self else {
            return None;
        };
        let mut seconds: u64 = 0;
        let mut bytes = text.bytes().filter(|byte| *byte != b'\\').peekable();
        bytes.peek()?;
        for byte in bytes {
            let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
            // Digits that do not fit are more than enough.
            seconds = seconds
                .saturating_mul(10)
                .saturating_add(digit)
                .min(MAX_SECONDS);
        }
        Some(Duration::from_secs(seconds))
    }

    /// Names of fields; `None` if there are none, or too many, or what is no name.
    pub(super) fn names(self) -> Option<Vec<HeaderName>> {
        let Self::Text(text) = self else {
            return None;
        };
        let mut names = Vec::new();
        for element in Elements::of(text) {
            if names.len() == MAX_NAMES {
                return None;
            }
            names.push(element.parse().ok()?);
        }
        (!names.is_empty()).then_some(names)
    }
}

/// Calls `each` with every directive of a field, its name in lower case. Of what cannot
/// be read any part may have been a prohibition: it counts as `no-store`.
pub(super) fn for_each<'a>(
    fields: &'a HeaderMap,
    field: &HeaderName,
    mut each: impl FnMut(&str, Argument<'a>),
) {
    for line in fields.get_all(field) {
        let Ok(text) = line.to_str() else {
            each("no-store", Argument::Absent);
            continue;
        };
        let mut directives = Elements::of(text);
        while let Some(directive) = directives.next() {
            if directives.is_unclosed() {
                each("no-store", Argument::Absent);
            }
            one(directive, &mut each);
        }
    }
}

/// Calls `each` with a directive.
pub(super) fn one<'a>(directive: &'a str, each: &mut impl FnMut(&str, Argument<'a>)) {
    let (name, argument) = match directive.split_once('=') {
        Some((name, value)) => (name, argument(name, value)),
        None => (directive, Argument::Absent),
    };
    let name = name.trim_end_matches([' ', '\t']);
    if name.is_empty() || name.len() > LONGEST_NAME {
        return;
    }
    let mut lower = [0; LONGEST_NAME];
    let lower = &mut lower[..name.len()];
    lower.copy_from_slice(name.as_bytes());
    lower.make_ascii_lowercase();
    // Lower case of a `str` is a `str`.
    each(std::str::from_utf8(lower).unwrap_or_default(), argument);
}

/// There is no white space around the sign between a name and its argument.
fn argument<'a>(name: &str, value: &'a str) -> Argument<'a> {
    let has_space = name.ends_with([' ', '\t']) || value.starts_with([' ', '\t']);
    match value.strip_prefix('"') {
        _ if has_space => Argument::Malformed,
        None => Argument::Text(value),
        Some(inner) => match inner.strip_suffix('"') {
            Some(inner) => Argument::Text(inner),
            None => Argument::Malformed,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Vec<(String, Argument<'_>)> {
        let mut found = Vec::new();
        for directive in Elements::of(text) {
            one(directive, &mut |name, argument| {
                found.push((name.to_owned(), argument));
            });
        }
        found
    }

    #[test]
    fn arguments_come_in_two_forms() {
        let found = read("A=1, b=\"2, 3\", c, d =4, e= 5, f=\"6, x-an-extension-with-a-long-name");
        let names: Vec<_> = found.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["a", "b", "c", "d", "e", "f"]);
        let arguments: Vec<_> = found.iter().map(|(_, argument)| *argument).collect();
        use Argument::{Absent, Malformed, Text};
        assert_eq!(
            arguments,
            [
                Text("1"),
                Text("2, 3"),
                Absent,
                Malformed,
                Malformed,
                Malformed
            ]
        );
    }

    #[test]
    fn seconds_are_digits_and_never_overflow() {
        let of = |text| Argument::Text(text).seconds().map(|s| s.as_secs());
        assert_eq!(of("60"), Some(60));
        assert_eq!(of("0060"), Some(60));
        assert_eq!(of("6\\0"), Some(60));
        assert_eq!(of("2147483649"), Some(MAX_SECONDS));
        assert_eq!(of("99999999999999999999999"), Some(MAX_SECONDS));
        for text in ["", "-1", "+1", "1.0", "a", "1a", "'1'", " 1"] {
            assert_eq!(of(text), None, "{text}");
        }
        assert_eq!(Argument::Absent.seconds(), None);
    }

    #[test]
    fn names_of_fields_are_a_bounded_list() {
        let of = |text: &str| Argument::Text(text).names().map(|names| names.len());
        assert_eq!(of("Set-Cookie, x"), Some(2));
        assert_eq!(of(""), None);
        assert_eq!(of("a b"), None);
        assert_eq!(of(&"a,".repeat(16)), Some(16));
        assert_eq!(of(&"a,".repeat(17)), None);
    }
}
