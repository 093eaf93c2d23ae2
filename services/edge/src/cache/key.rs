//! What makes two requests the same.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use http::{HeaderMap, HeaderName};
use tidegate_domain::PathAndQuery;

use super::cookies::{Said, said_of};

/// A key of the storage. Its method is always GET: a HEAD is answered from the
/// response to a GET, and nothing else is stored.
#[derive(Debug, Clone)]
pub struct Key {
    /// Number of the site on this edge; never given twice.
    pub site: u64,
    /// Host, normalised.
    pub host: Arc<str>,
    /// Port that the client named, or 0: the origin may build links with it.
    pub port: u16,
    /// Whether the client came over TLS: origins that are told send others there.
    pub secure: bool,
    /// Path and query, as the site's policy has them.
    pub url: PathAndQuery,
    /// Fields and cookies that the site's policy counts.
    pub extra: Option<Arc<str>>,
}

/// A key that is looked up, of borrowed parts.
#[derive(Debug, Clone, Copy)]
pub struct KeyRef<'a> {
    /// See [`Key::site`].
    pub site: u64,
    /// See [`Key::host`].
    pub host: &'a str,
    /// See [`Key::port`].
    pub port: u16,
    /// See [`Key::secure`].
    pub secure: bool,
    /// See [`Key::url`].
    pub url: &'a PathAndQuery,
    /// See [`Key::extra`].
    pub extra: Option<&'a Arc<str>>,
}

impl KeyRef<'_> {
    /// The key with parts of its own.
    #[must_use]
    pub fn to_key(self) -> Key {
        let host = self.host.into();
        self.to_key_of(host)
    }

    /// The same with a text of the host that is shared.
    #[must_use]
    pub(crate) fn to_key_of(self, host: Arc<str>) -> Key {
        Key {
            site: self.site,
            host,
            port: self.port,
            secure: self.secure,
            url: self.url.clone(),
            extra: self.extra.cloned(),
        }
    }

    fn parts(&self) -> (u64, &str, (u16, bool), &str, Option<&str>) {
        let extra = self.extra.map(|extra| &**extra);
        let asked_by = (self.port, self.secure);
        (self.site, self.host, asked_by, self.url.as_str(), extra)
    }
}

impl Key {
    /// The key with borrowed parts.
    #[must_use]
    pub fn as_ref(&self) -> KeyRef<'_> {
        KeyRef {
            site: self.site,
            host: &self.host,
            port: self.port,
            secure: self.secure,
            url: &self.url,
            extra: self.extra.as_ref(),
        }
    }

    /// Bytes it takes, besides itself.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.host.len() + self.url.as_str().len() + self.extra.as_ref().map_or(0, |e| e.len())
    }
}

impl Hash for KeyRef<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.parts().hash(state);
    }
}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_ref().hash(state);
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.as_ref().parts() == other.as_ref().parts()
    }
}

impl Eq for Key {}

impl quick_cache::Equivalent<Key> for KeyRef<'_> {
    fn equivalent(&self, key: &Key) -> bool {
        self.parts() == key.as_ref().parts()
    }
}

/// Which fields and cookies of a request count.
#[derive(Debug, Clone, Default)]
pub struct ExtraParts {
    /// Names of fields.
    pub headers: Vec<HeaderName>,
    /// Names of cookies.
    pub cookies: Vec<String>,
}

impl ExtraParts {
    /// What of the request counts, as one text; `None` if nothing can count.
    #[must_use]
    pub fn of(&self, request: &HeaderMap) -> Option<Arc<str>> {
        if self.headers.is_empty() && self.cookies.is_empty() {
            return None;
        }
        let mut text = String::new();
        // With their names, so that what one choice of parts has stored is not found by another:
        // a fetch may end when it is another one.
        for name in &self.headers {
            push_part(&mut text, name.as_str().as_bytes());
            text.push(':');
            for value in request.get_all(name) {
                push_part(&mut text, value.as_bytes());
            }
            text.push('\n');
        }
        for name in &self.cookies {
            push_part(&mut text, name.as_bytes());
            text.push('=');
            for said in said_of(request, name) {
                match said {
                    Said::Value(value) => push_part(&mut text, value),
                    Said::Name => text.push_str("- "),
                    Said::Perhaps(pair) => {
                        text.push('?');
                        push_part(&mut text, pair);
                    }
                }
            }
            text.push('\n');
        }
        Some(text.into())
    }
}

/// A length before each value, so that no value can look like two.
fn push_part(text: &mut String, value: &[u8]) {
    text.push_str(&value.len().to_string());
    text.push(':');
    // Bytes beyond ASCII become one character each: distinct values stay distinct.
    text.extend(value.iter().copied().map(char::from));
    text.push(' ');
}

