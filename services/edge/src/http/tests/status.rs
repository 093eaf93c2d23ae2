//! `Cache-Status` on every answer to a request that could be read (RFC 9211).

use sfv::{BareItem, List, ListEntry, Parser};
use tidegate_domain::MAX_URL_BYTES;
use tokio::io::AsyncReadExt as _;
use tokio_util::sync::CancellationToken;

use super::memory::Origin;
use super::*;

/// The names of the caches that took part, nearest to the origin first.
fn caches(fields: &HeaderMap) -> Result<Vec<String>, String> {
    let lines: Vec<_> = fields.get_all("cache-status").iter().collect();
    let [line] = lines[..] else {
        return Err(format!("{} lines", lines.len()));
    };
    let list: List = Parser::new(line.as_bytes())
        .parse()
        .map_err(|error| format!("{line:?}: {error}"))?;
    let name = |entry: &ListEntry| match entry {
        ListEntry::Item(item) => match &item.bare_item {
            BareItem::Token(name) => Ok(name.to_string()),
            BareItem::String(name) => Ok(name.to_string()),
            other => Err(format!("{other:?}")),
        },
        ListEntry::InnerList(_) => Err("an inner list".to_owned()),
    };
    list.iter().map(name).collect()
}

/// The head of an answer; of some the body has no end.
async fn head(edge: &Edge, asked: &Asked) -> (u16, HeaderMap) {
    let mut request = Request::new(Body::empty());
    *request.method_mut() = asked.method.clone();
    *request.uri_mut() = asked.target.parse().unwrap();
    let named = [("host", "www.example.com")];
    let is_named = asked.fields.iter().any(|(name, _)| *name == "host");
    let named = named.iter().filter(|_| !is_named);
    for (name, value) in named.chain(asked.fields) {
        let name: http::HeaderName = name.parse().unwrap();
        request.headers_mut().append(name, value.parse().unwrap());
    }
    let peer = Ipv4Addr::LOCALHOST.into();
    let answer = edge.front.clone().handle(request, peer, None);
    let answer = tokio::time::timeout(Duration::from_secs(20), answer).await;
    let (parts, _) = answer.expect("it is answered").into_parts();
    (parts.status.as_u16(), parts.headers)
}

struct Asked {
    method: Method,
    target: &'static str,
    fields: &'static [(&'static str, &'static str)],
}

fn asked(
    method: Method,
    target: &'static str,
    fields: &'static [(&'static str, &'static str)],
) -> Asked {
    Asked {
        method,
        target,
        fields,
    }
}

fn get(target: &'static str, fields: &'static [(&'static str, &'static str)]) -> Asked {
    asked(Method::GET, target, fields)
}

/// In this order: what comes first is stored for what comes later.
async fn is_said_of(edge: &Edge, cases: &[(Asked, u16)]) {
    for (asked, expected) in cases {
        let (status, fields) = head(edge, asked).await;
        let what = format!("{} {} {:?}", asked.method, asked.target, asked.fields);
        assert_eq!(status, *expected, "{what}: {fields:?}");
        let caches = caches(&fields).unwrap_or_else(|error| panic!("{what}: {error}"));
        let own = caches.last().map(String::as_str);
        assert_eq!(own, Some("tidegate"), "{what}: {caches:?}");
    }
}

/// It came through here as often as it may, and once more.
const LOOP: &str = "1.1 tidegate, 1.1 tidegate, 1.1 tidegate, 1.1 tidegate, 1.1 tidegate, \
                    1.1 tidegate, 1.1 tidegate, 1.1 tidegate";

/// What the origin says of caching by path.
fn origin() -> Edge {
    let origin = Origin::new(|request| async move {
        let (status, name, value) = match request.uri().path() {
            "/switch" => (101, "upgrade", "chat"),
            "/private" => (200, "cache-control", "private"),
            "/inner" => (200, "cache-status", "inner; hit"),
            "/broken" => (200, "cache-status", "a;;b"),
            "/odd" => (299, "cache-control", "max-age=60"),
            "/moved" => (302, "location", "/a"),
            "/none" => (404, "cache-control", "no-store"),
            "/down" => (503, "retry-after", "1"),
            "/empty" => (204, "cache-control", "no-store"),
            _ => (
                200,
                "cache-control",
                "max-age=60, stale-while-revalidate=60",
            ),
        };
        let body = match status {
            204 => Body::empty(),
            _ => Body::from("0123456789"),
        };
        Response::builder()
            .status(status)
            .header(name, value)
            .header("etag", "\"v1\"")
            .body(body)
            .unwrap()
    });
    origin.edge()
}

#[tokio::test]
async fn what_the_cache_and_the_origin_answer_says_how() {
    let edge = origin();
    let cases = [
        (get("/a", &[]), 200),
        (get("/a", &[]), 200),
        (asked(Method::HEAD, "/a", &[]), 200),
        (get("/a", &[("if-none-match", "\"v1\"")]), 304),
        (get("/a", &[("range", "bytes=0-1")]), 206),
        (get("/a", &[("range", "bytes=0-1,5-6")]), 206),
        (get("/a", &[("range", "bytes=10-")]), 416),
        (get("/a", &[("if-match", "\"v2\"")]), 200),
        (get("/a", &[("cache-control", "no-cache")]), 200),
        (get("/other", &[("cache-control", "only-if-cached")]), 504),
        (get("/cold", &[("range", "bytes=0-1")]), 206),
        (asked(Method::HEAD, "/head", &[]), 200),
        (asked(Method::POST, "/a", &[]), 200),
        (asked(Method::PUT, "/a", &[]), 200),
        (asked(Method::OPTIONS, "/a", &[]), 200),
        (get("/private", &[]), 200),
        (get("/private", &[]), 200),
        (get("/inner", &[]), 200),
        (get("/broken", &[]), 200),
        (asked(Method::POST, "/inner", &[]), 200),
        (asked(Method::POST, "/broken", &[]), 200),
        (get("/odd", &[]), 299),
        (get("/odd", &[]), 299),
        (get("/moved", &[]), 302),
        (get("/none", &[]), 404),
        (get("/down", &[]), 503),
        (get("/empty", &[]), 204),
        (asked(Method::DELETE, "/empty", &[]), 204),
        // Nobody has asked to switch.
        (get("/switch", &[]), 502),
    ];
    is_said_of(&edge, &cases).await;
    edge.clock.advance(Duration::from_secs(61));
    is_said_of(&edge, &[(get("/odd", &[]), 299)]).await;
    edge.standing.revoke();
    is_said_of(&edge, &[(get("/a", &[]), 200)]).await;
}

