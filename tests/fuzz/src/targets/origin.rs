//! What passes between clients, this edge and the origin.

use std::net::Ipv4Addr;

use http::HeaderMap;
use http::HeaderName;
use tidegate_domain::{MAX_URL_BYTES, PathAndQuery};
use tidegate_edge::cache::policy::invalidation::Target;
use tidegate_edge::events::Call;
use tidegate_edge::origin::fields::{Client, remove_hop_by_hop, to_origin};
use tidegate_telemetry::TraceContext;

use crate::fields;

/// Nothing of one connection reaches another, and nobody pretends to be a proxy. By whom a
/// request came is decided before.
pub(super) fn hop_by_hop(data: &[u8]) {
    let request = fields::any(data);
    let client = Client {
        address: Ipv4Addr::new(192, 0, 2, 1).into(),
        secure: false,
        host: "www.example.com",
        port: 0,
        version: http::Version::HTTP_11,
    };
    let sent = to_origin(&http::Method::GET, &request, client, None);
    for name in [
        "connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "keep-alive",
    ] {
        assert!(!sent.contains_key(name), "{name}");
    }
    for (name, own) in [
        ("x-forwarded-host", "www.example.com"),
        ("x-forwarded-proto", "http"),
        ("host", "www.example.com"),
    ] {
        let values: Vec<_> = sent.get_all(name).iter().collect();
        assert_eq!(values, [own], "{name}");
    }
    for name in ["x-real-ip", "tidegate-min-revision", "x-forwarded-server"] {
        assert!(!sent.contains_key(name), "{name}");
    }
    let mut once = request;
    remove_hop_by_hop(&mut once);
    let mut twice = once.clone();
    remove_hop_by_hop(&mut twice);
    assert_eq!(once, twice);
}

/// What a response names is of its own origin, and can be a key.
pub(super) fn location(data: &[u8]) {
    let response = fields::any(data);
    let url = PathAndQuery::parse("/shop/items?page=2").expect("a plain URL");
    let target = Target {
        host: "www.example.com",
        port: 8080,
        url: &url,
    };
    let named = target.named_by(&response);
    assert!(named.len() <= 2);
    for url in named
        .iter()
        .filter(|url| url.as_str().len() <= MAX_URL_BYTES)
    {
        assert_eq!(PathAndQuery::parse(url.as_str()).as_ref(), Ok(url));
    }
    for field in ["location", "content-location"] {
        let reference = response.get(field).and_then(|value| value.to_str().ok());
        if reference.is_some_and(|text| text.starts_with("http://other.example")) {
            assert!(named.len() < 2, "{reference:?}");
        }
    }
}

/// A place in a trace is written as it was read.
pub(super) fn trace_context(data: &[u8]) {
    let headers = fields::any(data);
    let Some(context) = TraceContext::from_headers(&headers) else {
        return;
    };
    let (parent, state) = context.clone().into_parts();
    assert!(parent.len() == 55 && parent.is_ascii(), "{parent}");
    assert!(state.len() <= 512, "{} bytes of state", state.len());
    assert_eq!(TraceContext::parse(&parent, &state), Some(context));
}

/// A browser that asks for events, with whatever it says it heard last.
pub(super) fn events(data: &[u8]) {
    let (query, rest) = match data.iter().position(|byte| *byte == b'\n') {
        Some(at) => (&data[..at], &data[at + 1..]),
        None => (data, &[][..]),
    };
    let Ok(query) = std::str::from_utf8(query) else {
        return;
    };
    let headers: HeaderMap = fields::of(&HeaderName::from_static("last-event-id"), rest);
    let call = Call {
        method: &http::Method::GET,
        query: Some(query),
        headers: &headers,
        peer: Ipv4Addr::LOCALHOST.into(),
    };
    if let Ok(interests) = tidegate_edge::fuzzing::interests(&call) {
        assert!(interests.len() <= 64, "{}", interests.len());
        assert!(interests.is_sorted());
    }
}

/// A token is a cursor or it is refused.
pub(super) fn min_revision(data: &[u8]) {
    let name = HeaderName::from_static("tidegate-min-revision");
    let request = fields::of(&name, data);
    match tidegate_edge::fuzzing::min_revision(&request) {
        Ok(None) => assert!(request.is_empty()),
        Ok(Some(cursor)) => {
            let text = cursor.to_string();
            assert_eq!(
                request.get(&name).and_then(|v| v.to_str().ok()),
                Some(&*text)
            );
        }
        Err(error) => assert!(
            error.to_string().len() < 4_096,
            "{} bytes",
            error.to_string().len()
        ),
    }
}
