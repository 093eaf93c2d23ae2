//! The fields of a message on its way through a proxy (RFC 9110, section 7.6).

use std::net::IpAddr;

use http::header::{
    CONNECTION, FORWARDED, HOST, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE, TRAILER,
    TRANSFER_ENCODING, UPGRADE, VIA,
};
use http::{HeaderMap, HeaderName, HeaderValue};

/// What this proxy calls itself.
const PSEUDONYM: &str = "tidegate";
/// A request that came through here so often is in a loop.
const MAX_VISITS: usize = 8;

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");

/// Fields that are about one connection (RFC 9110, section 7.6.1) or one proxy (section
/// 11.7): none of them is stored (RFC 9111, section 3.1).
const HOP_BY_HOP: [HeaderName; 10] = [
    CONNECTION,
    PROXY_CONNECTION,
    KEEP_ALIVE,
    PROXY_AUTHENTICATE,
    HeaderName::from_static("proxy-authentication-info"),
    PROXY_AUTHORIZATION,
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
];

/// Fields by which a client could pretend to be a proxy, or to ask for another URL
/// than the one that is the key of the cache.
const FOR_PROXIES_ONLY: [HeaderName; 5] = [
    FORWARDED,
    SURROGATE_CAPABILITY,
    HeaderName::from_static("x-real-ip"),
    HeaderName::from_static("x-original-url"),
    HeaderName::from_static("x-rewrite-url"),
];
const FORWARDED_PREFIX: &str = "x-forwarded-";
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// Tells an origin what this proxy can do for it (W3C Edge Architecture Specification).
pub const SURROGATE_CAPABILITY: HeaderName = HeaderName::from_static("surrogate-capability");
/// It heeds `Surrogate-Control`. By this name it is spoken to.
pub const HEEDS_SURROGATE_CONTROL: HeaderValue =
    HeaderValue::from_static("tidegate=\"Surrogate/1.0\"");

/// Fields between browsers and edges.
const OURS: [HeaderName; 1] = [HeaderName::from_static("tidegate-min-revision")];

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Client<'a> {
    /// Address of the connection.
    pub address: IpAddr,
    /// Whether it came over TLS.
    pub secure: bool,
    /// The host it asked for, normalised.
    pub host: &'a str,
    /// The port it named, or 0.
    pub port: u16,
}

impl Client<'_> {
    fn authority(&self) -> String {
        match self.port {
            0 => self.host.to_owned(),
            port => format!("{}:{port}", self.host),
        }
    }
}

/// Removes what is about one connection, that which `Connection` names included.
pub fn remove_hop_by_hop(fields: &mut HeaderMap) {
    remove_named_by_connection(fields);
    for name in &HOP_BY_HOP {
        fields.remove(name);
    }
}

/// Removes what `Connection` names, but not itself and `Upgrade`. To be called before a
/// request is looked up: a field that does not reach the origin must not tell one
/// response from another either.
pub fn remove_named_by_connection(fields: &mut HeaderMap) {
    let named: Vec<HeaderName> = fields
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .filter(|name| !is_about_connection(name))
        .filter_map(|name| name.parse().ok())
        .collect();
    for name in &named {
        fields.remove(name);
    }
}

/// What nearly every `Connection` says, what an upgrade needs, and fields that are for all
/// recipients and must not be named (RFC 9110, section 7.6.1): without them a response
/// would be stored as if nothing spoke against it.
fn is_about_connection(option: &str) -> bool {
    [
        "keep-alive",
        "close",
        "upgrade",
        "connection",
        "cache-control",
        "vary",
        "set-cookie",
    ]
    .iter()
    .any(|known| option.eq_ignore_ascii_case(known))
}

/// The fields of a request as the origin gets them. `host` is what the site says the
/// origin is called, if it says so.
#[must_use]
pub fn to_origin(request: &HeaderMap, client: Client<'_>, host: Option<&HeaderValue>) -> HeaderMap {
    let mut fields = request.clone();
    remove_hop_by_hop(&mut fields);
    let pretended: Vec<HeaderName> = fields
        .keys()
        .filter(|name| name.as_str().starts_with(FORWARDED_PREFIX))
        .cloned()
        .collect();
    for name in pretended.iter().chain(&FOR_PROXIES_ONLY).chain(&OURS) {
        fields.remove(name);
    }
    let authority = client.authority();
    let insert = |fields: &mut HeaderMap, name: HeaderName, text: &str| {
        // A normalised host and an address are visible ASCII.
        if let Ok(value) = HeaderValue::from_str(text) {
            fields.insert(name, value);
        }
    };
    insert(&mut fields, FORWARDED_HOST, &authority);
    insert(&mut fields, FORWARDED_FOR, &client.address.to_string());
    let scheme = if client.secure { "https" } else { "http" };
    fields.insert(FORWARDED_PROTO, HeaderValue::from_static(scheme));
    match host {
        Some(host) => {
            fields.insert(HOST, host.clone());
        }
        None => insert(&mut fields, HOST, &authority),
    }
    fields.append(VIA, HeaderValue::from_static("1.1 tidegate"));
    fields
}