#[tokio::test]
async fn an_origin_that_is_not_there_is_no_reason_to_say_nothing() {
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = closed.local_addr().unwrap();
    drop(closed);
    let config = serde_json::json!({
        "hosts": ["*"],
        "origin": { "upstreams": [{ "url": format!("http://{address}") }] },
    });
    let edge = Edge::start(config, ControlPlane::default(), None, Arc::default());
    let cases = [
        (get("/a", &[]), 502),
        (asked(Method::HEAD, "/a", &[]), 502),
        (asked(Method::POST, "/a", &[]), 502),
    ];
    is_said_of(&edge, &cases).await;
}

#[tokio::test]
async fn what_no_origin_is_asked_says_so() {
    let edge = origin();
    let cases = [
        (get("/_tidegate/client.js", &[]), 200),
        (get("/_tidegate/events", &[]), 200),
        (get("/_tidegate/events?detail=2", &[]), 400),
        (asked(Method::POST, "/_tidegate/events", &[]), 405),
        (get("/_tidegate/other", &[]), 404),
        (get("/a%zz", &[]), 400),
        (get("/a", &[("host", "a b")]), 400),
        (get("/a", &[("host", "a"), ("host", "b")]), 400),
        (get("/a", &[("transfer-encoding", "gzip")]), 501),
        (get("/a", &[("expect", "miracles")]), 417),
        (get("/a", &[("tidegate-min-revision", "x")]), 400),
        (asked(Method::TRACE, "/a", &[]), 501),
        (asked(Method::OPTIONS, "*", &[]), 204),
        (asked(Method::OPTIONS, "/a", &[("max-forwards", "0")]), 204),
        (asked(Method::OPTIONS, "/a", &[("max-forwards", "x")]), 400),
        (get("/a", &[("via", LOOP)]), 508),
        (
            get(
                "/a",
                &[
                    ("connection", "upgrade"),
                    ("upgrade", "chat"),
                    ("via", LOOP),
                ],
            ),
            508,
        ),
    ];
    is_said_of(&edge, &cases).await;
    let long = format!("/{}", "x".repeat(MAX_URL_BYTES));
    let got = edge.ask(Method::GET, &long, &[]).await;
    assert_eq!(got.status, 414);
    assert_eq!(caches(&got.fields), Ok(vec!["tidegate".to_owned()]));

    let config = serde_json::json!({ "hosts": ["www.example.com"] });
    let edge = Edge::start(config, ControlPlane::default(), None, Arc::default());
    is_said_of(&edge, &[(get("/a", &[("host", "other.example")]), 421)]).await;
}

#[tokio::test]
async fn what_a_release_has_and_has_not_says_so() {
    let edge = Edge::with_release();
    let cases = [
        (get("/", &[]), 200),
        (asked(Method::HEAD, "/", &[]), 200),
        (get("/", &[("if-none-match", "*")]), 304),
        (get("/", &[("if-match", "\"x\"")]), 412),
        (get("/", &[("range", "bytes=0-1")]), 206),
        (get("/", &[("range", "bytes=100-")]), 416),
        (get("/index.html", &[]), 308),
        (get("/missing", &[]), 404),
        (get("/pushed", &[]), 200),
        (get("/pushed", &[]), 200),
        (asked(Method::POST, "/", &[]), 405),
        (asked(Method::POST, "/pushed", &[]), 404),
    ];
    is_said_of(&edge, &cases).await;
    let behind = at(1, 9).to_string();
    let fields = [("tidegate-min-revision", behind.as_str())];
    for edge in [edge, Edge::with_nothing()] {
        let got = edge.ask(Method::GET, "/", &fields).await;
        assert_eq!(got.status, 503);
        assert_eq!(caches(&got.fields), Ok(vec!["tidegate".to_owned()]));
    }
    is_said_of(&Edge::with_nothing(), &[(get("/", &[]), 404)]).await;
}

#[tokio::test]
async fn a_switch_to_another_protocol_says_so() {
    let (door, _ends) = tunnels::start(1, &CancellationToken::new());
    let mut client = door.connect().await;
    tunnels::ask(&mut client, "/tunnel").await;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let byte = tokio::time::timeout(Duration::from_secs(20), client.read_u8()).await;
        head.push(byte.unwrap().unwrap());
    }
    let head = String::from_utf8(head).unwrap();
    let mut fields = HeaderMap::new();
    for (name, value) in head.lines().filter_map(|line| line.split_once(": ")) {
        let name: http::HeaderName = name.parse().unwrap();
        fields.append(name, value.parse().unwrap());
    }
    assert!(head.starts_with("HTTP/1.1 101"), "{head}");
    assert_eq!(caches(&fields), Ok(vec!["tidegate".to_owned()]), "{head}");
}
