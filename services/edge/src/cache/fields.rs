//! The fields of stored responses, in as little memory as they need.
//!
//! What comes off the wire are slices of a read buffer, each of which would keep all of that
//! alive: a field of ten bytes eight KiB. And a table of them takes a hundred bytes each. So
//! what is stored is a text: of each field the number of its name, or the name, and its value.
//! A hit makes the table of it that it needs anyway, which takes no longer than a copy of one.

use std::ops::Range;

use bytes::Bytes;
use http::header::{
    ACCEPT_RANGES, ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS,
    ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS,
    ACCESS_CONTROL_MAX_AGE, AGE, ALLOW, ALT_SVC, CACHE_CONTROL, CONTENT_DISPOSITION,
    CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_LENGTH, CONTENT_LOCATION, CONTENT_SECURITY_POLICY,
    CONTENT_TYPE, DATE, ETAG, EXPIRES, LAST_MODIFIED, LINK, LOCATION, PRAGMA, REFERRER_POLICY,
    SERVER, STRICT_TRANSPORT_SECURITY, VARY, VIA, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
    X_XSS_PROTECTION,
};
use http::{HeaderMap, HeaderName, HeaderValue};

/// Names that a number stands for, the place in this list and one more. It is for memory
/// alone: nothing that outlives the process knows the numbers.
static COMMON: [HeaderName; 49] = [
    CACHE_CONTROL,
    CONTENT_LENGTH,
    CONTENT_TYPE,
    DATE,
    ETAG,
    LAST_MODIFIED,
    VARY,
    VIA,
    HeaderName::from_static("cache-status"),
    CONTENT_ENCODING,
    EXPIRES,
    SERVER,
    ACCEPT_RANGES,
    LINK,
    AGE,
    HeaderName::from_static("xkey"),
    HeaderName::from_static("cache-tag"),
    HeaderName::from_static("surrogate-key"),
    HeaderName::from_static("surrogate-control"),
    HeaderName::from_static("cdn-cache-control"),
    HeaderName::from_static("cache-groups"),
    STRICT_TRANSPORT_SECURITY,
    X_CONTENT_TYPE_OPTIONS,
    X_FRAME_OPTIONS,
    X_XSS_PROTECTION,
    CONTENT_SECURITY_POLICY,
    REFERRER_POLICY,
    HeaderName::from_static("permissions-policy"),
    HeaderName::from_static("cross-origin-opener-policy"),
    HeaderName::from_static("cross-origin-embedder-policy"),
    HeaderName::from_static("cross-origin-resource-policy"),
    ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_ALLOW_CREDENTIALS,
    ACCESS_CONTROL_ALLOW_HEADERS,
    ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_EXPOSE_HEADERS,
    ACCESS_CONTROL_MAX_AGE,
    HeaderName::from_static("timing-allow-origin"),
    HeaderName::from_static("server-timing"),
    HeaderName::from_static("x-powered-by"),
    HeaderName::from_static("x-request-id"),
    HeaderName::from_static("x-robots-tag"),
    CONTENT_LANGUAGE,
    CONTENT_DISPOSITION,
    CONTENT_LOCATION,
    LOCATION,
    PRAGMA,
    ALT_SVC,
    ALLOW,
];

/// Stands where a name is spelled.
const SPELLED: u8 = 0;
/// Marks a value that must not be kept by what compresses fields on the wire (RFC 7541,
/// section 7.1.3).
const SENSITIVE: u8 = 0x80;
/// Marks a byte of a length that is not its last.
const MORE: u8 = 0x80;
/// A body up to this size is kept in one buffer with the fields.
const SMALL_BODY: usize = 16 << 10;

/// The fields of a response: those that leave with it, and those that do not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fields {
    text: Bytes,
    /// Where those begin that do not leave.
    withheld_from: u32,
    /// How many do.
    leaving: u32,
}

/// A field in the text.
struct Field<'a> {
    name: Name<'a>,
    value: Range<usize>,
    is_sensitive: bool,
}

#[derive(Clone, Copy)]
enum Name<'a> {
    Common(&'static HeaderName),
    Spelled(&'a [u8]),
}

impl Name<'_> {
    fn is(self, name: &HeaderName) -> bool {
        match self {
            Self::Common(common) => common == name,
            Self::Spelled(text) => text == name.as_str().as_bytes(),
        }
    }

    /// `None` would be a text that was no name before.
    fn to_name(self) -> Option<HeaderName> {
        match self {
            Self::Common(common) => Some(common.clone()),
            Self::Spelled(text) => HeaderName::from_bytes(text).ok(),
        }
    }
}

impl Fields {
    /// Takes fields that leave and fields that do not.
    #[must_use]
    pub fn of(leaving: &HeaderMap, withheld: &HeaderMap) -> Self {
        let mut text = Vec::new();
        put_all(&mut text, leaving);
        let withheld_from = text.len();
        put_all(&mut text, withheld);
        Self {
            text: text.into_boxed_slice().into(),
            withheld_from: short(withheld_from),
            leaving: short(leaving.len()),
        }
    }