/// Whether the request came through here so often that it must be in a loop.
#[must_use]
pub fn is_in_a_loop(request: &HeaderMap) -> bool {
    let visits: usize = request
        .get_all(VIA)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .map(|value| value.matches(PSEUDONYM).count())
        .sum();
    visits >= MAX_VISITS
}

/// Whether the end of the body is told by its last transfer coding (RFC 9112,
/// section 6.3); with any other one last it is the end of the connection.
#[must_use]
pub fn is_chunked(fields: &HeaderMap) -> bool {
    fields
        .get_all(TRANSFER_ENCODING)
        .iter()
        .next_back()
        .and_then(|value| value.to_str().ok()?.rsplit(',').next())
        .is_some_and(|last| last.trim().eq_ignore_ascii_case("chunked"))
}

/// The protocol a request wants to switch to, if it says so in the form that HTTP/1.1
/// asks for (RFC 9110, section 7.8).
#[must_use]
pub fn upgrade(request: &HeaderMap) -> Option<&HeaderValue> {
    let protocol = request.get(UPGRADE)?;
    request
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|name| name.trim().eq_ignore_ascii_case("upgrade"))
        .then_some(protocol)
}

/// Asks for the switch on the next connection too.
pub fn ask_upgrade(fields: &mut HeaderMap, protocol: HeaderValue) {
    fields.insert(UPGRADE, protocol);
    fields.insert(CONNECTION, HeaderValue::from_static("upgrade"));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(lines: &[(&'static str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in lines {
            map.append(*name, value.parse().unwrap());
        }
        map
    }

    const CLIENT: Client<'static> = Client {
        address: IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 7)),
        secure: true,
        host: "www.example.com",
        port: 8443,
    };

    #[test]
    fn what_is_about_the_connection_stays_there() {
        let mut sent = fields(&[
            ("connection", "close, X-Secret"),
            ("connection", "keep-alive"),
            ("keep-alive", "timeout=5"),
            ("x-secret", "1"),
            ("te", "trailers"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "h2c"),
            ("proxy-authorization", "x"),
            ("proxy-authentication-info", "x"),
            ("x-kept", "1"),
        ]);
        remove_hop_by_hop(&mut sent);
        assert_eq!(sent, fields(&[("x-kept", "1")]));
    }

    #[test]
    fn what_is_for_all_recipients_is_not_about_the_connection() {
        let lines = [
            ("cache-control", "private"),
            ("vary", "x"),
            ("set-cookie", "a=b"),
        ];
        let mut sent = fields(&lines);
        sent.insert(
            CONNECTION,
            "Cache-Control, vary, set-cookie".parse().unwrap(),
        );
        remove_hop_by_hop(&mut sent);
        assert_eq!(sent, fields(&lines));
    }

    #[test]
    fn nothing_a_client_says_about_itself_is_believed() {
        let sent = to_origin(
            &fields(&[
                ("host", "evil.example:99"),
                ("x-forwarded-for", "10.0.0.1"),
                ("x-forwarded-port", "1"),
                ("x-forwarded-host", "evil.example"),
                ("forwarded", "for=10.0.0.1"),
                ("surrogate-capability", "x=\"ESI/1.0\""),
                ("x-original-url", "/admin"),
                ("connection", "x-forwarded-for"),
                ("tidegate-min-revision", "x"),
                ("accept", "*/*"),
            ]),
            CLIENT,
            None,
        );
        let expected = fields(&[
            ("host", "www.example.com:8443"),
            ("x-forwarded-for", "192.0.2.7"),
            ("x-forwarded-host", "www.example.com:8443"),
            ("x-forwarded-proto", "https"),
            ("via", "1.1 tidegate"),
            ("accept", "*/*"),
        ]);
        assert_eq!(sent, expected);
    }

    #[test]
    fn a_fixed_host_is_what_the_origin_sees() {
        let host = HeaderValue::from_static("origin.internal");
        let sent = to_origin(&HeaderMap::new(), CLIENT, Some(&host));
        assert_eq!(sent[HOST], "origin.internal");
        assert_eq!(sent[FORWARDED_HOST], "www.example.com:8443");
    }

    #[test]
    fn a_loop_is_noticed() {
        let mut request = fields(&[("via", "1.1 other")]);
        for _ in 0..MAX_VISITS {
            assert!(!is_in_a_loop(&request));
            request = to_origin(&request, CLIENT, None);
        }
        assert!(is_in_a_loop(&request));
    }

    #[test]
    fn an_upgrade_needs_both_fields() {
        let whole = fields(&[
            ("connection", "Keep-Alive, Upgrade"),
            ("upgrade", "websocket"),
        ]);
        assert_eq!(upgrade(&whole).unwrap(), "websocket");
        assert_eq!(upgrade(&fields(&[("upgrade", "websocket")])), None);
    }
}
