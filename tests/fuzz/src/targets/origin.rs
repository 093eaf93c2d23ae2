//! What passes between clients, this edge and the origin.

use std::net::{IpAddr, Ipv4Addr};

use http::{HeaderMap, HeaderName, HeaderValue, Method};
use tidegate_domain::{MAX_URL_BYTES, PathAndQuery};
use tidegate_edge::cache::policy::invalidation::Target;
use tidegate_edge::events::Call;
use tidegate_edge::origin::fields::{Client, remove_hop_by_hop, to_origin};
use tidegate_telemetry::TraceContext;

use crate::fields;

const CLIENT: Client<'static> = Client {
    address: IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)),
    secure: false,
    host: "www.example.com",
    port: 0,
    version: http::Version::HTTP_11,
};

/// Nothing of one connection reaches another, and nobody pretends to be a proxy. By whom a
/// request came is decided before.
pub(super) fn hop_by_hop(data: &[u8]) {
    let request = fields::any(data);
    let sent = to_origin(&Method::GET, &request, CLIENT, None);
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

/// Fields by which a response could be chosen and that no key holds: their names, with
/// whatever stands in place of `#`, in each spelling that means the same to some origin.
const NEVER: [&str; 10] = [
    "x-forwarded-#",
    "x-forward-#",
    "x-forwarded",
    "x-original-url",
    "x-rewrite-url",
    "x-host",
    "true-client-ip",
    "front-end-https",
    "proxy",
    "tidegate-min-revision",
];

/// By these some origins take a request for one of another method.
const OTHER_METHOD: [&str; 3] = [
    "x-http-method",
    "x-http-method-override",
    "x-method-override",
];

/// What goes no further changes nothing of what does. The first line is a method.
pub(super) fn unkeyed(data: &[u8]) {
    let end = data.iter().position(|byte| *byte == b'\n');
    let (line, rest) = data.split_at(end.unwrap_or(data.len()));
    let Ok(method) = Method::from_bytes(line) else {
        return;
    };
    let mut request = fields::any(rest);
    request.remove("connection");
    request.remove("x-forwarded-for");
    let sent = to_origin(&method, &request, CLIENT, None);
    let own = ["x-forwarded-for", "x-forwarded-host", "x-forwarded-proto"];
    for (name, value) in &sent {
        let spelled = name.as_str().replace('_', "-");
        let is_own = own.contains(&name.as_str());
        assert!(is_own || !spelled.starts_with("x-forward"), "{name}");
        assert!(!NEVER.contains(&&*spelled), "{name}");
        let makes_another = OTHER_METHOD.contains(&&*spelled);
        assert!(!(method.is_safe() && makes_another), "{name}");
        let reads = matches!(method, Method::GET | Method::HEAD);
        assert!(!(reads && name.as_str().contains('_')), "{name}");
        let overwritten = is_own || ["host", "forwarded", "via"].contains(&name.as_str());
        assert!(overwritten || request.get_all(name).iter().any(|it| it == value));
    }
    // Whoever adds to a request what is never passed on changes nothing.
    let value = HeaderValue::from_static("evil.example");
    let mut forged = request.clone();
    for (index, name) in NEVER.iter().enumerate() {
        let name = name.replace('#', ["host", "scheme", "server"][rest.len() % 3]);
        let separator = if data.len() >> (index % 8) & 1 == 0 {
            "_"
        } else {
            "-"
        };
        let name = name.replace('-', separator);
        forged.insert(HeaderName::try_from(name).expect("a name"), value.clone());
    }
    assert_eq!(to_origin(&method, &forged, CLIENT, None), sent);
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
        method: &Method::GET,
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
