//! Messages of the gRPC contract, and what becomes of them.

use std::sync::OnceLock;
use std::time::Duration;

use prost::Message as _;
use tidegate_domain::site::{CheckedSite, SiteConfig};
use tidegate_domain::{MAX_PATTERNS, Revision, TagPattern, Term, cascade};
use tidegate_edge::link::Event;
use tidegate_proto::{
    duration_from_wire, duration_to_wire, mode_from_wire, parse_audience, parse_patterns,
    parse_url, site_from_wire, site_to_wire, time_from_wire, time_to_wire, v1,
};

fn site() -> &'static CheckedSite {
    static SITE: OnceLock<CheckedSite> = OnceLock::new();
    SITE.get_or_init(|| {
        let config = SiteConfig {
            hosts: vec!["www.example.com".into()],
            ..SiteConfig::default()
        };
        config.check().expect("a plain site")
    })
}

/// A configuration that is taken is the same when it is sent on.
pub(super) fn site_config(data: &[u8]) {
    let Ok(wire) = v1::SiteConfig::decode(data) else {
        return;
    };
    let Ok(checked) = site_from_wire(wire) else {
        return;
    };
    let sent = site_to_wire(checked.config());
    let again = site_from_wire(sent).expect("what was taken once is taken again");
    assert_eq!(again.config(), checked.config());
}

/// Patterns of a call are few, and each can be read again.
pub(super) fn invalidate(data: &[u8]) {
    let Ok(wire) = v1::InvalidateRequest::decode(data) else {
        return;
    };
    let _ = mode_from_wire(wire.mode);
    if let Ok(patterns) = parse_patterns(site(), &wire.tags, &wire.urls, wire.cascade) {
        assert!(!patterns.is_empty() && patterns.len() <= 2 * MAX_PATTERNS);
        for pattern in &patterns {
            assert_eq!(TagPattern::parse(pattern.as_str()).as_ref(), Ok(pattern));
        }
        if let Ok(widened) = cascade(&patterns) {
            assert!(widened.len() <= 2 * patterns.len());
        }
    }
    for url in &wire.urls {
        if let Ok(url) = parse_url(site(), url) {
            assert!(url.as_str().starts_with('/'));
        }
    }
    let wait = duration_from_wire("wait_timeout", wire.wait_timeout.as_ref(), Duration::ZERO);
    if let Ok(wait) = wait {
        let sent = duration_to_wire(wait);
        assert_eq!(
            duration_from_wire("", Some(&sent), Duration::ZERO),
            Ok(wait)
        );
    }
}

/// What an edge hears: an event it cannot read whole is not half an event, and one that it
/// cannot read at all has the position that it was sent at.
pub(super) fn event(data: &[u8]) {
    let fallback = (Revision(7), Term(9));
    let event = Event::decode(data, fallback);
    if v1::Event::decode(data).is_err() {
        assert_eq!((event.revision, event.term), fallback);
        assert!(event.site.is_none());
    }
    assert_eq!(
        format!("{:?}", Event::decode(data, fallback)),
        format!("{event:?}")
    );
}

/// Times and names of other calls.
pub(super) fn calls(data: &[u8]) {
    if let Ok(hint) = v1::PreloadHintRequest::decode(data) {
        let _ = parse_audience(&hint.audience);
        for url in &hint.urls {
            let _ = parse_url(site(), url);
        }
    }
    if let Ok(time) = prost_types::Timestamp::decode(data) {
        let read = time_from_wire(Some(&time));
        assert_eq!(time_from_wire(Some(&time_to_wire(read))), read);
    }
}