    /// The fields that leave, with room for some more.
    #[must_use]
    pub fn to_map(&self, room: usize) -> HeaderMap {
        let mut map = HeaderMap::with_capacity(self.leaving as usize + room);
        self.put_into(&mut map, self.leaving_part());
        map
    }

    /// Fields of the origin that do not leave, or leave with another value: its own
    /// `Cache-Control` where the site replaces it, tags, `Cache-Status`.
    #[must_use]
    pub fn withheld(&self) -> HeaderMap {
        let mut map = HeaderMap::new();
        self.put_into(&mut map, self.withheld_part());
        map
    }

    fn put_into(&self, map: &mut HeaderMap, part: Range<usize>) {
        for field in self.walk(part) {
            let value = HeaderValue::from_maybe_shared(self.text.slice(field.value));
            if let (Some(name), Ok(mut value)) = (field.name.to_name(), value) {
                value.set_sensitive(field.is_sensitive);
                map.append(name, value);
            }
        }
    }

    /// The first value of a field that leaves.
    #[must_use]
    pub fn get(&self, name: &HeaderName) -> Option<&[u8]> {
        self.all(name).next()
    }

    /// The first value of a field that leaves, if it is ASCII.
    #[must_use]
    pub fn text(&self, name: &HeaderName) -> Option<&str> {
        ascii(self.get(name)?)
    }

    /// The value of a field that leaves, if it is there once and ASCII.
    #[must_use]
    pub fn only(&self, name: &HeaderName) -> Option<&str> {
        let mut all = self.all(name);
        let value = all.next().filter(|_| all.next().is_none());
        ascii(value?)
    }

    /// Whether a field leaves.
    #[must_use]
    pub fn contains(&self, name: &HeaderName) -> bool {
        self.get(name).is_some()
    }

    /// Whether a field is there that does not leave.
    #[must_use]
    pub fn withholds(&self, name: &HeaderName) -> bool {
        self.walk(self.withheld_part())
            .any(|field| field.name.is(name))
    }

    fn all(&self, name: &HeaderName) -> impl Iterator<Item = &[u8]> {
        self.walk(self.leaving_part())
            .filter(|field| field.name.is(name))
            .map(|field| &self.text[field.value])
    }

    /// The same with other fields that leave.
    #[must_use]
    pub fn changed(&self, change: impl FnOnce(&mut HeaderMap)) -> Self {
        let mut leaving = self.to_map(1);
        change(&mut leaving);
        Self::of(&leaving, &self.withheld())
    }

    /// The same in a buffer of its own, and in the same buffer the body, if that is small.
    #[must_use]
    pub fn together_with(&self, body: &Bytes) -> (Self, Bytes) {
        if body.len() > SMALL_BODY {
            return (self.clone(), body.clone());
        }
        let mut both = Bytes::from([&self.text[..], body].concat());
        let text = both.split_to(self.text.len());
        let fields = Self { text, ..*self };
        (fields, both)
    }

    /// Bytes they take, besides what holds them.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.text.len()
    }

    fn leaving_part(&self) -> Range<usize> {
        0..self.withheld_from as usize
    }

    fn withheld_part(&self) -> Range<usize> {
        self.withheld_from as usize..self.text.len()
    }

    fn walk(&self, part: Range<usize>) -> Walk<'_> {
        Walk {
            text: &self.text[..part.end],
            at: part.start,
        }
    }
}

fn short(number: usize) -> u32 {
    u32::try_from(number).expect("the head of a response is bounded far below 4 GiB")
}

fn ascii(value: &[u8]) -> Option<&str> {
    str::from_utf8(value).ok().filter(|text| text.is_ascii())
}

fn put_all(to: &mut Vec<u8>, fields: &HeaderMap) {
    for (name, value) in fields {
        let sensitive = if value.is_sensitive() { SENSITIVE } else { 0 };
        let place = COMMON.iter().position(|common| common == name);
        // There are fewer than 127.
        match place.and_then(|place| u8::try_from(place + 1).ok()) {
            Some(number) => to.push(number | sensitive),
            None => {
                to.push(SPELLED | sensitive);
                put(to, name.as_str().as_bytes());
            }
        }
        put(to, value.as_bytes());
    }
}

/// A length, seven bits a byte, the lowest first, and so many bytes.
fn put(to: &mut Vec<u8>, bytes: &[u8]) {
    let mut left = bytes.len();
    loop {
        let [low, ..] = left.to_le_bytes();
        left >>= 7;
        if left == 0 {
            to.push(low);
            break;
        }
        to.push(low | MORE);
    }
    to.extend_from_slice(bytes);
}

/// Goes through a text that [`put_all`] has written.
struct Walk<'a> {
    text: &'a [u8],
    at: usize,
}

impl<'a> Walk<'a> {
    fn byte(&mut self) -> Option<u8> {
        let byte = *self.text.get(self.at)?;
        self.at += 1;
        Some(byte)
    }

