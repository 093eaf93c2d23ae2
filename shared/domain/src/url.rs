//! One normalisation of URLs, used for cache keys, for the implicit `url:` tags
//! and for selectors alike, so that an invalidation names what a request fetched.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use crate::digest::Digest;
use crate::tag::{GROUP_PREFIX, MAX_TAG_BYTES, URL_PREFIX};
use crate::{FieldError, Tag};

/// The longest path and query that is accepted, in bytes.
pub const MAX_URL_BYTES: usize = 8 * 1024;

/// Separates the beginning of a URL from its hash in a tag that was too long.
/// It cannot occur in a normalised URL.
pub(crate) const CUT_MARK: char = '|';

/// How many bytes a `url:` tag keeps of its beginning, prefix included, when it is
/// too long and cut: so patterns still find it.
pub const CUT_TAG_BYTES: usize = 200;

/// Where a URL begins in its tag.
const TAG_START: u32 = 4;
const _: () = assert!(URL_PREFIX.len() == TAG_START as usize);

/// A normalised path with an optional query (RFC 3986, section 6.2.2): percent-encoded
/// triplets in upper case, unreserved characters decoded, everything else that is
/// not allowed encoded, dot segments removed.
///
/// An encoded slash or dot-segment stays what it is: `%2F` is never decoded, so a
/// normalised path has the same segments as the one that was asked for.
#[derive(Clone)]
pub struct PathAndQuery {
    text: Arc<str>,
    /// Where it begins in the text.
    start: u32,
    path_len: u32,
}

impl PathAndQuery {
    /// Reads a path with an optional query. A fragment is not allowed.
    ///
    /// # Errors
    /// It does not begin with `/`, is too long, holds a fragment, a control
    /// character or a broken percent-encoding.
    pub fn parse(text: &str) -> Result<Self, FieldError> {
        let wrong = |allowed: &str| FieldError::new("", text, allowed);
        if !text.starts_with('/') {
            return Err(wrong(
                "a path that begins with \"/\", with an optional query",
            ));
        }
        if text.len() > MAX_URL_BYTES {
            return Err(wrong("at most 8192 bytes"));
        }
        if text.contains('#') {
            return Err(wrong("a path and query without a fragment"));
        }
        if text.bytes().any(|b| b.is_ascii_control()) {
            return Err(wrong("no control characters"));
        }
        let (path, query) = match text.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (text, None),
        };
        let broken = || wrong("percent-encoding as \"%\" and two hex digits");
        let path = remove_dot_segments(encode(path, is_path_byte).ok_or_else(broken)?);
        let query = query.map(|query| encode(query, is_query_byte).ok_or_else(broken));
        let path_len = path.len();
        let text = match (path, query.transpose()?) {
            // What is normal already, as nearly everything is, is copied once.
            (Cow::Borrowed(_), None | Some(Cow::Borrowed(_))) => Cow::Borrowed(text),
            (path, None) => path,
            (path, Some(query)) => Cow::Owned(format!("{path}?{query}")),
        };
        if text.len() > 3 * MAX_URL_BYTES {
            return Err(wrong("at most 8192 bytes"));
        }
        Ok(Self::of(&text, path_len))
    }

    fn of(text: &str, path_len: usize) -> Self {
        Self {
            text: text.into(),
            start: 0,
            path_len: u32::try_from(path_len).expect("a URL is no longer than three times 8 KiB"),
        }
    }

    /// The path.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.as_str()[..self.path_len as usize]
    }

    /// The query, without its `?`.
    #[must_use]
    pub fn query(&self) -> Option<&str> {
        self.as_str().get(self.path_len as usize + 1..)
    }

    /// Path and query.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text[self.start as usize..]
    }

    /// The same, with its text where that of its tag is, if the tag has all of it: where both
    /// are kept for long, one text is enough.
    #[must_use]
    pub fn kept_in(&self, tag: &Tag) -> Self {
        let rest = tag.as_str().strip_prefix(URL_PREFIX);
        if rest != Some(self.as_str()) {
            return self.clone();
        }
        Self {
            text: tag.0.clone(),
            start: TAG_START,
            path_len: self.path_len,
        }
    }

    /// The same path with another query, which is normalised already.
    #[must_use]
    pub(crate) fn with_query(&self, query: Option<&str>) -> Self {
        let path = self.path();
        let text = match query {
            Some(query) => format!("{path}?{query}"),
            None => path.to_owned(),
        };
        Self::of(&text, path.len())
    }
}

