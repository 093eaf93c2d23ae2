//! Proxies in front of the edge that are believed: what they say of a client is what the
//! edge would see if they were not there.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use http::header::FORWARDED;
use http::{HeaderMap, HeaderName};

use crate::origin::fields::{FORWARDED_FOR, FORWARDED_PROTO};

/// Proxies that one request may have come through.
const MAX_HOPS: usize = 16;
/// As much of a field is read, from its end: that is what proxies have written.
const MAX_BYTES: usize = 4 << 10;

/// Addresses with a common beginning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    bits: u32,
}

/// Not a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("allowed: an IP address, or a network such as 10.0.0.0/8 or fd00::/8")]
pub struct NoNetwork;

impl FromStr for Network {
    type Err = NoNetwork;

    fn from_str(text: &str) -> Result<Self, NoNetwork> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| NoNetwork)?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let bits = match bits {
            Some(bits) => bits.parse().map_err(|_| NoNetwork)?,
            None => most,
        };
        (bits <= most)
            .then_some(Self { address, bits })
            .ok_or(NoNetwork)
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.bits)
    }
}

impl Network {
    fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address) {
            (IpAddr::V4(net), IpAddr::V4(it)) => {
                let differ = u32::from(net) ^ u32::from(it);
                differ.checked_shr(32 - self.bits).unwrap_or(0) == 0
            }
            (IpAddr::V6(net), IpAddr::V6(it)) => {
                let differ = u128::from(net) ^ u128::from(it);
                differ.checked_shr(128 - self.bits).unwrap_or(0) == 0
            }
            _ => false,
        }
    }
}

/// The field in which trusted proxies say for whom they ask. The other may be the client's
/// own, so only one of them is read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum ProxyField {
    /// `X-Forwarded-For` and `X-Forwarded-Proto`.
    #[default]
    XForwarded,
    /// `Forwarded` (RFC 7239).
    Forwarded,
}

/// Who is believed, and in which words.
#[derive(Debug, Clone, Default)]
pub struct TrustedProxies {
    networks: Vec<Network>,
    field: ProxyField,
}

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Asker {
    pub(crate) address: IpAddr,
    /// Whether it asks over TLS.
    pub(crate) secure: bool,
}

impl TrustedProxies {
    /// Believes these.
    #[must_use]
    pub fn new(networks: Vec<Network>, field: ProxyField) -> Self {
        Self { networks, field }
    }

    /// Who asks for what comes from `peer`. What cannot be believed is removed; what is left
    /// in `X-Forwarded-For` is the client and the proxies behind it.
    pub(crate) fn asker(&self, fields: &mut HeaderMap, peer: IpAddr) -> Asker {
        let peer = peer.to_canonical();
        if !self.trusts(peer) {
            fields.remove(FORWARDED_FOR);
            return Asker {
                address: peer,
                secure: false,
            };
        }
        let hops = self.hops(fields);
        let mut chain = vec![peer];
        let mut secure = false;
        for hop in hops.into_iter().rev().take(MAX_HOPS) {
            // The one before was trusted, so it is believed how it was asked, even if it does
            // not say by whom.
            secure = hop.secure;
            let Some(address) = hop.address else { break };
            chain.push(address);
            if !self.trusts(address) {
                break;
            }
        }
        chain.reverse();
        let said: Vec<String> = chain.iter().map(ToString::to_string).collect();
        // Addresses are visible ASCII.
        if let Ok(said) = said.join(", ").try_into() {
            fields.insert(FORWARDED_FOR, said);
        }
        Asker {
            address: chain[0],
            secure,
        }
    }

    fn trusts(&self, address: IpAddr) -> bool {
        self.networks.iter().any(|net| net.contains(address))
    }

    /// What was said, the first hop first.
    fn hops(&self, fields: &HeaderMap) -> Vec<Hop> {
        match self.field {
            // RFC 9110, section 5.6.1.2: what is empty is no element.
            ProxyField::Forwarded => joined(fields, &FORWARDED)
                .split(',')
                .filter(|element| !element.trim().is_empty())
                .map(Hop::of_forwarded)
                .collect(),
            ProxyField::XForwarded => {
                // One word is about all of the way; of several it is not certain which are
                // about which part.
                let secure = joined(fields, &FORWARDED_PROTO).eq_ignore_ascii_case("https");
                joined(fields, &FORWARDED_FOR)
                    .split(',')
                    .map(|member| Hop {
                        address: address(member),
                        secure,
                    })
                    .collect()
            }
        }
    }
}

