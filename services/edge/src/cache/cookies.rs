//! The cookies of a request: those that belong to its key, and those that mean nothing.
//!
//! A cookie is a pair between semicolons, and its name is compared byte by byte (RFC 6265,
//! sections 5.4 and 4.2.2). Not all origins read it so: some decode names, take them without
//! regard to case, end a pair at a comma or a space, or know quotes. Where one of them could find a
//! cookie of the key and the standard finds none, or the other way round, what is there
//! counts as it is written. Else what is said in that way would be stored for those who say
//! the same plainly, and hear something else.

use http::header::{COOKIE, Entry};
use http::{HeaderMap, HeaderValue};
use tidegate_domain::site::KeyPolicy;

/// What says something of a cookie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Said<'a> {
    /// Its value.
    Value(&'a [u8]),
    /// Its name alone, which some take for a cookie without a value.
    Name,
    /// A pair that some may take for it, as it is written.
    Perhaps(&'a [u8]),
}

/// What a request says of a cookie. Read as bytes: what another cookie of the same line holds
/// is no reason to overlook it.
pub(super) fn said_of<'a>(request: &'a HeaderMap, name: &'a str) -> impl Iterator<Item = Said<'a>> {
    let lines = request.get_all(COOKIE).iter();
    let mut is_in_quotes = false;
    lines
        .flat_map(|line| line.as_bytes().split(|byte| *byte == b';'))
        .filter_map(move |pair| {
            let is_plain = !is_in_quotes;
            let quotes = pair.iter().filter(|byte| **byte == b'"').count();
            is_in_quotes ^= quotes % 2 == 1;
            let (found, value) = parts(pair);
            if is_plain && found == name.as_bytes() {
                return Some(value.map_or(Said::Name, Said::Value));
            }
            let by_comma = pair.split(|byte| *byte == b',');
            let by_any = pair.split(|byte| matches!(byte, b',' | b' ' | b'\t'));
            let is_taken_for_it = by_comma
                .chain(by_any)
                .any(|piece| may_be(parts(piece).0, name.as_bytes()));
            is_taken_for_it.then(|| Said::Perhaps(pair.trim_ascii()))
        })
}

/// Cookies that a site ignores.
///
/// They are taken out of a request before anything else looks at it, and the origin gets what
/// is left: whatever it takes that for, it answers a request that never had them.
#[derive(Debug, Default)]
pub struct IgnoredCookies {
    names: Vec<String>,
    /// What their names begin with.
    beginnings: Vec<String>,
    kept: Vec<String>,
}

impl IgnoredCookies {
    /// Those of a policy. What belongs to the key is none of them.
    #[must_use]
    pub fn of(policy: &KeyPolicy) -> Self {
        let mut ignored = Self {
            kept: policy.cookies.clone(),
            ..Self::default()
        };
        for pattern in &policy.ignored_cookies {
            match pattern.strip_suffix('*') {
                Some(beginning) => ignored.beginnings.push(beginning.to_owned()),
                None => ignored.names.push(pattern.clone()),
            }
        }
        ignored
    }

    /// Takes them out of a request. What is left stays as it is written.
    pub fn remove_from(&self, request: &mut HeaderMap) {
        if self.names.is_empty() && self.beginnings.is_empty() {
            return;
        }
        let Entry::Occupied(entry) = request.entry(COOKIE) else {
            return;
        };
        let (name, lines) = entry.remove_entry_mult();
        let mut left = Vec::new();
        let mut is_in_quotes = false;
        for line in lines {
            let pairs = line.as_bytes().split(|byte| *byte == b';');
            let kept: Vec<_> = pairs
                .filter(|pair| {
                    let is_odd = pair.iter().filter(|byte| **byte == b'"').count() % 2 == 1;
                    // What quotes go beyond one pair is not one to all who read it.
                    let is_plain = !is_in_quotes && !is_odd;
                    is_in_quotes ^= is_odd;
                    !(is_plain && self.has(parts(pair).0))
                })
                .collect();
            // Pieces of a field's value make one again.
            left.extend(HeaderValue::from_bytes(kept.join(&b';').trim_ascii()).ok());
        }
        for line in left.into_iter().filter(|line| !line.is_empty()) {
            request.append(name.clone(), line);
        }
    }

    fn has(&self, name: &[u8]) -> bool {
        let is = |other: &String| other.as_bytes() == name;
        let is_begun_by = |beginning: &String| name.starts_with(beginning.as_bytes());
        let is_named = self.names.iter().any(is) || self.beginnings.iter().any(is_begun_by);
        is_named && !self.kept.iter().any(is)
    }
}

/// A name, and the value if there is one.
fn parts(pair: &[u8]) -> (&[u8], Option<&[u8]>) {
    let mut parts = pair.splitn(2, |byte| *byte == b'=').map(<[u8]>::trim_ascii);
    (parts.next().unwrap_or_default(), parts.next())
}

/// Whether some origin may take one name for another: PHP and older Rack decode it, PHP
/// leaves out spaces before it, writes `_` for what its variables cannot have and makes an
/// array of what is in brackets; ASP.NET knows no case.
fn may_be(written: &[u8], name: &[u8]) -> bool {
    let simple = |byte: u8| match byte {
        b'.' | b' ' | b'+' | b'[' => b'_',
        other => other.to_ascii_lowercase(),
    };
    let decoded = Decoded(written).skip_while(|byte| *byte == b' ');
    let mut decoded = decoded.take_while(|byte| *byte != 0);
    let is_begun_by_it = name.iter().all(|byte| {
        let next = decoded.next();
        next.is_some_and(|next| simple(next) == simple(*byte))
    });
    is_begun_by_it && decoded.next().is_none_or(|next| next == b'[')
}

/// Bytes behind percent signs, once.
struct Decoded<'a>(&'a [u8]);

