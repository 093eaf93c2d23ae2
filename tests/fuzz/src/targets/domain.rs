//! URLs, keys, tags and positions.

use std::sync::OnceLock;

use http::header::COOKIE;
use http::{HeaderMap, HeaderName, HeaderValue};
use tidegate_domain::site::{CheckedSite, KeyPolicy, QueryMode, SiteConfig};
use tidegate_domain::{
    Cursor, MAX_TAG_BYTES, MAX_URL_BYTES, PathAndQuery, Tag, TagPattern, glob_intersects,
    glob_matches, host_tag, normalize_host, url_tag,
};
use tidegate_edge::cache::key::ExtraParts;

use crate::fields;

/// A normalised URL stays as it is, asks for the same as what it was made of, and has a tag
/// by which it is found.
pub(super) fn url(data: &[u8]) {
    let Some(text) = std::str::from_utf8(data).ok() else {
        return;
    };
    let Ok(url) = PathAndQuery::parse(text) else {
        return;
    };
    let normal = url.as_str();
    assert!(normal.starts_with('/') && normal.bytes().all(|b| b.is_ascii_graphic()));
    assert!(
        !normal.contains(['*', ',', '#', '|', '"', '\\']),
        "{normal}"
    );
    for segment in url.path().split('/') {
        assert!(segment != "." && segment != "..", "{normal}");
    }
    if normal.len() <= MAX_URL_BYTES {
        assert_eq!(PathAndQuery::parse(normal).as_ref(), Ok(&url));
    }
    assert_eq!(meaning(text), meaning(normal), "{text:?} became {normal:?}");
    let tag = url_tag(&url);
    assert!(tag.as_str().len() <= MAX_TAG_BYTES);
    assert_eq!(Tag::kept(tag.as_str()).as_ref(), Some(&tag));
    let all = TagPattern::parse("url:/*").expect("a pattern");
    assert!(all.matches(tag.as_str()));
    if normal.len() < MAX_TAG_BYTES - 4 {
        let own = TagPattern::parse(&format!("url:{normal}")).expect("a literal pattern");
        assert!(own.matches(tag.as_str()) && own.as_literal().is_some());
    }
}

/// What a server that follows RFC 3986 is asked for: segments and a query, decoded. Dot
/// segments are gone, those in disguise too (section 6.2.2.2); an encoded slash parts
/// nothing.
fn meaning(text: &str) -> (Vec<Vec<u8>>, Option<Vec<u8>>) {
    let (path, query) = match text.split_once('?') {
        Some((path, query)) => (path, Some(decoded(query))),
        None => (text, None),
    };
    let mut segments: Vec<Vec<u8>> = Vec::new();
    let all: Vec<Vec<u8>> = path.split('/').skip(1).map(decoded).collect();
    for (index, segment) in all.iter().enumerate() {
        let is_last = index + 1 == all.len();
        match &segment[..] {
            b"." | b".." => {
                if segment == b".." {
                    segments.pop();
                }
                if is_last {
                    segments.push(Vec::new());
                }
            }
            _ => segments.push(segment.clone()),
        }
    }
    (segments, query)
}

/// Each byte; one that stands for itself and one that is encoded are told apart where that
/// may mean something.
fn decoded(text: &str) -> Vec<u8> {
    let (mut bytes, mut at, text) = (Vec::new(), 0, text.as_bytes());
    while at < text.len() {
        let hex = text.get(at + 1..at + 3).filter(|_| text[at] == b'%');
        let encoded = hex
            .and_then(|hex| std::str::from_utf8(hex).ok())
            .and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match encoded {
            Some(byte) => {
                let means_something = b"!$&'()*+,;=:@/?#[]".contains(&byte);
                if means_something {
                    bytes.push(0);
                }
                bytes.push(byte);
                at += 3;
            }
            None => {
                // A list of patterns could not hold these as they are.
                if b"*,#[]".contains(&text[at]) {
                    bytes.push(0);
                }
                bytes.push(text[at]);
                at += 1;
            }
        }
    }
    bytes
}