/// What a proxy has said of the one that it was asked by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Hop {
    /// `None` if it does not say, or hides it.
    address: Option<IpAddr>,
    secure: bool,
}

impl Hop {
    /// An element of `Forwarded` (RFC 7239, section 4). Nothing that is read here may hold
    /// a `;`.
    fn of_forwarded(element: &str) -> Self {
        let mut hop = Self {
            address: None,
            secure: false,
        };
        for pair in element.split(';') {
            let Some((name, value)) = pair.split_once('=') else {
                continue;
            };
            let value = value.trim().trim_matches('"');
            match name.trim() {
                name if name.eq_ignore_ascii_case("for") => hop.address = address(value),
                name if name.eq_ignore_ascii_case("proto") => {
                    hop.secure = value.eq_ignore_ascii_case("https");
                }
                _ => {}
            }
        }
        hop
    }
}

/// All lines of a field in one, a list of which no member that is read may hold a comma.
/// Its beginning is the client's to write, so nothing there may hide the end: what is too
/// long loses its beginning, and what is no text is a member that says nothing.
fn joined(fields: &HeaderMap, name: &HeaderName) -> String {
    let lines: Vec<&[u8]> = fields
        .get_all(name)
        .iter()
        .map(|it| it.as_bytes())
        .collect();
    let all = lines.join(&b","[..]);
    let end = &all[all.len().saturating_sub(MAX_BYTES)..];
    let whole = match end.len() < all.len() {
        true => end
            .splitn(2, |byte| *byte == b',')
            .nth(1)
            .unwrap_or_default(),
        false => end,
    };
    String::from_utf8_lossy(whole).trim().to_owned()
}