/// A key that differs from others by its path.
#[cfg(test)]
pub(super) fn key(path: &str) -> Key {
    KeyRef {
        site: 1,
        host: "h",
        port: 0,
        secure: false,
        url: &PathAndQuery::parse(path).unwrap(),
        extra: None,
    }
    .to_key()
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::header::COOKIE;
    use proptest::prelude::*;

    fn request(fields: &[(&str, &str)]) -> HeaderMap {
        fields
            .iter()
            .map(|(n, v)| (n.parse::<HeaderName>().unwrap(), v.parse().unwrap()))
            .collect()
    }

    fn parts() -> ExtraParts {
        ExtraParts {
            headers: vec!["x-country".parse().unwrap()],
            cookies: vec!["plan".into()],
        }
    }

    #[test]
    fn only_named_fields_and_cookies_count() {
        let of = |fields: &[(&str, &str)]| parts().of(&request(fields));
        let plain = of(&[("x-country", "de"), ("cookie", "plan=gold; id=1")]);
        assert_eq!(
            plain,
            of(&[
                ("x-country", "de"),
                ("cookie", "id=2; plan=gold"),
                ("x", "y")
            ])
        );
        assert_ne!(plain, of(&[("x-country", "fr"), ("cookie", "plan=gold")]));
        assert_ne!(plain, of(&[("x-country", "de"), ("cookie", "plan=free")]));
        assert_ne!(of(&[]), of(&[("x-country", "")]));
        assert_eq!(ExtraParts::default().of(&request(&[("a", "b")])), None);
    }

    #[test]
    fn what_counts_otherwise_is_another_key() {
        let asked = request(&[("x-a", "de"), ("x-b", "de"), ("cookie", "a=de; b=de")]);
        let choices = [
            (vec!["x-a"], vec![]),
            (vec!["x-b"], vec![]),
            (vec![], vec!["a"]),
            (vec![], vec!["b"]),
            (vec!["a"], vec![]),
            (vec!["x-a"], vec!["a"]),
            (vec!["x-a", "x-b"], vec![]),
            (vec!["x-b", "x-a"], vec![]),
        ];
        let texts: std::collections::BTreeSet<_> = choices
            .iter()
            .map(|(headers, cookies)| {
                let parts = ExtraParts {
                    headers: headers.iter().map(|name| name.parse().unwrap()).collect(),
                    cookies: cookies.iter().map(ToString::to_string).collect(),
                };
                parts.of(&asked)
            })
            .collect();
        assert_eq!(texts.len(), choices.len(), "{texts:?}");
    }

    fn of_cookies(lines: &[&[u8]]) -> Option<Arc<str>> {
        let mut map = HeaderMap::new();
        for line in lines {
            map.append(COOKIE, http::HeaderValue::from_bytes(line).unwrap());
        }
        parts().of(&map)
    }

    #[test]
    fn a_cookie_counts_whatever_stands_beside_it_and_around_it() {
        let gold = of_cookies(&[b"plan=gold"]);
        for same in [
            &b"plan=gold; name=Jos\xc3\xa9"[..],
            b"x=\xff;plan=gold",
            b"plan =gold",
            b"x=1;\tplan = gold ;y",
        ] {
            assert_eq!(of_cookies(&[same]), gold, "{}", same.escape_ascii());
        }
        for other in [
            &b"plan=gol\xc3\xa9"[..],
            b"plan",
            b"plan=",
            b"Plan=gold",
            b"xplan=gold",
            b"plan=gold; plan=free",
            b"",
        ] {
            assert_ne!(of_cookies(&[other]), gold, "{}", other.escape_ascii());
        }
        assert_ne!(of_cookies(&[b"plan"]), of_cookies(&[b"plan="]));
        assert_ne!(of_cookies(&[b"plan"]), of_cookies(&[]));
        assert_eq!(of_cookies(&[b"x=\xe9", b"plan=gold"]), gold);
    }

    proptest! {
        #[test]
        fn a_foreign_cookie_never_changes_the_key(
            before in prop::collection::vec(any::<u8>(), 0..20),
            name in "[a-oq-z]{1,5}",
            value in "[a-z]{0,5}",
        ) {
            let foreign: Vec<u8> = [name.as_bytes(), b"=", &before[..]].concat();
            // Not what ends a cookie, nor for some origins what may.
            let may_stand = |b: &u8| *b > 0x20 && !b"\x7f;,\"".contains(b);
            let foreign: Vec<u8> = foreign.into_iter().filter(may_stand).collect();
            let own = format!("plan={value}").into_bytes();
            let alone = of_cookies(&[&own]);
            for lines in [
                vec![[&foreign[..], b"; ", &own[..]].concat()],
                vec![[&own[..], b"; ", &foreign[..]].concat()],
                vec![foreign, own],
            ] {
                let lines: Vec<&[u8]> = lines.iter().map(Vec::as_slice).collect();
                prop_assert_eq!(&of_cookies(&lines), &alone);
            }
        }

        #[test]
        fn distinct_values_have_distinct_keys(a in "[ -~]{0,12}", b in "[ -~]{0,12}") {
            let of = |value: &str| {
                let mut map = HeaderMap::new();
                map.insert("x-country", value.parse().unwrap());
                parts().of(&map)
            };
            prop_assert_eq!(a == b, of(&a) == of(&b));
        }

        #[test]
        fn a_borrowed_key_is_the_key(host in "[a-z.]{1,8}", path in "/[a-z?&=]{0,12}", extra in prop::option::of("[a-z]{0,4}")) {
            use std::hash::BuildHasher as _;
            let url = PathAndQuery::parse(&path).unwrap();
            let extra: Option<Arc<str>> = extra.map(Into::into);
            let borrowed = KeyRef { site: 1, host: &host,
                port: 80, secure: true, url: &url, extra: extra.as_ref() };
            let owned = borrowed.to_key();
            let hasher = quick_cache::DefaultHashBuilder::default();
            prop_assert_eq!(hasher.hash_one(borrowed), hasher.hash_one(&owned));
            prop_assert!(quick_cache::Equivalent::equivalent(&borrowed, &owned));
        }
    }
}
