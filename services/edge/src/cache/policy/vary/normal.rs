//! The value of a request's field as it is compared with another: what is written in two
//! ways and means the same is the same (RFC 9111, section 4.1).

use std::cmp::Reverse;
use std::fmt;

use http::header::{ACCEPT, ACCEPT_CHARSET, ACCEPT_ENCODING, ACCEPT_LANGUAGE};
use http::{HeaderMap, HeaderName};

use crate::cache::policy::list::Elements;

#[cfg(test)]
thread_local! {
    /// How often a field was read on this thread.
    pub(super) static READ: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

/// A weight of 1, which is that of what names none (RFC 9110, section 12.4.2).
const WHOLE: u32 = 1_000;

/// Lines joined, white space around commas gone; of the fields by which content is
/// negotiated only what they mean. `None` if the field is absent.
pub(super) fn normalized(request: &HeaderMap, name: &HeaderName) -> Option<Box<str>> {
    #[cfg(test)]
    READ.with(|read| read.set(read.get() + 1));
    // Bytes beyond ASCII become one character each: distinct values stay distinct.
    let text = |line: &[u8]| line.iter().copied().map(char::from).collect();
    let lines = request.get_all(name).iter();
    let lines: Vec<String> = lines.map(|line| text(line.as_bytes())).collect();
    if lines.is_empty() {
        return None;
    }
    let as_written = || lines.iter().flat_map(|line| Elements::all_of(line));
    let elements: Vec<String> = match meaning(name, &lines) {
        Some(list) => list.iter().map(Weighed::to_string).collect(),
        None => as_written().map(ToOwned::to_owned).collect(),
    };
    Some(elements.join(",").into())
}

/// What a list of preferences means, each element once. `None` if the field is another, or if
/// one of the elements is unclear or contradicts another: then nobody knows what another server
/// makes of the list.
///
/// The order of different weights means nothing. That of equal ones decides at servers that
/// negotiate media types and charsets. So it does at some for languages, but no client can
/// rely on that (RFC 9110, section 12.5.4), and it is no use to keep a variant for each order.
fn meaning(name: &HeaderName, lines: &[String]) -> Option<Vec<Weighed>> {
    let is_of = |known: &[HeaderName]| known.contains(name);
    let has_order = is_of(&[ACCEPT, ACCEPT_CHARSET]);
    if !has_order && !is_of(&[ACCEPT_ENCODING, ACCEPT_LANGUAGE]) {
        return None;
    }
    let mut list = Vec::new();
    for line in lines {
        let mut elements = Elements::of(line);
        for element in elements.by_ref() {
            list.push(Weighed::read(element, *name == ACCEPT)?);
        }
        if elements.is_unclosed() {
            return None;
        }
    }
    if *name == ACCEPT_ENCODING {
        keep_acceptance(&mut list);
    }
    match has_order {
        true => list.sort_by_key(|element| Reverse(element.weight)),
        false => list.sort_unstable_by(|a, b| (b.weight, &a.range).cmp(&(a.weight, &b.range))),
    }
    list.dedup();
    (!names_one_twice(&list)).then_some(list)
}

fn names_one_twice(list: &[Weighed]) -> bool {
    let mut ranges: Vec<&str> = list.iter().map(|element| &*element.range).collect();
    ranges.sort_unstable();
    ranges.windows(2).any(|pair| pair[0] == pair[1])
}

/// Makes a list of codings one of what is acceptable. What is refused is kept, also where
/// nobody would expect it to be accepted (RFC 9110, section 12.5.3): there are servers that
/// send what is named, whatever its weight. `identity` needs no word unless the rest is refused.
fn keep_acceptance(list: &mut Vec<Weighed>) {
    for element in list.iter_mut().filter(|element| element.weight > 0) {
        element.weight = WHOLE;
    }
    let refuses_rest = list.iter().any(|it| it.range == "*" && it.weight == 0);
    list.retain(|it| refuses_rest || it.range != "identity" || it.weight == 0);
}

/// An element of a list of preferences.
#[derive(Debug, PartialEq, Eq)]
struct Weighed {
    /// A coding, language, charset or media range, the latter with its parameters. Their
    /// values keep their case.
    range: String,
    /// In thousandths.
    weight: u32,
}

impl Weighed {
    /// `None` if nobody knows what another server makes of it: it has a weight that is none,
    /// something behind its weight, or parameters that it cannot have.
    fn read(element: &str, may_have_parameters: bool) -> Option<Self> {
        let mut parts = Elements::all_between(element, b';');
        let mut range = parts.next()?.to_ascii_lowercase();
        let mut stated = None;
        for part in parts {
            let (name, value) = match part.split_once('=') {
                Some((name, value)) => (name, Some(value)),
                None => (part, None),
            };
            if stated.is_some() {
                return None;
            } else if name.trim_ascii().eq_ignore_ascii_case("q") {
                stated = Some(weight(part)?);
            } else if may_have_parameters {
                range.push(';');
                range.push_str(&name.to_ascii_lowercase());
                if let Some(value) = value {
                    range.push('=');
                    range.push_str(value);
                }
            } else {
                return None;
            }
        }
        Some(Self {
            range,
            weight: stated.unwrap_or(WHOLE),
        })
    }
}

/// As a client could write it: nothing that is compared as it is written looks the same.
impl fmt::Display for Weighed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.weight {
            WHOLE => f.write_str(&self.range),
            0 => write!(f, "{};q=0", self.range),
            weight => write!(f, "{};q=0.{weight:03}", self.range),
        }
    }
}