impl fmt::Display for PathAndQuery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for PathAndQuery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PathAndQuery").field(&self.as_str()).finish()
    }
}

impl PartialEq for PathAndQuery {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for PathAndQuery {}

impl PartialOrd for PathAndQuery {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for PathAndQuery {
    fn cmp(&self, other: &Self) -> Ordering {
        self.as_str().cmp(other.as_str())
    }
}

impl Hash for PathAndQuery {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_str().hash(state);
    }
}

/// The implicit tag of a URL. A long one keeps its beginning, then a hash.
#[must_use]
pub fn url_tag(url: &PathAndQuery) -> Tag {
    cut(&format!("{URL_PREFIX}{url}"))
}

/// The implicit tag of a cache group (RFC 9875) of an origin: its host as
/// [`normalize_host`] returned it, its port or 0, and the name of the group. A long one
/// keeps its beginning, then a hash.
#[must_use]
pub fn group_tag(host: &str, port: u16, group: &str) -> Tag {
    let mut whole = format!("{GROUP_PREFIX}{host}");
    if port != 0 {
        whole.push_str(&format!(":{port}"));
    }
    whole.push('/');
    for byte in group.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            whole.push(char::from(byte));
        } else {
            whole.push_str(&format!("%{byte:02X}"));
        }
    }
    cut(&whole)
}

/// A tag of so many bytes as a tag may have. `whole` is ASCII, so every index is a
/// character boundary.
fn cut(whole: &str) -> Tag {
    if whole.len() <= MAX_TAG_BYTES {
        return Tag::implicit(whole);
    }
    let hash = Digest::of(whole.as_bytes()).to_base64();
    Tag::implicit(&format!("{}{CUT_MARK}{hash}", &whole[..CUT_TAG_BYTES]))
}

/// The implicit tag of a host that [`normalize_host`] returned.
#[must_use]
pub fn host_tag(host: &str) -> Tag {
    Tag::implicit(&format!("host:{host}"))
}

/// A host in lower case, without port and final dot.
///
/// # Errors
/// It is empty, too long, or holds what no host name and no IP address holds.
pub fn normalize_host(host: &str) -> Result<String, FieldError> {
    let wrong = || {
        FieldError::new(
            "host",
            host,
            "a host name or an IP address, with an optional port",
        )
    };
    let (name, port) = match host.strip_prefix('[') {
        Some(rest) => {
            let (inside, after) = rest.split_once(']').ok_or_else(wrong)?;
            inside.parse::<std::net::Ipv6Addr>().map_err(|_| wrong())?;
            (
                &host[..inside.len() + 2],
                after.strip_prefix(':').or((after.is_empty()).then_some("")),
            )
        }
        None => match host.split_once(':') {
            Some((name, port)) => (name, Some(port)),
            None => (host, Some("")),
        },
    };
    let port = port.ok_or_else(wrong)?;
    if !port.bytes().all(|b| b.is_ascii_digit()) || port.len() > 5 {
        return Err(wrong());
    }
    let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"-._".contains(&b);
    let is_name = name.bytes().all(allowed) && !name.split('.').any(str::is_empty);
    if name.is_empty() || name.len() > 250 || !(is_name || name.starts_with('[')) {
        return Err(wrong());
    }
    Ok(name)
}