/// What a site makes of a URL stays as it is, and is what it makes of what it made.
pub(super) fn key(data: &[u8]) {
    let Some((choice, rest)) = data.split_first() else {
        return;
    };
    let sites = sites();
    let site = &sites[usize::from(*choice) % sites.len()];
    let Some(Ok(url)) = std::str::from_utf8(rest).ok().map(PathAndQuery::parse) else {
        return;
    };
    let once = site.normalize(&url);
    assert_eq!(site.normalize(&once), once, "{url}");
    assert_eq!(once.path(), url.path());
    let policy = &site.config().key;
    let mut expected = parameters(&url);
    expected.retain(|parameter| match policy.query_mode {
        QueryMode::All => true,
        QueryMode::Allow => policy.query_params.contains(&name(parameter)),
        QueryMode::Drop => !policy.query_params.contains(&name(parameter)),
    });
    let found = parameters(&once);
    if !policy.query_sort {
        assert_eq!(found, expected, "{url} became {once}");
        return;
    }
    assert!(found.is_sorted_by_key(|it| name(it)), "{url} became {once}");
    // The same ones, and those of one name in their order.
    assert_eq!(found.len(), expected.len(), "{url} became {once}");
    for parameter in &expected {
        let of_name = |all: &[String]| -> Vec<String> {
            let same = all.iter().filter(|it| name(it) == name(parameter));
            same.cloned().collect()
        };
        assert_eq!(of_name(&found), of_name(&expected), "{url} became {once}");
    }
}

fn parameters(url: &PathAndQuery) -> Vec<String> {
    let query = url.query().into_iter();
    query
        .flat_map(|query| query.split('&').map(String::from))
        .collect()
}

fn name(parameter: &str) -> String {
    let name = parameter
        .split_once('=')
        .map_or(parameter, |(name, _)| name);
    name.to_owned()
}

/// What counts of two requests is one text only if they say the same, and nothing else
/// counts.
pub(super) fn key_fields(data: &[u8]) {
    let parts = ExtraParts {
        headers: KEY_FIELDS.map(HeaderName::from_static).to_vec(),
        cookies: KEY_COOKIES.map(String::from).to_vec(),
    };
    let (one, other) = fields::two(data);
    let text = parts.of(&one);
    if said(&one) != said(&other) {
        assert_ne!(text, parts.of(&other), "{one:?} {other:?}");
    }
    let with = |name: HeaderName, value: &'static str| {
        let mut more = one.clone();
        more.append(name, HeaderValue::from_static(value));
        parts.of(&more)
    };
    for name in KEY_FIELDS {
        let name = HeaderName::from_static(name);
        assert_ne!(with(name.clone(), "x"), text, "{name} {one:?}");
        assert_ne!(with(name.clone(), ""), text, "{name} {one:?}");
    }
    for cookie in ["plan=x", "my_plan=", "plan", "x=\"1\" plan=y"] {
        assert_ne!(with(COOKIE, cookie), text, "{cookie} {one:?}");
    }
    // Of foreign ones nothing is said, wherever they stand.
    let mut foreign = HeaderMap::new();
    foreign.append(COOKIE, HeaderValue::from_static("zz=\"plan\"; zy"));
    foreign.append("x-foreign", HeaderValue::from_static("1"));
    for (name, value) in &one {
        let value = match *name == COOKIE {
            true => HeaderValue::from_bytes(&[value.as_bytes(), b"; zz=plan"].concat()),
            false => Ok(value.clone()),
        };
        foreign.append(name, value.expect("it is one with more behind it"));
    }
    assert_eq!(parts.of(&foreign), text, "{one:?}");
}

const KEY_FIELDS: [&str; 2] = ["x-country", "x-device"];
const KEY_COOKIES: [&str; 2] = ["plan", "my_plan"];