    fn place(&mut self) -> Option<Range<usize>> {
        let (mut len, mut shift) = (0_usize, 0);
        loop {
            let byte = self.byte()?;
            len |= usize::from(byte & !MORE).checked_shl(shift)?;
            if byte & MORE == 0 {
                break;
            }
            shift += 7;
        }
        let start = self.at;
        self.at = start
            .checked_add(len)
            .filter(|end| *end <= self.text.len())?;
        Some(start..self.at)
    }

    fn name(&mut self, number: u8) -> Option<Name<'a>> {
        match number {
            SPELLED => self.place().map(|place| Name::Spelled(&self.text[place])),
            number => COMMON.get(usize::from(number) - 1).map(Name::Common),
        }
    }
}

impl<'a> Iterator for Walk<'a> {
    type Item = Field<'a>;

    fn next(&mut self) -> Option<Field<'a>> {
        let first = self.byte()?;
        let name = self.name(first & !SENSITIVE)?;
        Some(Field {
            name,
            value: self.place()?,
            is_sensitive: first & SENSITIVE != 0,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn order(map: &HeaderMap) -> Vec<(HeaderName, HeaderValue, bool)> {
        map.iter()
            .map(|(name, value)| (name.clone(), value.clone(), value.is_sensitive()))
            .collect()
    }

    #[test]
    fn fields_are_the_same_and_keep_nothing_else_alive() {
        let read = Bytes::from(vec![b'x'; 40_000]);
        let mut leaving = HeaderMap::new();
        for (name, len) in [("etag", 10), ("link", 0), ("link", 20), ("x-own", 30_000)] {
            let value = HeaderValue::from_maybe_shared(read.slice(..len)).unwrap();
            leaving.append(name, value);
        }
        leaving.get_mut("x-own").unwrap().set_sensitive(true);
        leaving.insert("age", HeaderValue::from_bytes(b"\xff\t").unwrap());
        let mut withheld = HeaderMap::new();
        withheld.insert(
            "xkey",
            HeaderValue::from_maybe_shared(read.slice(..3)).unwrap(),
        );
        let fields = Fields::of(&leaving, &withheld);
        let (fields, body) = fields.together_with(&read.slice(..100));
        assert_eq!(order(&fields.to_map(0)), order(&leaving));
        assert_eq!(order(&fields.withheld()), order(&withheld));
        assert_eq!(body, vec![b'x'; 100]);
        drop((leaving, withheld));
        assert!(read.is_unique());
    }

    #[test]
    fn a_large_body_stays_where_it_is() {
        let body = Bytes::from(vec![0; SMALL_BODY + 1]);
        let (_, same) = Fields::of(&HeaderMap::new(), &HeaderMap::new()).together_with(&body);
        assert_eq!(same.as_ptr(), body.as_ptr());
    }

    #[test]
    fn what_leaves_is_told_from_what_does_not() {
        let map = |fields: &[(&'static str, &'static str)]| {
            let mut map = HeaderMap::new();
            for (name, value) in fields {
                map.append(*name, HeaderValue::from_static(value));
            }
            map
        };
        let leaving = map(&[("etag", "\"a\""), ("x-own", "1"), ("x-own", "2")]);
        let fields = Fields::of(&leaving, &map(&[("xkey", "t"), ("x-other", "3")]));
        let name = HeaderName::from_static;
        assert_eq!(fields.get(&ETAG), Some(&b"\"a\""[..]));
        assert_eq!(fields.get(&name("x-own")), Some(&b"1"[..]));
        assert_eq!(fields.only(&ETAG), Some("\"a\""));
        assert_eq!(fields.only(&name("x-own")), None);
        assert!(fields.contains(&ETAG) && !fields.contains(&name("xkey")));
        assert!(fields.withholds(&name("xkey")) && fields.withholds(&name("x-other")));
        assert!(!fields.withholds(&ETAG));
        let changed = fields.changed(|leaving| {
            leaving.remove("x-own");
            leaving.insert("age", HeaderValue::from_static("0"));
        });
        assert_eq!(changed.to_map(0), map(&[("etag", "\"a\""), ("age", "0")]));
        assert_eq!(changed.withheld(), fields.withheld());
    }

    #[test]
    fn each_common_name_is_there_once() {
        for (place, name) in COMMON.iter().enumerate() {
            assert_eq!(COMMON.iter().position(|other| other == name), Some(place));
        }
        assert!(COMMON.len() < usize::from(SENSITIVE));
    }

    proptest! {
        #[test]
        fn whatever_is_a_field_stays_the_same(
            pairs in prop::collection::vec(("[a-z][a-z0-9-]{0,200}", prop::collection::vec(0x20_u8..0x7f, 0..400)), 0..12),
            leaving in 0_usize..12,
        ) {
            let (mut first, mut second) = (HeaderMap::new(), HeaderMap::new());
            for (at, (name, value)) in pairs.iter().enumerate() {
                let to = if at < leaving { &mut first } else { &mut second };
                to.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_bytes(value).unwrap());
            }
            let fields = Fields::of(&first, &second);
            prop_assert_eq!(order(&fields.to_map(2)), order(&first));
            prop_assert_eq!(order(&fields.withheld()), order(&second));
        }
    }
}
