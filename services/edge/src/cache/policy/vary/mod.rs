//! Which requests a stored response answers (RFC 9111, section 4.1).

mod normal;

use std::fmt;
use std::hash::{Hash, Hasher};

use http::header::VARY;
use http::{HeaderMap, HeaderName};

use normal::normalized;

use crate::origin::fields::is_settled_here;

/// A response that varies on more fields is not stored.
const MAX_NAMES: usize = 16;

/// The fields that `Vary` names, sorted, each once.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct VaryNames(Box<[HeaderName]>);

impl fmt::Display for VaryNames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.0.iter().map(HeaderName::as_str).collect();
        f.write_str(&names.join(", "))
    }
}

/// `Vary` is `*`, is malformed, or names too many fields: no request but its own is
/// answered by the response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VariesOnEverything;

impl VaryNames {
    /// Reads the field.
    ///
    /// # Errors
    /// See [`VariesOnEverything`].
    pub fn read(response: &HeaderMap) -> Result<Self, VariesOnEverything> {
        let mut names = Vec::new();
        for line in response.get_all(VARY) {
            let line = line.to_str().map_err(|_| VariesOnEverything)?;
            for name in line.split(',').map(str::trim).filter(|n| !n.is_empty()) {
                if name == "*" || is_of_one_client(name) {
                    return Err(VariesOnEverything);
                }
                names.push(name.parse::<HeaderName>().map_err(|_| VariesOnEverything)?);
                if names.len() > MAX_NAMES {
                    return Err(VariesOnEverything);
                }
            }
        }
        names.sort_unstable_by(|a, b| a.as_str().cmp(b.as_str()));
        names.dedup();
        Ok(Self(names.into()))
    }

    /// Without those that an origin gets as this edge says them, or not at all. Whatever
    /// clients say there, they get the same, and could have it stored again and again.
    #[must_use]
    pub fn of_origin(self) -> Self {
        let mut names = self.0.into_vec();
        names.retain(|name| !is_settled_here(name));
        Self(names.into())
    }

    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = &HeaderName> {
        self.0.iter()
    }

    /// What the request has in these fields.
    #[must_use]
    pub fn select(&self, request: &HeaderMap) -> Selection {
        Selection {
            values: self.0.iter().map(|name| Value::of(request, name)).collect(),
            names: self.clone(),
        }
    }
}

/// The values of the fields that `Vary` names, of the request that was answered.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Selection {
    names: VaryNames,
    values: Box<[Value]>,
}

/// A field, with its value as it is compared and as it was sent.
pub type SelectionPart = (HeaderName, Option<Box<str>>, Option<Box<[u8]>>);

/// What the edge itself tells the origin of a client: no other request has the same.
fn is_of_one_client(name: &str) -> bool {
    ["x-forwarded-for", "forwarded", "via"]
        .iter()
        .any(|field| name.eq_ignore_ascii_case(field))
}

/// What a request has in one field.
#[derive(Debug, Clone, Default)]
struct Value {
    /// As it is compared; `None` if the field is absent.
    normal: Option<Box<str>>,
    /// As it was sent, if in one line: who sends the same is known without normalising.
    sent: Option<Box<[u8]>>,
}

impl Value {
    fn of(request: &HeaderMap, name: &HeaderName) -> Self {
        Self {
            normal: normalized(request, name),
            sent: only_line(request, name).map(Into::into),
        }
    }

    fn matches(&self, request: &HeaderMap, name: &HeaderName) -> bool {
        let sent = only_line(request, name);
        (sent.is_some() && sent == self.sent.as_deref()) || normalized(request, name) == self.normal
    }
}

impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        self.normal == other.normal
    }
}

impl Eq for Value {}

impl Hash for Value {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.normal.hash(state);
    }
}

/// The bytes of a field that is there once.
fn only_line<'a>(request: &'a HeaderMap, name: &HeaderName) -> Option<&'a [u8]> {
    let mut lines = request.get_all(name).iter();
    let line = lines.next()?;
    lines.next().is_none().then(|| line.as_bytes())
}

/// The one among several things that answers a request: all vary on the same fields, and no two
/// are for the same. However many they are, what the request says there is read once.
pub fn answering<'a, T>(
    several: &'a [T],
    of: impl Fn(&T) -> &Selection,
    request: &HeaderMap,
) -> Option<&'a T> {
    let names = match several {
        [] => return None,
        [only] => return Some(only).filter(|only| of(only).matches(request)),
        [first, ..] => &of(first).names,
    };
    if let Some(sent) = several.iter().find(|one| of(one).is_as_sent(request)) {
        return Some(sent);
    }
    let asked = names.select(request);
    several.iter().find(|one| *of(one) == asked)
}

impl Selection {
    /// Whether the response answers this request too.
    #[must_use]
    pub fn matches(&self, request: &HeaderMap) -> bool {
        self.names
            .0
            .iter()
            .zip(&self.values)
            .all(|(name, value)| value.matches(request, name))
    }

    /// Whether a request says the same to the letter.
    fn is_as_sent(&self, request: &HeaderMap) -> bool {
        let mut all = self.names.0.iter().zip(&self.values);
        all.all(|(name, value)| match &value.sent {
            Some(sent) => only_line(request, name) == Some(&**sent),
            None => value.normal.is_none() && !request.contains_key(name),
        })
    }

    /// The fields.
    #[must_use]
    pub fn names(&self) -> &VaryNames {
        &self.names
    }