/// The values of each field of the key and of each of its cookies, as RFC 6265 has them; of
/// a cookie that is a name alone, none.
fn said(request: &HeaderMap) -> Vec<Vec<Option<&[u8]>>> {
    let values = KEY_FIELDS.map(|name| {
        let values = request.get_all(name).iter();
        values.map(|value| Some(value.as_bytes())).collect()
    });
    let cookies = KEY_COOKIES.map(|name| {
        let lines = request.get_all(COOKIE).iter();
        let pairs = lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b';'));
        let pairs = pairs.map(|pair| match pair.iter().position(|byte| *byte == b'=') {
            Some(at) => (&pair[..at], Some(pair[at + 1..].trim_ascii())),
            None => (pair, None),
        });
        let own = pairs.filter(|(found, _)| found.trim_ascii() == name.as_bytes());
        own.map(|(_, value)| value).collect()
    });
    values.into_iter().chain(cookies).collect()
}

fn sites() -> &'static [CheckedSite] {
    static SITES: OnceLock<Vec<CheckedSite>> = OnceLock::new();
    SITES.get_or_init(|| {
        let modes = [QueryMode::All, QueryMode::Allow, QueryMode::Drop];
        let policies = modes.into_iter().flat_map(|query_mode| {
            [false, true].map(|query_sort| KeyPolicy {
                query_mode,
                query_sort,
                query_params: match query_mode {
                    QueryMode::All => Vec::new(),
                    _ => ["a", "b", "utm_x"].map(String::from).to_vec(),
                },
                ..KeyPolicy::default()
            })
        });
        policies
            .map(|key| {
                let config = SiteConfig {
                    hosts: vec!["www.example.com".into()],
                    key,
                    ..SiteConfig::default()
                };
                config.check().expect("a plain site")
            })
            .collect()
    })
}

/// A normalised host stays as it is.
pub(super) fn host(data: &[u8]) {
    let Some(text) = std::str::from_utf8(data).ok() else {
        return;
    };
    let Ok(host) = normalize_host(text) else {
        return;
    };
    assert_eq!(normalize_host(&host).as_ref(), Ok(&host));
    assert!(!host.contains(|c: char| c.is_ascii_uppercase() || c.is_ascii_whitespace()));
    let tag = host_tag(&host);
    assert_eq!(Tag::kept(tag.as_str()).as_ref(), Some(&tag));
}

/// Matching and meeting agree, in time that is bounded by both lengths.
pub(super) fn pattern(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let Some((one, other)) = text.split_once('\n') else {
        return;
    };
    let (Ok(one), Ok(other)) = (TagPattern::parse(one), TagPattern::parse(other)) else {
        return;
    };
    assert_eq!(
        one.intersects(&other),
        other.intersects(&one),
        "{one} {other}"
    );
    assert!(one.intersects(&one) && one.matches(one.as_str().replace('*', "x").as_str()));
    let Some(tag) = other.as_literal() else {
        return;
    };
    assert_eq!(
        glob_matches(one.as_str(), tag),
        glob_intersects(one.as_str(), tag)
    );
    assert_eq!(one.matches(tag), one.intersects(&other), "{one} {tag}");
    assert!(TagPattern::everything().matches(tag));
    if one.matches(tag) && !is_cut(tag) {
        assert!(tag.starts_with(one.literal_prefix()), "{one} {tag}");
    }
}

/// What is kept of a long URL matches wherever the whole might.
fn is_cut(text: &str) -> bool {
    text.contains('|')
}

/// A text is a cursor only as it was given out.
pub(super) fn cursor(data: &[u8]) {
    let Some(text) = std::str::from_utf8(data).ok() else {
        return;
    };
    if let Ok(cursor) = text.parse::<Cursor>() {
        assert_eq!(cursor.to_string(), text);
    }
}
