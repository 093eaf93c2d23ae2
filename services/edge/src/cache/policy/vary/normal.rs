//! The value of a request's field as it is compared with another: what is written in two
//! ways and means the same is the same (RFC 9111, section 4.1).

use http::header::{ACCEPT, ACCEPT_CHARSET, ACCEPT_ENCODING, ACCEPT_LANGUAGE};
use http::{HeaderMap, HeaderName};

use crate::cache::policy::list::Elements;

#[cfg(test)]
thread_local! {
    /// How often a field was read on this thread.
    pub(super) static READ: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

/// Lines joined, white space around commas gone; of the fields by which content is
/// negotiated only what they mean. `None` if the field is absent.
pub(super) fn normalized(request: &HeaderMap, name: &HeaderName) -> Option<Box<str>> {
    #[cfg(test)]
    READ.with(|read| read.set(read.get() + 1));
    let mut lines = request.get_all(name).iter().peekable();
    lines.peek()?;
    let is_of = |known: &[HeaderName]| known.contains(name);
    let is_preference = is_of(&[ACCEPT, ACCEPT_CHARSET, ACCEPT_LANGUAGE]);
    let mut elements: Vec<String> = Vec::new();
    let mut named: Vec<Coding> = Vec::new();
    for line in lines {
        // Bytes beyond ASCII become one character each: distinct values stay distinct.
        let text: String = line.as_bytes().iter().copied().map(char::from).collect();
        if name == ACCEPT_ENCODING {
            named.extend(Elements::of(&text).filter_map(coding));
        } else if is_preference {
            elements.extend(Elements::of(&text).map(preference));
        } else {
            elements.extend(Elements::all_of(&text).map(ToOwned::to_owned));
        }
    }
    elements.extend(codings(named));
    if is_preference || name == ACCEPT_ENCODING {
        // The order means nothing (RFC 9110, section 12.5): weights do.
        elements.sort_unstable();
        elements.dedup();
    }
    Some(elements.join(",").into())
}

/// What an element of `Accept-Encoding` says of a coding, in lower case.
enum Coding {
    Accepted(String),
    Refused(String),
    /// Nobody knows what another server makes of it.
    Unclear(String),
}

fn coding(element: &str) -> Option<Coding> {
    let mut parts = Elements::between(element, b';');
    let name = parts.next()?.to_ascii_lowercase();
    let weights = parts.filter(|part| part.starts_with("q=") || part.starts_with("Q="));
    let weights: Option<Vec<u32>> = weights.map(weight).collect();
    Some(match weights {
        None => Coding::Unclear(element.to_owned()),
        Some(weights) if weights.contains(&0) => Coding::Refused(name),
        Some(_) => Coding::Accepted(name),
    })
}

/// What is acceptable: the codings that are accepted, and those of which something else is
/// said than of the rest, which `*` stands for (RFC 9110, section 12.5.3). `identity` needs
/// no word unless the rest is refused, and what is refused none unless the rest is accepted.
fn codings(named: Vec<Coding>) -> Vec<String> {
    let is_unclear =
        |coding: &Coding| matches!(coding, Coding::Unclear(text) if text.starts_with('*'));
    let of_rest = |is_it: fn(&Coding) -> bool| named.iter().any(|c| is_it(c) || is_unclear(c));
    let accepts_rest = of_rest(|coding| matches!(coding, Coding::Accepted(name) if name == "*"));
    let refuses_rest = of_rest(|coding| matches!(coding, Coding::Refused(name) if name == "*"));
    let meant = named.into_iter().filter_map(|coding| match coding {
        Coding::Unclear(text) => Some(text),
        Coding::Accepted(name) => (name != "identity" || refuses_rest).then_some(name),
        Coding::Refused(name) => {
            let counts = accepts_rest || name == "identity" || name == "*";
            counts.then(|| format!("{name};q=0"))
        }
    });
    meant.collect()
}

/// A language, charset or media range with its weight in one form. Values of other
/// parameters keep their case.
fn preference(element: &str) -> String {
    let mut parts = Elements::between(element, b';');
    let mut normal = parts.next().unwrap_or_default().to_ascii_lowercase();
    let mut thousandths = 1_000;
    for part in parts {
        match weight(part) {
            Some(weight) => thousandths = weight,
            None => {
                normal.push(';');
                match part.split_once('=') {
                    Some((name, value)) => {
                        normal.push_str(&name.to_ascii_lowercase());
                        normal.push('=');
                        normal.push_str(value);
                    }
                    None => normal.push_str(&part.to_ascii_lowercase()),
                }
            }
        }
    }
    if thousandths != 1_000 {
        normal.push_str(&format!(";q={thousandths}"));
    }
    normal
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
        assert_eq!(normal("gzip, BR;q=0.5, zstd;q=0, identity"), "br,gzip");
        assert_eq!(normal("gzip;q=0.000, *;q=0"), "*;q=0");
        assert_eq!(normal("identity;q=0, gzip ; q=1.0"), "gzip,identity;q=0");
        assert_eq!(normal("gzip;q=0.0000"), "gzip;q=0.0000");
        assert_eq!(normal(""), "");
    }

    #[test]
    fn what_is_said_against_the_rest_is_kept_where_the_rest_is_accepted_or_refused() {
        // RFC 9110, section 12.5.3.
        let of = |lines: &[&str]| of(&ACCEPT_ENCODING, lines);
        assert_ne!(of(&["gzip;q=0, *"]), of(&["*"]));
        assert_ne!(of(&["gzip;q=0", "*;q=0.5"]), of(&["*"]));
        assert_ne!(of(&["identity;q=0, *"]), of(&["*"]));
        assert_ne!(of(&["identity, *;q=0"]), of(&["*;q=0"]));
        assert_ne!(of(&["identity;q=0.5", "*;q=0"]), of(&["*;q=0"]));
        // Where nothing is said of the rest, it is neither accepted nor refused.
        assert_eq!(of(&["gzip;q=0, br"]), of(&["br, identity"]));
        assert_eq!(of(&["gzip;q=0, *;q=0"]), of(&["*;q=0"]));
        assert_eq!(of(&["identity, *"]), of(&["*"]));
        assert_eq!(of(&["GZIP;q=0, *"]), of(&["*;q=1", "gzip ; q=0.0"]));
    }

    #[test]
    fn preferences_are_compared_by_what_they_mean() {
        let normal = |value| of(&ACCEPT_LANGUAGE, &[value]);
        let expected = normal("en, de;q=0.5");
        for same in ["EN,De;q=0.50", " de ; q=0.5 ,  en;q=1"] {
            assert_eq!(normal(same), expected, "{same}");
        }
        for other in ["en;q=0.5, de", "en", "de;q=.5, en"] {
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
