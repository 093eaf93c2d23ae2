//! What responses say to caches.

use std::time::{Duration, SystemTime};

use http::header::{CACHE_CONTROL, SET_COOKIE, VARY};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use tidegate_clock::BootInstant;
use tidegate_domain::{MAX_TAG_BYTES, MAX_TAGS, PathAndQuery};
use tidegate_edge::cache::policy::asked::Asked;
use tidegate_edge::cache::policy::directives::{RequestDirectives, ResponseDirectives, stated};
use tidegate_edge::cache::policy::freshness::Now;
use tidegate_edge::cache::policy::groups::GroupOwner;
use tidegate_edge::cache::policy::storable::examine;
use tidegate_edge::cache::policy::terms::Defaults;
use tidegate_edge::cache::policy::vary::VaryNames;
use tidegate_edge::cache::tagging::ResponseTags;

use crate::fields;

const CDN: HeaderName = HeaderName::from_static("cdn-cache-control");
const SURROGATE: HeaderName = HeaderName::from_static("surrogate-control");
const TAGS: HeaderName = HeaderName::from_static("cache-tag");
const GROUPS: HeaderName = HeaderName::from_static("cache-groups");
const STATUS: HeaderName = HeaderName::from_static("cache-status");
/// 2^31 s, beyond which nothing is counted (RFC 9111, section 1.2.2).
const LONGEST: Duration = Duration::from_secs(1 << 31);

/// Whatever else is said, a prohibition in a line of its own is heard, and no time is
/// longer than can be counted.
pub(super) fn cache_control(data: &[u8]) {
    let fields = fields::of(&CACHE_CONTROL, data);
    let read = ResponseDirectives::read(&fields);
    for time in [
        read.max_age,
        read.s_maxage,
        read.stale_while_revalidate,
        read.stale_if_error,
    ] {
        assert!(time.is_none_or(|time| time <= LONGEST), "{time:?}");
    }
    for prohibition in ["no-store", "private", "No-Store", "foo, private"] {
        let line = || (CACHE_CONTROL, HeaderValue::from_static(prohibition));
        let first: HeaderMap = [line()].into_iter().chain(lines(&fields)).collect_fields();
        let last: HeaderMap = lines(&fields).chain([line()]).collect_fields();
        assert!(ResponseDirectives::read(&first).keeps_others_out());
        assert!(ResponseDirectives::read(&last).keeps_others_out());
    }
    let asked = RequestDirectives::read(&fields);
    assert!(asked.max_age.is_none_or(|time| time <= LONGEST));
}

fn lines(fields: &HeaderMap) -> impl Iterator<Item = (HeaderName, HeaderValue)> {
    fields.iter().map(|(n, v)| (n.clone(), v.clone()))
}

trait CollectFields {
    fn collect_fields(self) -> HeaderMap;
}

impl<I: Iterator<Item = (HeaderName, HeaderValue)>> CollectFields for I {
    fn collect_fields(self) -> HeaderMap {
        let mut fields = HeaderMap::new();
        for (name, value) in self {
            fields.append(name, value);
        }
        fields
    }
}

/// A targeted field speaks alone or not at all.
pub(super) fn targeted(data: &[u8]) {
    let fields = fields::any(data);
    let said = stated(&fields, &[CDN, SURROGATE]);
    if said.is_targeted {
        let mut others = fields.clone();
        others.remove(CACHE_CONTROL);
        assert_eq!(stated(&others, &[CDN, SURROGATE]), said);
    } else {
        assert_eq!(said.directives, ResponseDirectives::read(&fields));
    }
    // One that is there takes part only under its own name.
    assert!(!stated(&fields, &[]).is_targeted);
}