impl Iterator for Decoded<'_> {
    type Item = u8;

    fn next(&mut self) -> Option<u8> {
        let (byte, rest) = match self.0 {
            [b'%', high, low, rest @ ..] => match (digit(*high), digit(*low)) {
                (Some(high), Some(low)) => (high << 4 | low, rest),
                _ => (b'%', &self.0[1..]),
            },
            [byte, rest @ ..] => (*byte, rest),
            [] => return None,
        };
        self.0 = rest;
        Some(byte)
    }
}

fn digit(byte: u8) -> Option<u8> {
    let value = char::from(byte).to_digit(16)?;
    u8::try_from(value).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(lines: &[&'static str]) -> Vec<String> {
        let mut request = HeaderMap::new();
        for line in lines {
            request.append(COOKIE, HeaderValue::from_static(line));
        }
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        said_of(&request, "my_plan")
            .map(|said| match said {
                Said::Value(value) => format!("={}", text(value)),
                Said::Name => "-".to_owned(),
                Said::Perhaps(pair) => format!("?{}", text(pair)),
            })
            .collect()
    }

    #[test]
    fn a_name_is_what_is_written() {
        assert_eq!(said(&["my_plan=gold"]), ["=gold"]);
        assert_eq!(said(&["a=1; my_plan = gold ;b"]), ["=gold"]);
        assert_eq!(said(&["my_plan; my_plan=; my_plan==x"]), ["-", "=", "==x"]);
        assert_eq!(said(&["my_plan=a,b; c=d"]), ["=a,b"]);
        assert_eq!(said(&["my_plan=\"a\"", "my_plan=b"]), ["=\"a\"", "=b"]);
    }

    #[test]
    fn what_an_origin_may_take_for_it_counts_as_it_is_written() {
        for pair in [
            "my_pl%61n=gold",
            "%6dy_plan=gold",
            "my%5Fplan=gold",
            "my_plan%00x=gold",
            "%20my_plan=gold",
            "My_Plan=gold",
            "my.plan=gold",
            "my+plan=gold",
            "my%20plan=gold",
            "my[plan=gold",
            "my_plan[]=gold",
            "my_plan%5Bx%5D=gold",
            "x=1,my_plan=gold",
            "x=1, my_pl%61n=gold",
            "x=1 my_plan=gold",
            "x=1\tmy_plan=gold",
            "x=\"1\" my_plan=gold",
            "x y,\tz my_plan=gold",
        ] {
            assert_eq!(said(&[pair]), [format!("?{pair}")]);
        }
        let quoted = said(&["x=\"a; my_plan=gold; y\"; my_plan=free"]);
        assert_eq!(quoted, ["?my_plan=gold", "=free"]);
        // What stands in one line may end in the next one.
        assert_eq!(said(&["x=\"a", "my_plan=gold"]), ["?my_plan=gold"]);
    }

    fn left(ignored: &[&str], kept: &[&str], lines: &[&'static str]) -> Vec<String> {
        let texts = |all: &[&str]| all.iter().map(ToString::to_string).collect();
        let ignored = IgnoredCookies::of(&KeyPolicy {
            ignored_cookies: texts(ignored),
            cookies: texts(kept),
            ..KeyPolicy::default()
        });
        let mut request = HeaderMap::new();
        for line in lines {
            request.append(COOKIE, HeaderValue::from_static(line));
        }
        ignored.remove_from(&mut request);
        let left = request.get_all(COOKIE).iter();
        left.map(|line| line.to_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn what_is_ignored_is_taken_out_and_the_rest_stays_as_it_is_written() {
        let ignored = ["_ga", "_gid", "_ga_*"];
        for (lines, expected) in [
            (&["_ga=1"][..], &[][..]),
            (&["_ga=1; _gid=2; _ga_X1=3"], &[]),
            (&["_ga=\"1\"", " _gid = 2;"], &[]),
            (&["_ga"], &[]),
            (&["_ga=1; id=2"], &["id=2"]),
            (&["id=2; _ga=1"], &["id=2"]),
            (&["a=1;  _ga=1;b = 2 ;c"], &["a=1;b = 2 ;c"]),
            (&["a=1", "_ga=1", "b=2"], &["a=1", "b=2"]),
            (
                &["_GA=1; _gax=1; x_ga=1; %5Fga=1"],
                &["_GA=1; _gax=1; x_ga=1; %5Fga=1"],
            ),
            // Somebody may read these as parts of another one.
            (&["x=\"a; _ga=1; b\"; _ga=2"], &["x=\"a; _ga=1; b\""]),
            (&["_ga=\"a; id=1; b\""], &["_ga=\"a; id=1; b\""]),
        ] {
            assert_eq!(left(&ignored, &[], lines), expected, "{lines:?}");
        }
    }

    #[test]
    fn all_may_be_ignored_but_what_belongs_to_the_key() {
        let lines = ["a=1; plan=gold; b=2", "c=3;"];
        assert_eq!(left(&["*"], &["plan"], &lines), ["plan=gold"]);
        assert_eq!(left(&["*"], &[], &lines), [""; 0]);
        assert_eq!(left(&["plan"], &["plan"], &["plan=1"]), ["plan=1"]);
        assert_eq!(left(&[], &[], &["a=1;"]), ["a=1;"]);
    }

    #[test]
    fn what_nobody_takes_for_it_is_another_cookie() {
        for pair in [
            "xmy_plan=gold",
            "my_planx=gold",
            "my-plan=gold",
            "my_pl%2561n=gold",
            "my_pl%6=gold",
            "my_pla=%6e",
            "x=my_plan",
            "x=1%2Cmy_plan=gold",
            "=my_plan",
            "%",
            "%6",
            "",
        ] {
            assert_eq!(said(&[pair]), [""; 0], "{pair}");
        }
    }
}
