//! The fields of a request as the origin gets them.

use std::fmt::Write as _;
use std::net::IpAddr;

use http::header::{FORWARDED, HOST};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Version};

use super::{remove_hop_by_hop, say_via, unkeyed};

/// By whom a request came, the client first. What is in it when a request is passed on is
/// believed: whoever takes requests removes what must not be.
pub const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
/// Whether it asks over TLS.
pub const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// Tells an origin what this proxy can do for it (W3C Edge Architecture Specification).
pub const SURROGATE_CAPABILITY: HeaderName = HeaderName::from_static("surrogate-capability");
/// It heeds `Surrogate-Control`. By this name it is spoken to.
pub const HEEDS_SURROGATE_CONTROL: HeaderValue =
    HeaderValue::from_static("tidegate=\"Surrogate/1.0\"");

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Client<'a> {
    /// Its address.
    pub address: IpAddr,
    /// Whether it came over TLS.
    pub secure: bool,
    /// The host it asked for, normalised.
    pub host: &'a str,
    /// The port it named, or 0.
    pub port: u16,
    /// The version of HTTP in which the request came.
    pub version: Version,
}

impl Client<'_> {
    fn authority(&self) -> String {
        match self.port {
            0 => self.host.to_owned(),
            port => format!("{}:{port}", self.host),
        }
    }

    fn scheme(&self) -> &'static str {
        if self.secure { "https" } else { "http" }
    }
}

/// The fields of a request as the origin gets them. `host` is what the site says the
/// origin is called, if it says so.
#[must_use]
pub fn to_origin(
    method: &Method,
    request: &HeaderMap,
    client: Client<'_>,
    host: Option<&HeaderValue>,
) -> HeaderMap {
    let mut fields = request.clone();
    remove_hop_by_hop(&mut fields);
    let came_by = came_by(&fields, client.address);
    unkeyed::remove(method, &mut fields);
    let authority = client.authority();
    let insert = |fields: &mut HeaderMap, name: HeaderName, text: &str| {
        // A normalised host and an address are visible ASCII.
        if let Ok(value) = HeaderValue::from_str(text) {
            fields.insert(name, value);
        }
    };
    insert(&mut fields, FORWARDED_FOR, &came_by.join(", "));
    insert(&mut fields, FORWARDED_HOST, &authority);
    fields.insert(FORWARDED_PROTO, HeaderValue::from_static(client.scheme()));
    let forwarded = forwarded(&came_by, &authority, client.scheme());
    insert(&mut fields, FORWARDED, &forwarded);
    match host {
        Some(host) => {
            fields.insert(HOST, host.clone());
        }
        None => insert(&mut fields, HOST, &authority),
    }
    say_via(&mut fields, client.version);
    fields
}

/// The client, and the proxies behind it that are trusted.
fn came_by(request: &HeaderMap, client: IpAddr) -> Vec<String> {
    let said = request
        .get(FORWARDED_FOR)
        .and_then(|said| said.to_str().ok());
    match said {
        Some(said) => said.split(", ").map(str::to_owned).collect(),
        None => vec![client.to_string()],
    }
}

/// RFC 7239: one element for each hop. What the client asked for is said with the client.
fn forwarded(came_by: &[String], authority: &str, scheme: &str) -> String {
    let mut text = String::new();
    for (index, address) in came_by.iter().enumerate() {
        if index > 0 {
            text.push_str(", ");
        }
        // Section 6: an IPv6 address has brackets, and then needs quotes.
        let _ = match address.contains(':') {
            true => write!(text, "for=\"[{address}]\""),
            false => write!(text, "for={address}"),
        };
        if index == 0 {
            let _ = match authority.contains([':', '[']) {
                true => write!(text, ";host=\"{authority}\";proto={scheme}"),
                false => write!(text, ";host={authority};proto={scheme}"),
            };
        }
    }
    text
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
        version: Version::HTTP_2,
    };

    fn sent(lines: &[(&'static str, &str)]) -> HeaderMap {
        to_origin(&Method::GET, &fields(lines), CLIENT, None)
    }

    #[test]
    fn nothing_a_client_says_about_itself_is_believed() {
        let sent = sent(&[
            ("host", "evil.example:99"),
            ("x-forwarded-port", "1"),
            ("x-forwarded-host", "evil.example"),
            ("forwarded", "for=10.0.0.1"),
            ("surrogate-capability", "x=\"ESI/1.0\""),
            ("x-original-url", "/admin"),
            ("tidegate-min-revision", "x"),
            ("accept", "*/*"),
            ("via", "1.0 fred"),
        ]);
        let expected = fields(&[
            ("host", "www.example.com:8443"),
            ("x-forwarded-for", "192.0.2.7"),
            ("x-forwarded-host", "www.example.com:8443"),
            ("x-forwarded-proto", "https"),
            (
                "forwarded",
                "for=192.0.2.7;host=\"www.example.com:8443\";proto=https",
            ),
            ("via", "1.0 fred"),
            ("via", "2.0 tidegate"),
            ("accept", "*/*"),
        ]);
        assert_eq!(sent, expected);
    }

    #[test]
    fn those_by_whom_it_came_are_named_in_both_forms() {
        let lines = [("x-forwarded-for", "2001:db8::7, 10.0.0.1")];
        let mut client = CLIENT;
        (client.port, client.secure) = (0, false);
        let sent = to_origin(&Method::GET, &fields(&lines), client, None);
        assert_eq!(sent[FORWARDED_FOR], "2001:db8::7, 10.0.0.1");
        assert_eq!(
            sent[FORWARDED],
            "for=\"[2001:db8::7]\";host=www.example.com;proto=http, for=10.0.0.1"
        );
    }

    #[test]
    fn a_fixed_host_is_what_the_origin_sees() {
        let host = HeaderValue::from_static("origin.internal");
        let sent = to_origin(&Method::GET, &HeaderMap::new(), CLIENT, Some(&host));
        assert_eq!(sent[HOST], "origin.internal");
        assert_eq!(sent[FORWARDED_HOST], "www.example.com:8443");
    }
}