/// What must not be stored is not, and what is stored is fresh for no longer than can be
/// counted.
pub(super) fn storable(data: &[u8]) {
    let (request, response) = fields::two(data);
    let now = Now {
        boot: BootInstant::from_boot(Duration::from_secs(1_000)),
        wall: SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000),
    };
    let defaults = Defaults {
        targets: vec![CDN, SURROGATE],
        stale_if_error: Duration::from_secs(5),
        ..Defaults::default()
    };
    let off = u16::from(data.first().copied().unwrap_or(0));
    let status = StatusCode::from_u16(200 + off).unwrap_or_default();
    let asked = Asked::of(&request);
    let judged = examine(status, &response, asked, &defaults, now, Duration::ZERO);
    let Ok(admitted) = judged else {
        return;
    };
    let said = stated(&response, &defaults.targets).directives;
    assert!(!said.private.is_whole());
    assert!(!said.no_store || said.must_understand);
    assert!(!response.contains_key(SET_COOKIE) || said.for_one().contains(&SET_COOKIE));
    assert!(admitted.terms.freshness.lifetime <= Duration::from_secs(1 << 40));
    let stale = [
        admitted.terms.stale_while_revalidate,
        admitted.terms.stale_if_error,
    ];
    let is_forbidden = said.must_revalidate || said.proxy_revalidate;
    assert!(!is_forbidden || stale.iter().all(Duration::is_zero));
    if asked.authorization {
        assert!(said.public || said.must_revalidate || said.s_maxage.is_some());
    }
}

/// A response answers the request that brought it, and a request that says in other lines
/// what it says.
pub(super) fn vary(data: &[u8]) {
    let (request, response) = fields::two(data);
    let Ok(names) = VaryNames::read(&response) else {
        return;
    };
    let selection = names.select(&request);
    assert!(selection.matches(&request));
    assert_eq!(selection, names.select(&request));
    // A quote that one line opens and the next closes means something else when they are one.
    if request.values().any(|line| line.as_bytes().contains(&b'"')) {
        return;
    }
    let mut joined = HeaderMap::new();
    for name in request.keys() {
        let all: Vec<_> = request
            .get_all(name)
            .iter()
            .map(HeaderValue::as_bytes)
            .collect();
        if let Ok(value) = HeaderValue::from_bytes(&all.join(&b", "[..])) {
            joined.insert(name, value);
        }
    }
    assert!(selection.matches(&joined), "{request:?} {joined:?}");
    let again = names.select(&joined);
    assert!(again.matches(&request));
    assert!(response.get_all(VARY).iter().count() > 0 || names.iter().count() == 0);
}

/// Names of groups become tags, whatever they are.
pub(super) fn groups(data: &[u8]) {
    let owner = GroupOwner::new("www.example.com", 8443, true);
    if let Ok(tags) = owner.of_response(&fields::of(&GROUPS, data)) {
        assert!(tags.len() <= MAX_TAGS);
        for tag in tags {
            let text = tag.as_str();
            assert!(
                text.starts_with("cache-group:www.example.com:8443/"),
                "{text}"
            );
            assert!(text.len() <= MAX_TAG_BYTES && text.bytes().all(|b| b.is_ascii_graphic()));
        }
    }
}

/// No response gets a tag that is reserved, or more than it may have.
pub(super) fn tags(data: &[u8]) {
    let Ok(tags) = ResponseTags::read(&fields::of(&TAGS, data), &[TAGS]) else {
        return;
    };
    assert!(tags.own.len() <= MAX_TAGS && tags.own.is_sorted());
    for tag in &tags.own {
        let text = tag.as_str();
        assert!(!text.is_empty() && text.len() <= MAX_TAG_BYTES);
        assert!(!text.contains([',', ' ', '*']) && text.is_ascii());
        for reserved in ["url:", "host:", "cache-group:"] {
            assert!(!text.starts_with(reserved), "{text}");
        }
    }
    assert_eq!(tags.union(&tags).as_ref(), Ok(&tags));
    if let Ok(url) = PathAndQuery::parse("/a") {
        assert_eq!(tags.with_implicit("h", &url).len(), tags.own.len() + 2);
    }
}

/// Whatever caches nearer to the origin say, the field is a list, and its last member is
/// ours.
pub(super) fn cache_status(data: &[u8]) {
    let value = tidegate_edge::fuzzing::cache_status(&fields::of(&STATUS, data));
    let list = sfv::Parser::new(value.as_bytes()).parse::<sfv::List>();
    let list = list.expect("a list of structured fields");
    let Some(sfv::ListEntry::Item(last)) = list.last() else {
        panic!("{value:?}");
    };
    assert_eq!(
        last.bare_item.as_token().map(sfv::TokenRef::as_str),
        Some("tidegate")
    );
}