/// Normalises percent-encoding; `None` if a `%` is not followed by two hex digits.
fn encode(text: &str, allowed: fn(u8) -> bool) -> Option<Cow<'_, str>> {
    let bytes = text.as_bytes();
    if bytes.iter().all(|byte| allowed(*byte)) {
        return Some(Cow::Borrowed(text));
    }
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    while at < bytes.len() {
        let (byte, was_encoded) = if bytes[at] == b'%' {
            let high = hex_value(*bytes.get(at + 1)?)?;
            let low = hex_value(*bytes.get(at + 2)?)?;
            at += 3;
            (high << 4 | low, true)
        } else {
            at += 1;
            (bytes[at - 1], false)
        };
        let plain = if was_encoded {
            is_unreserved(byte)
        } else {
            allowed(byte)
        };
        if plain {
            out.push(char::from(byte));
        } else {
            out.push('%');
            out.push(hex_digit(byte >> 4));
            out.push(hex_digit(byte & 15));
        }
    }
    Some(Cow::Owned(out))
}

fn hex_value(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

fn hex_digit(value: u8) -> char {
    char::from(b"0123456789ABCDEF"[usize::from(value & 15)])
}

fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)
}

/// What may stand in a path as it is: `pchar` and `/` (RFC 3986), less the two
/// characters that mean something in a list of tag patterns.
fn is_path_byte(byte: u8) -> bool {
    is_unreserved(byte) || b"!$&'()+;=:@/".contains(&byte)
}

fn is_query_byte(byte: u8) -> bool {
    is_path_byte(byte) || byte == b'?'
}