    /// Whether every request is answered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.names.0.is_empty()
    }

    /// Each field, with its value as it is compared and as it was sent.
    pub fn parts(&self) -> impl Iterator<Item = (&HeaderName, Option<&str>, Option<&[u8]>)> {
        let parts = self.names.0.iter().zip(&self.values);
        parts.map(|(name, value)| (name, value.normal.as_deref(), value.sent.as_deref()))
    }

    /// What [`parts`](Self::parts) was taken from.
    #[must_use]
    pub fn of_parts(parts: Vec<SelectionPart>) -> Self {
        let (names, values): (Vec<_>, Vec<_>) = parts
            .into_iter()
            .map(|(name, normal, sent)| (name, Value { normal, sent }))
            .unzip();
        Self {
            names: VaryNames(names.into()),
            values: values.into(),
        }
    }

    /// Bytes it takes, besides itself.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.values
            .iter()
            .map(|value| {
                let normal = value.normal.as_ref().map_or(0, |v| v.len());
                64 + normal + value.sent.as_ref().map_or(0, |v| v.len())
            })
            .sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn request(lines: &[(&'static str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in lines {
            map.append(*name, value.parse().unwrap());
        }
        map
    }

    fn names(value: &str) -> Result<VaryNames, VariesOnEverything> {
        VaryNames::read(&request(&[("vary", value)]))
    }

    #[test]
    fn equivalent_requests_select_the_same_variant() {
        let by = names("Accept-Encoding, accept-language").unwrap();
        let stored = by.select(&request(&[
            ("accept-encoding", "gzip, br;q=0.5, zstd;q=0"),
            ("accept-language", "de, en;q=0.5"),
        ]));
        assert!(stored.matches(&request(&[
            ("accept-encoding", "ZSTD; q=0, BR,identity"),
            ("accept-encoding", "gzip;q=1.0"),
            ("accept-language", "EN;q=0.50 ,de"),
        ])));
        for other in [
            [
                ("accept-encoding", "gzip"),
                ("accept-language", "de, en;q=0.5"),
            ],
            [
                ("accept-encoding", "gzip, br, zstd;q=0, identity;q=0"),
                ("accept-language", "de, en;q=0.5"),
            ],
            [
                ("accept-encoding", "gzip, br, zstd;q=0"),
                ("accept-language", "en, de;q=0.5"),
            ],
        ] {
            assert!(!stored.matches(&request(&other)), "{other:?}");
        }
    }

    #[test]
    fn requests_that_differ_in_form_alone_are_one_variant() {
        let by = names("accept-encoding").unwrap();
        let of = |value| by.select(&request(&[("accept-encoding", value)]));
        assert_eq!(of("gzip, br"), of("br,gzip"));
        assert_ne!(of("gzip, br"), of("gzip"));
    }

    #[test]
    fn an_absent_field_is_not_an_empty_one() {
        let stored = names("x").unwrap().select(&request(&[]));
        assert!(stored.matches(&request(&[("y", "1")])));
        assert!(!stored.matches(&request(&[("x", "")])));
    }

    #[test]
    fn what_an_origin_never_hears_of_clients_is_no_choice() {
        let all = "Host, x-forwarded-host, X-Forwarded-Proto, te, x-host, accept";
        let names = names(all).unwrap();
        assert_eq!(names.iter().count(), 6, "of what is pushed each counts");
        assert_eq!(names.of_origin().to_string(), "accept");
    }

    #[test]
    fn what_varies_on_everything_is_told() {
        assert_eq!(names("a, *"), Err(VariesOnEverything));
        assert_eq!(names("a b"), Err(VariesOnEverything));
        assert_eq!(names("X-Forwarded-For"), Err(VariesOnEverything));
        let many: Vec<_> = (0..17).map(|n| format!("x{n}")).collect();
        assert_eq!(names(&many.join(",")), Err(VariesOnEverything));
        assert_eq!(names("").unwrap(), VaryNames::default());
    }

    /// Twenty languages, and none at all.
    fn several() -> Vec<Selection> {
        let by = names("accept-language, x").unwrap();
        let of = |lines: &[(&'static str, &str)]| by.select(&request(lines));
        let mut several: Vec<_> = (0..20)
            .map(|n| of(&[("accept-language", &format!("l{n}, en;q=0.5"))]))
            .collect();
        several.push(of(&[]));
        several
    }

    #[test]
    fn however_many_variants_there_are_a_request_is_read_once() {
        let several = several();
        for lines in [
            vec![("accept-language", "none, of, these")],
            vec![("accept-language", "en;q=0.50, L19")],
            vec![("accept-language", "l7, en;q=0.5")],
            vec![],
        ] {
            normal::READ.set(0);
            answering(&several, |it| it, &request(&lines));
            assert!(normal::READ.get() <= 2, "{lines:?}: {}", normal::READ.get());
        }
    }

    proptest! {
        #[test]
        fn the_variant_that_answers_is_found(
            language in prop::option::of(r"(l[0-9]{1,2}|en|;q=0\.5|, ){0,5}"),
            again in prop::option::of(Just("en;q=0.5")),
            x in prop::option::of("[ab]?"),
        ) {
            let lines = [
                ("accept-language", language.as_deref()),
                ("accept-language", again),
                ("x", x.as_deref()),
            ];
            let lines: Vec<_> = lines.into_iter().filter_map(|(name, it)| Some((name, it?))).collect();
            let request = request(&lines);
            let several = several();
            for some in [&several[..], &several[20..], &several[3..4], &[]] {
                let expected = some.iter().find(|it| it.matches(&request));
                let found = answering(some, |it| it, &request);
                prop_assert_eq!(found.map(std::ptr::from_ref), expected.map(std::ptr::from_ref));
            }
        }

        #[test]
        fn a_request_always_selects_its_own_variant(value in "[ -~]{0,30}") {
            let by = names("accept-encoding, accept").unwrap();
            let request = request(&[("accept-encoding", &value), ("accept", &value)]);
            prop_assert!(by.select(&request).matches(&request));
        }
    }
}