/// An address, with or without brackets and a port.
fn address(text: &str) -> Option<IpAddr> {
    let text = text.trim().trim_matches('"');
    let bare = match text.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?.0,
        None if text.matches(':').count() == 1 => text.split_once(':')?.0,
        None => text,
    };
    bare.parse::<IpAddr>().ok().map(|it| it.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trusted(field: ProxyField) -> TrustedProxies {
        let networks = ["10.0.0.0/8", "fd00::/8"].map(|net| net.parse().unwrap());
        TrustedProxies::new(networks.into(), field)
    }

    fn ask(
        proxies: &TrustedProxies,
        peer: &str,
        lines: &[(&'static str, &str)],
    ) -> (String, bool, Option<String>) {
        let mut fields = HeaderMap::new();
        for (name, value) in lines {
            fields.append(*name, value.parse().unwrap());
        }
        let asker = proxies.asker(&mut fields, peer.parse().unwrap());
        let said = fields.get(FORWARDED_FOR);
        (
            asker.address.to_string(),
            asker.secure,
            said.map(|said| said.to_str().unwrap().to_owned()),
        )
    }

    #[test]
    fn who_is_not_trusted_says_nothing_of_anybody() {
        let lines = [
            ("x-forwarded-for", "192.0.2.1"),
            ("x-forwarded-proto", "https"),
        ];
        for proxies in [
            TrustedProxies::default(),
            trusted(ProxyField::XForwarded),
            trusted(ProxyField::Forwarded),
        ] {
            let said = ask(&proxies, "203.0.113.9", &lines);
            assert_eq!(said, ("203.0.113.9".into(), false, None));
        }
    }

    #[test]
    fn the_first_who_is_not_trusted_is_the_client() {
        for (said, client, by) in [
            ("192.0.2.1", "192.0.2.1", "192.0.2.1, 10.0.0.1"),
            ("6.6.6.6, 192.0.2.1", "192.0.2.1", "192.0.2.1, 10.0.0.1"),
            (
                "6.6.6.6,192.0.2.1 , fd00::2",
                "192.0.2.1",
                "192.0.2.1, fd00::2, 10.0.0.1",
            ),
            ("192.0.2.1:4711", "192.0.2.1", "192.0.2.1, 10.0.0.1"),
            ("[2001:db8::1]:4711", "2001:db8::1", "2001:db8::1, 10.0.0.1"),
            ("::ffff:192.0.2.1", "192.0.2.1", "192.0.2.1, 10.0.0.1"),
            ("192.0.2.1, unknown", "10.0.0.1", "10.0.0.1"),
            ("", "10.0.0.1", "10.0.0.1"),
            ("x\u{e4}", "10.0.0.1", "10.0.0.1"),
            ("x\u{e4}, 192.0.2.1", "192.0.2.1", "192.0.2.1, 10.0.0.1"),
        ] {
            let proxies = trusted(ProxyField::XForwarded);
            let lines = [("x-forwarded-for", said), ("forwarded", "for=6.6.6.6")];
            let expected = (client.to_owned(), false, Some(by.to_owned()));
            assert_eq!(ask(&proxies, "10.0.0.1", &lines), expected, "{said}");
        }
        let proxies = trusted(ProxyField::XForwarded);
        let long = format!("{}, 192.0.2.1", "6".repeat(2 * MAX_BYTES));
        let (client, ..) = ask(&proxies, "10.0.0.1", &[("x-forwarded-for", &long)]);
        assert_eq!(client, "192.0.2.1", "whatever stands before it");
        let (client, ..) = ask(
            &proxies,
            "10.0.0.1",
            &[("x-forwarded-for", &"6".repeat(2 * MAX_BYTES))],
        );
        assert_eq!(client, "10.0.0.1");
        let many = vec!["10.1.1.1"; 500].join(",");
        let (_, _, said) = ask(&proxies, "10.0.0.1", &[("x-forwarded-for", &many)]);
        assert!(said.unwrap().len() < 500);
    }

    #[test]
    fn the_scheme_is_what_the_one_next_to_the_client_says() {
        let proxies = trusted(ProxyField::XForwarded);
        for (proto, secure) in [("https", true), ("HTTPS", true), ("http", false)] {
            let lines = [
                ("x-forwarded-for", "192.0.2.1"),
                ("x-forwarded-proto", proto),
            ];
            assert_eq!(ask(&proxies, "10.0.0.1", &lines).1, secure, "{proto}");
            assert_eq!(
                ask(&proxies, "10.0.0.1", &lines[1..]).1,
                secure,
                "{proto} alone"
            );
        }
        let proxies = trusted(ProxyField::Forwarded);
        for (said, client, secure) in [
            ("for=192.0.2.1;proto=https", "192.0.2.1", true),
            (
                "for=192.0.2.1;proto=https, for=10.0.0.3;proto=http",
                "192.0.2.1",
                true,
            ),
            (
                "for=6.6.6.6;proto=https, For=\"[2001:db8::1]:80\";PROTO=\"http\"",
                "2001:db8::1",
                false,
            ),
            ("for=_hidden;proto=https", "10.0.0.1", true),
            (
                "for=192.0.2.1;proto=https, , for=10.0.0.3;proto=https,",
                "192.0.2.1",
                true,
            ),
            (
                "for=_hidden;proto=https, for=10.0.0.3;proto=http",
                "10.0.0.3",
                true,
            ),
            ("proto=https", "10.0.0.1", true),
            ("", "10.0.0.1", false),
        ] {
            let lines = [("forwarded", said), ("x-forwarded-for", "6.6.6.6")];
            let (address, is_secure, _) = ask(&proxies, "10.0.0.1", &lines);
            assert_eq!((&*address, is_secure), (client, secure), "{said}");
        }
    }

    #[test]
    fn networks_are_read_or_refused() {
        for (net, inside, outside) in [
            ("10.0.0.0/8", "10.255.0.1", "11.0.0.1"),
            ("0.0.0.0/0", "1.2.3.4", "::1"),
            ("192.0.2.1", "192.0.2.1", "192.0.2.2"),
            ("fd00::/8", "fdff::1", "fe00::1"),
            ("::/0", "::1", "127.0.0.1"),
        ] {
            let network: Network = net.parse().unwrap();
            assert!(network.contains(inside.parse().unwrap()), "{net}");
            assert!(!network.contains(outside.parse().unwrap()), "{net}");
        }
        for bad in [
            "",
            "10.0.0.0/33",
            "::/129",
            "10/8",
            "x",
            "10.0.0.0/-1",
            "10.0.0.0/",
        ] {
            assert_eq!(bad.parse::<Network>(), Err(NoNetwork), "{bad:?}");
        }
    }
}
