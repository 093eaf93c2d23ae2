//! Who asks, and in which form: what a request is before anything looks at what it wants.

use std::net::{IpAddr, Ipv4Addr};

use http::header::{COOKIE, EXPECT, HOST, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Version};
use tidegate_edge::fuzzing;
use tidegate_edge::http::{Network, ProxyField, TrustedProxies};

use crate::fields;

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED: HeaderName = HeaderName::from_static("forwarded");
/// A proxy that is trusted, and one that is not.
const PROXY: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));
const STRANGER: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));

fn network() -> Network {
    "10.0.0.0/8".parse().expect("a network")
}

fn is_trusted(address: IpAddr) -> bool {
    matches!(address, IpAddr::V4(it) if it.octets()[0] == 10)
}

/// Who is not trusted is the client, and of what a trusted one says only what is behind the
/// client counts: whatever the client wrote before changes nothing.
pub(super) fn trusted(data: &[u8]) {
    let said = fields::any(data);
    for (field, name, forged) in [
        (
            ProxyField::XForwarded,
            &FORWARDED_FOR,
            "10.6.6.6, \"10.6.6.6,",
        ),
        (
            ProxyField::Forwarded,
            &FORWARDED,
            "for=10.6.6.6;proto=https, for=\"10.6.6.6,",
        ),
    ] {
        let proxies = TrustedProxies::new(vec![network()], field);
        let mut left = said.clone();
        assert_eq!(
            fuzzing::asker(&proxies, &mut left, STRANGER),
            (STRANGER, false)
        );
        assert!(!left.contains_key(FORWARDED_FOR));

        let mut left = said.clone();
        let (client, secure) = fuzzing::asker(&proxies, &mut left, PROXY);
        let way = way(&left);
        assert!(way.len() <= 17, "{way:?}");
        assert_eq!((way.first(), way.last()), (Some(&client), Some(&PROXY)));
        let behind = way.get(1..).unwrap_or_default();
        assert!(behind.iter().all(|it| is_trusted(*it)), "{way:?}");

        // What is too long loses its beginning, and then there is nothing to stand before.
        if is_trusted(client) || data.len() > 4_000 {
            continue;
        }
        let mut forging = said.clone();
        let lines: Vec<_> = said.get_all(name).iter().cloned().collect();
        forging.insert(name, HeaderValue::from_static(forged));
        for line in lines {
            forging.append(name, line);
        }
        let again = fuzzing::asker(&proxies, &mut forging, PROXY);
        assert_eq!(again, (client, secure), "{said:?}");
        assert_eq!(self::way(&forging), way, "{said:?}");
    }
}

/// The addresses in the one field that is left.
fn way(left: &HeaderMap) -> Vec<IpAddr> {
    let mut lines = left.get_all(FORWARDED_FOR).iter();
    let line = lines.next().and_then(|line| line.to_str().ok());
    assert!(lines.next().is_none(), "{left:?}");
    let members = line.unwrap_or_default().split(", ");
    members.map(|it| it.parse().expect("an address")).collect()
}

/// A request that gets in is said in one way only, and says the same when it is looked at
/// again. The first line is method, target and version.
pub(super) fn admission(data: &[u8]) {
    let end = data.iter().position(|byte| *byte == b'\n');
    let (line, rest) = data.split_at(end.unwrap_or(data.len()));
    let mut words = line.split(|byte| *byte == b' ');
    let mut word = || words.next().unwrap_or_default();
    let (Ok(method), Ok(target)) = (Method::from_bytes(word()), word().try_into()) else {
        return;
    };
    let version = match word() {
        b"1.0" => Version::HTTP_10,
        b"2" => Version::HTTP_2,
        _ => Version::HTTP_11,
    };
    let mut request = Request::new(());
    *request.method_mut() = method.clone();
    *request.uri_mut() = target;
    *request.version_mut() = version;
    *request.headers_mut() = fields::any(rest);
    let came = request.headers().clone();
    let request = match fuzzing::admit(request) {
        Ok(request) => request,
        Err(status) => {
            assert!(status.is_client_error() || status.as_u16() == 501);
            return;
        }
    };
    assert!(method != Method::CONNECT && method != Method::TRACE);
    let fields = request.headers();
    let all = |name: &HeaderName| -> Vec<&[u8]> {
        fields
            .get_all(name)
            .iter()
            .map(HeaderValue::as_bytes)
            .collect()
    };
    let host = all(&HOST);
    assert_eq!(host.len(), 1, "{fields:?}");
    if let Some(authority) = request.uri().authority() {
        assert_eq!(host, [authority.as_str().as_bytes()]);
    }
    let codings = all(&TRANSFER_ENCODING);
    assert!(codings.len() <= 1);
    assert!(codings.iter().all(|it| it.eq_ignore_ascii_case(b"chunked")));
    let mut expected = all(&EXPECT).into_iter();
    assert!(expected.all(|it| it.eq_ignore_ascii_case(b"100-continue")));
    assert!(version == Version::HTTP_11 || !fields.contains_key(EXPECT));
    if version == Version::HTTP_2 {
        assert!(all(&COOKIE).len() <= 1 && fields.len() <= 100);
    }
    // Nothing else is changed, and nothing more the next time.
    for name in came
        .keys()
        .filter(|name| ![HOST, COOKIE, EXPECT].contains(name))
    {
        assert!(came.get_all(name).iter().eq(fields.get_all(name)), "{name}");
    }
    let again = fuzzing::admit(request.clone()).expect("what is let in once is let in again");
    assert_eq!(again.headers(), fields);
}
