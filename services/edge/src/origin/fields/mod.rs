//! The fields of a message on its way through a proxy (RFC 9110, section 7.6).

mod request;
mod unkeyed;

use http::header::{
    CONNECTION, HOST, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE, TRAILER, TRANSFER_ENCODING,
    UPGRADE, VIA,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Version};

pub use request::{
    Client, FORWARDED_FOR, FORWARDED_PROTO, HEEDS_SURROGATE_CONTROL, SURROGATE_CAPABILITY,
    to_origin,
};

/// What this proxy calls itself.
const PSEUDONYM: &str = "tidegate";
/// A request that came through here so often is in a loop.
const MAX_VISITS: usize = 8;

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");

/// Fields that are about one connection (RFC 9110, section 7.6.1) or one proxy (section
/// 11.7): none of them is stored (RFC 9111, section 3.1).
const HOP_BY_HOP: [HeaderName; 11] = [
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
    // What it announces is a switch of protocol that is never made here.
    HeaderName::from_static("http2-settings"),
];

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
    let named: Vec<HeaderName> = connection_options(fields)
        .filter(|name| !is_about_connection(name))
        .filter_map(|name| HeaderName::from_bytes(name).ok())
        .collect();
    for name in &named {
        fields.remove(name);
    }
}

/// The members of `Connection`. What is no name beside others does not hide them.
fn connection_options(fields: &HeaderMap) -> impl Iterator<Item = &[u8]> {
    let lines = fields.get_all(CONNECTION).iter();
    let members = lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b','));
    members.map(<[u8]>::trim_ascii)
}

/// What nearly every `Connection` says, what an upgrade needs, and fields that are for all
/// recipients and must not be named (RFC 9110, section 7.6.1): without them a response
/// would be stored as if nothing spoke against it.
fn is_about_connection(option: &[u8]) -> bool {
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
    .any(|known| option.eq_ignore_ascii_case(known.as_bytes()))
}

/// Says that a message came through here, and in which version of HTTP it came (RFC 9110,
/// section 7.6.3).
pub(super) fn say_via(fields: &mut HeaderMap, received: Version) {
    let via = match received {
        Version::HTTP_2 => HeaderValue::from_static("2.0 tidegate"),
        Version::HTTP_10 => HeaderValue::from_static("1.0 tidegate"),
        _ => HeaderValue::from_static("1.1 tidegate"),
    };
    fields.append(VIA, via);
}

/// Whether the request came through here so often that it must be in a loop.
#[must_use]
pub fn is_in_a_loop(request: &HeaderMap) -> bool {
    let lines = request.get_all(VIA).iter();
    let visits = lines.map(|line| visits(line.as_bytes())).sum::<usize>();
    visits >= MAX_VISITS
}

/// How many members of a `Via` name this proxy. What stands in comments names nobody; one
/// that nothing closes is read as if it were none, so that it hides nobody either.
fn visits(line: &[u8]) -> usize {
    let line = String::from_utf8_lossy(line);
    let (mut bare, mut depth) = (String::new(), 0_u32);
    for letter in line.chars() {
        match letter {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            _ if depth == 0 => bare.push(letter),
            _ => {}
        }
    }
    let text = if depth == 0 { &*bare } else { &*line };
    text.split(',')
        .filter_map(|member| member.split_whitespace().nth(1))
        .filter(|by| by.eq_ignore_ascii_case(PSEUDONYM))
        .count()
}

/// Whether the origin gets a field of a GET as this proxy says it, or not at all, whatever
/// the client says: of what is asked for alike, no two requests differ by it there. Those
/// that are about the client alone are others.
#[must_use]
pub fn is_settled_here(name: &HeaderName) -> bool {
    *name == HOST || HOP_BY_HOP.contains(name) || unkeyed::goes_no_further(name, &Method::GET)
}

/// Whether the origin hears something of a POST that it would not hear of the same GET: what it
/// answers then may be no answer to a GET.
#[must_use]
pub fn says_more_than_a_get(fields: &HeaderMap) -> bool {
    let differs = |name: &HeaderName| {
        unkeyed::goes_no_further(name, &Method::GET)
            && !unkeyed::goes_no_further(name, &Method::POST)
    };
    fields.keys().any(differs)
}

/// Whether the body is sent in chunks, and in no other way. Codings that are named otherwise are
/// read as `chunked` by some, and as nothing by others; codings besides it would have to be
/// taken off here (RFC 9112, section 6.1).
#[must_use]
pub fn is_chunked_alone(fields: &HeaderMap) -> bool {
    let mut codings = fields.get_all(TRANSFER_ENCODING).iter();
    let first = codings.next();
    codings.next().is_none()
        && first.is_some_and(|coding| coding.as_bytes().eq_ignore_ascii_case(b"chunked"))
}

/// The protocol a request wants to switch to, if it says so in the form that HTTP/1.1
/// asks for (RFC 9110, section 7.8).
#[must_use]
pub fn upgrade(request: &HeaderMap) -> Option<&HeaderValue> {
    let protocol = request.get(UPGRADE)?;
    connection_options(request)
        .any(|name| name.eq_ignore_ascii_case(b"upgrade"))
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
    fn what_cannot_be_read_hides_nothing_that_is_named_beside_it() {
        let mut sent = fields(&[("x-secret", "1"), ("x-other", "1"), ("x-kept", "1")]);
        let named = HeaderValue::from_bytes(b"X-Secret, \xe9, , a b,x-other").unwrap();
        sent.insert(CONNECTION, named);
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
    fn a_loop_is_noticed() {
        let mut request = fields(&[("via", "1.1 other")]);
        for _ in 0..MAX_VISITS {
            assert!(!is_in_a_loop(&request));
            say_via(&mut request, Version::HTTP_11);
        }
        assert!(is_in_a_loop(&request));
    }

    #[test]
    fn a_loop_is_of_this_proxy_alone() {
        for (line, is_loop) in [
            ("1.1 tidegate", true),
            ("HTTP/2.0 Tidegate", true),
            ("1.1 tidegate (an edge, really)", true),
            ("1.1 tidegate:80", false),
            ("1.1 tidegate-eu.example", false),
            ("1.1 fred (tidegate)", false),
            ("1.1 fred (a, 1.1 tidegate)", false),
            ("1.1 fred (, 1.1 tidegate", true),
            ("tidegate 1.1", false),
            ("1.1 \u{e9}, 1.1 tidegate", true),
        ] {
            let mut request = HeaderMap::new();
            for _ in 0..MAX_VISITS {
                let line = HeaderValue::from_bytes(line.as_bytes()).unwrap();
                request.append(VIA, line);
            }
            assert_eq!(is_in_a_loop(&request), is_loop, "{line}");
            request.remove(VIA);
            let whole = [line; MAX_VISITS].join(", ");
            request.insert(VIA, HeaderValue::from_bytes(whole.as_bytes()).unwrap());
            assert_eq!(is_in_a_loop(&request), is_loop, "{whole}");
        }
    }

    #[test]
    fn an_upgrade_needs_both_fields() {
        let whole = fields(&[
            ("connection", "Keep-Alive, Upgrade"),
            ("upgrade", "websocket"),
        ]);
        assert_eq!(upgrade(&whole).unwrap(), "websocket");
        assert_eq!(upgrade(&fields(&[("upgrade", "websocket")])), None);
        let mut beside = fields(&[("upgrade", "websocket")]);
        let options = HeaderValue::from_bytes(b"\xe9, Upgrade").unwrap();
        beside.insert(CONNECTION, options);
        assert_eq!(upgrade(&beside).unwrap(), "websocket");
    }
}