/// A weight in thousandths (RFC 9110, section 12.4.2); `None` if it is none.
fn weight(part: &str) -> Option<u32> {
    let digits = part
        .strip_prefix("q=")
        .or_else(|| part.strip_prefix("Q="))?;
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let is_number = fraction.len() <= 3 && fraction.bytes().all(|b| b.is_ascii_digit());
    match whole {
        _ if !is_number => None,
        "0" => format!("{fraction:0<3}").parse().ok(),
        "1" if fraction.bytes().all(|b| b == b'0') => Some(1_000),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(name: &HeaderName, lines: &[&str]) -> String {
        let mut map = HeaderMap::new();
        for line in lines {
            map.append(name, line.parse().unwrap());
        }
        normalized(&map, name).unwrap().into()
    }

    #[test]
    fn codings_are_a_set_of_what_is_acceptable() {
        let normal = |value| of(&ACCEPT_ENCODING, &[value]);
        assert_eq!(
            normal("gzip, BR;q=0.5, zstd;q=0, identity"),
            "br,gzip,zstd;q=0"
        );
        assert_eq!(normal("gzip;q=0.000, *;q=0"), "*;q=0,gzip;q=0");
        assert_eq!(normal("identity;q=0, gzip ; q=1.0"), "gzip,identity;q=0");
        assert_eq!(normal("gzip, br, GZIP;q=0.5"), "br,gzip");
        assert_eq!(normal(""), "");
    }

    #[test]
    fn what_is_refused_is_told_from_what_is_not_named() {
        let of = |lines: &[&str]| of(&ACCEPT_ENCODING, lines);
        assert_ne!(of(&["gzip;q=0"]), of(&["identity"]));
        assert_ne!(of(&["gzip;q=0, br"]), of(&["br"]));
        assert_ne!(of(&["gzip;q=0, *;q=0"]), of(&["*;q=0"]));
        // RFC 9110, section 12.5.3.
        assert_ne!(of(&["gzip;q=0, *"]), of(&["*"]));
        assert_ne!(of(&["gzip;q=0", "*;q=0.5"]), of(&["*"]));
        assert_ne!(of(&["identity;q=0, *"]), of(&["*"]));
        assert_ne!(of(&["identity, *;q=0"]), of(&["*;q=0"]));
        assert_ne!(of(&["identity;q=0.5", "*;q=0"]), of(&["*;q=0"]));
        assert_eq!(of(&["gzip;q=0, br"]), of(&["BR, identity", "Gzip ; q=0.0"]));
        assert_eq!(of(&["identity, *"]), of(&["*"]));
        assert_eq!(of(&["GZIP;q=0, *"]), of(&["*;q=1", "gzip ; q=0.0"]));
    }

    #[test]
    fn a_list_of_which_something_is_unclear_is_compared_as_it_is_written() {
        for (name, value) in [
            (&ACCEPT_ENCODING, "gzip;q=0.0000,BR,br"),
            (&ACCEPT_ENCODING, "gzip;q=1;q=0,BR"),
            (&ACCEPT_ENCODING, "gzip;q=0;q=0"),
            (&ACCEPT_ENCODING, "gzip;q =0"),
            (&ACCEPT_ENCODING, "gzip;x=1"),
            (&ACCEPT_ENCODING, "gzip;"),
            (&ACCEPT_ENCODING, ";gzip;q=0"),
            (&ACCEPT_ENCODING, "gzip;q=0,gzip"),
            (&ACCEPT_LANGUAGE, "EN;q=0.5;q=0.7,de"),
            (&ACCEPT_LANGUAGE, "de;q=.5,EN"),
            (&ACCEPT_LANGUAGE, "de;q=500,EN"),
            (&ACCEPT, "B/b;x=\"1,a/a"),
            (&ACCEPT_LANGUAGE, "en;q=0.5,de,en"),
            (&ACCEPT, "text/html;q=0.5;level=1,a/b"),
            (&ACCEPT, "a/b;q=1,text/HTML;q=0.5;q=0.7"),
        ] {
            assert_eq!(of(name, &[value]), value);
        }
    }

    proptest! {
        #[test]
        fn what_is_compared_as_it_is_written_is_never_taken_for_what_another_list_means(
            value in r#"((a|b|\*)(;q=|;q=0\.|;x=| ;)?[01ab5"=]{0,3}[,;"]?){0,4}"#,
        ) {
            for name in [&ACCEPT, &ACCEPT_CHARSET, &ACCEPT_ENCODING, &ACCEPT_LANGUAGE] {
                let normal = of(name, &[&value]);
                prop_assert_eq!(meaning(name, &[normal]), meaning(name, std::slice::from_ref(&value)));
            }
        }
    }

    #[test]
    fn the_order_of_equal_weights_decides_where_servers_go_by_it() {
        for name in [&ACCEPT, &ACCEPT_CHARSET] {
            let normal = |value| of(name, &[value]);
            assert_ne!(normal("a, b"), normal("b, a"));
            assert_ne!(normal("a;q=0.5, b;q=0.5, c"), normal("b;q=0.5, a;q=0.5, c"));
            assert_eq!(
                normal("a;q=0.5, c, b;q=0.5"),
                normal("C;q=1, a;q=0.50, b;q=0.500")
            );
        }
        for name in [&ACCEPT_LANGUAGE, &ACCEPT_ENCODING] {
            assert_eq!(of(name, &["a, b"]), of(name, &["b, a"]));
        }
    }

    #[test]
    fn preferences_are_compared_by_what_they_mean() {
        let normal = |value| of(&ACCEPT_LANGUAGE, &[value]);
        let expected = normal("en, de;q=0.5");
        for same in ["EN,De;q=0.50", " de ; q=0.5 ,  en;q=1"] {
            assert_eq!(normal(same), expected, "{same}");
        }
        for other in ["en;q=0.5, de", "en", "de;q=.5, en", "en, de;q=500"] {
            assert_ne!(normal(other), expected, "{other}");
        }
        let media = |value| of(&ACCEPT, &[value]);
        assert_eq!(
            media("Text/HTML;Level=1, */*;q=0.8"),
            media("*/*;q=0.800,text/html; level=1")
        );
        assert_ne!(media("text/html;level=A"), media("text/html;level=a"));
    }

    #[test]
    fn other_fields_are_lists_at_most() {
        let name = HeaderName::from_static("foo");
        assert_eq!(of(&name, &["1", "2 ,3"]), of(&name, &["1,  2,\t3"]));
        assert_ne!(of(&name, &["1, 2"]), of(&name, &["2, 1"]));
        assert_ne!(of(&name, &["a"]), of(&name, &["A"]));
        assert_ne!(of(&name, &["1,,2"]), of(&name, &["1,2"]));
        // White space inside of quotes is part of the value.
        assert_ne!(of(&name, &["\"1, 2\""]), of(&name, &["\"1,2\""]));
    }
}