/// RFC 3986, section 5.2.4, for a path that begins with `/`.
fn remove_dot_segments(path: Cow<'_, str>) -> Cow<'_, str> {
    if !path.split('/').any(|segment| matches!(segment, "." | "..")) {
        return path;
    }
    let mut kept: Vec<&str> = Vec::new();
    let mut segments = path[1..].split('/').peekable();
    while let Some(segment) = segments.next() {
        let is_last = segments.peek().is_none();
        match segment {
            "." | ".." => {
                if segment == ".." {
                    kept.pop();
                }
                if is_last {
                    kept.push("");
                }
            }
            _ => kept.push(segment),
        }
    }
    Cow::Owned(format!("/{}", kept.join("/")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn normalized(text: &str) -> String {
        PathAndQuery::parse(text).unwrap().as_str().to_owned()
    }

    #[test]
    fn the_tag_of_a_group_is_of_one_origin_and_never_too_long() {
        let tag = |host, port, group: &str| group_tag(host, port, group).as_str().to_owned();
        assert_eq!(
            tag("a.example", 0, "x y*,"),
            "cache-group:a.example/x%20y%2A%2C"
        );
        assert_eq!(tag("[::1]", 8443, "é"), "cache-group:[::1]:8443/%C3%A9");
        let (long, other) = ("*".repeat(300), "*".repeat(301));
        let cut = tag("a.example", 0, &long);
        assert!(cut.len() <= MAX_TAG_BYTES && cut.contains(CUT_MARK));
        assert_ne!(cut, tag("a.example", 0, &other));
        for pattern in [
            "cache-group:a.example/*",
            "cache-group:a.example/*%2A",
            "cache-*",
        ] {
            let pattern = crate::TagPattern::parse(pattern).unwrap();
            assert!(pattern.matches(&cut), "{pattern}");
            assert!(cut.starts_with(pattern.literal_prefix()), "{pattern}");
        }
        assert!(Tag::parse("cache-group:a.example/x").is_err());
    }

    #[test]
    fn equivalent_urls_become_one() {
        for (text, expected) in [
            ("/", "/"),
            ("/a/./b/../c", "/a/c"),
            ("/a/..", "/"),
            ("/../a", "/a"),
            ("/a/.", "/a/"),
            ("/%7euser", "/~user"),
            ("/%2e%2e/etc", "/etc"),
            ("/a%2fb", "/a%2Fb"),
            ("/caf\u{e9}", "/caf%C3%A9"),
            ("/a b", "/a%20b"),
            ("/a*b,c|d", "/a%2Ab%2Cc%7Cd"),
            ("/a?b=%2a&c=d/e?f", "/a?b=%2A&c=d/e?f"),
            ("/a/./b?c=d", "/a/b?c=d"),
            ("/a?b=%2a", "/a?b=%2A"),
            ("/a/.b/..c/d.?e=.", "/a/.b/..c/d.?e=."),
            ("/%41/..?%41", "/?A"),
            ("/a?", "/a?"),
            ("//a", "//a"),
            ("/a%3fb", "/a%3Fb"),
        ] {
            assert_eq!(normalized(text), expected, "{text}");
        }
    }

    #[test]
    fn what_is_no_path_is_refused() {
        for bad in ["", "a", "/%", "/%4", "/%zz", "/a#b", "/a\r\nb", "http://h/"] {
            assert!(PathAndQuery::parse(bad).is_err(), "{bad:?}");
        }
        assert!(PathAndQuery::parse(&format!("/{}", "a".repeat(9000))).is_err());
    }

    #[test]
    fn path_and_query_are_told_apart() {
        let url = PathAndQuery::parse("/a?b=c").unwrap();
        assert_eq!((url.path(), url.query()), ("/a", Some("b=c")));
        let url = PathAndQuery::parse("/a").unwrap();
        assert_eq!((url.path(), url.query()), ("/a", None));
    }

    #[test]
    fn long_urls_have_distinct_tags() {
        let tag = |end: char| {
            let url = PathAndQuery::parse(&format!("/{}{end}", "x".repeat(400))).unwrap();
            url_tag(&url)
        };
        assert_ne!(tag('a'), tag('b'));
        assert_eq!(tag('a'), tag('a'));
    }

    #[test]
    fn hosts_lose_case_port_and_final_dot() {
        for (text, expected) in [
            ("Example.COM", "example.com"),
            ("example.com.:8080", "example.com"),
            ("[::1]:80", "[::1]"),
            ("127.0.0.1", "127.0.0.1"),
        ] {
            assert_eq!(normalize_host(text).unwrap(), expected);
        }
        for bad in [
            "", "a b", "a/b", "a:b", "[::1", "[x]", "a..b", "a:123456", "[::1]x",
        ] {
            assert!(normalize_host(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn one_text_is_enough_for_a_url_and_its_tag() {
        let url = PathAndQuery::parse("/some/path?a=b").unwrap();
        let tag = url_tag(&url);
        let kept = url.kept_in(&tag);
        assert_eq!((kept.path(), kept.query()), ("/some/path", Some("a=b")));
        assert_eq!((&kept, kept.to_string()), (&url, url.to_string()));
        assert!(
            tag.as_str()
                .as_bytes()
                .as_ptr_range()
                .contains(&kept.as_str().as_ptr())
        );
        // Neither the tag of another URL nor one that is cut has all of it.
        let long = PathAndQuery::parse(&format!("/{}", "a".repeat(300))).unwrap();
        for other in [url_tag(&PathAndQuery::parse("/").unwrap()), url_tag(&long)] {
            assert_eq!(url.kept_in(&other), url);
            assert_eq!(long.kept_in(&other), long);
        }
    }

    proptest! {
        #[test]
        fn normalising_twice_changes_nothing(text in "/[a-z%/.?A-F0-9é *,|&=-]{0,40}") {
            if let Ok(once) = PathAndQuery::parse(&text) {
                let twice = PathAndQuery::parse(once.as_str()).unwrap();
                prop_assert_eq!(&twice, &once);
                let _ = url_tag(&once);
            }
        }

        #[test]
        fn nothing_from_outside_panics(text in "\\PC{0,60}") {
            let _ = PathAndQuery::parse(&text);
            let _ = normalize_host(&text);
        }
    }
}
