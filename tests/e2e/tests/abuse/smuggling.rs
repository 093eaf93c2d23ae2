//! Requests that two servers could take for different ones, and answers that could be
//! taken for two.

use tidegate_e2e::raw::Message;

use super::{Abused, is_hit};
use crate::support::HOST;

/// What must never reach the origin as a request of its own.
const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nHost: shop.example\r\nX: ";

/// A POST with these lines, and what follows them.
fn post(lines: &str, rest: &str) -> String {
    format!("POST /a HTTP/1.1\r\nHost: {HOST}\r\n{lines}\r\n\r\n{rest}")
}

/// One answer at most, one request at the origin at most, and that with this body.
async fn is_one_request(rig: &Abused, what: &str, bytes: &[u8], body: &[u8]) -> Option<Message> {
    let mut answers = rig.send(bytes).await;
    let asked = rig.origin.take();
    assert!(answers.len() <= 1, "{what}: {answers:?}");
    assert!(asked.len() <= 1, "{what}: {asked:?}");
    for one in &asked {
        assert_eq!((one.word(), &*one.body), ("/a", body), "{what}: {one:?}");
        let framing = one.all("content-length").len() + one.all("transfer-encoding").len();
        assert!(framing <= 1, "{what}: {one:?}");
    }
    answers.pop()
}

/// A POST with these lines is answered with one of these statuses, and what follows them is
/// no request.
async fn is_refused(rig: &Abused, lines: &str, rest: &str, statuses: &[&str]) {
    let answer = is_one_request(rig, lines, post(lines, rest).as_bytes(), b"").await;
    let answer = answer.unwrap_or_else(|| panic!("{lines:?}: no answer"));
    assert!(statuses.contains(&answer.word()), "{lines:?}: {answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_of_two_lengths_is_one_request_or_none() {
    let rig = Abused::start().await;
    let chunked = "Transfer-Encoding: chunked";
    let zero = format!("0\r\n\r\n{SMUGGLED}");
    let long = format!("Content-Length: {}", zero.len());
    for (lines, rest) in [
        (format!("Content-Length: 6\r\n{chunked}"), zero.clone()),
        (format!("{chunked}\r\nContent-Length: 6"), zero.clone()),
        (format!("{long}\r\n{chunked}"), zero.clone()),
        (format!("{chunked}\r\n{long}"), zero.clone()),
    ] {
        let what = lines.clone();
        is_one_request(&rig, &what, post(&lines, &rest).as_bytes(), b"").await;
    }
    for lines in [
        "Content-Length: 1\r\nContent-Length: 4",
        "Content-Length: 4\r\nContent-Length: 1",
        "Content-Length: 1, 4",
        "Content-Length: +1",
        "Content-Length: -1",
        "Content-Length: 0x1",
        "Content-Length: 1 4",
        "Content-Length: 1_0",
        "Content-Length:",
        "Content-Length: 18446744073709551616",
        "Content-Length : 1",
        "Content-Length\t: 1",
        "Content-Length: \x0b1",
    ] {
        is_refused(&rig, lines, &format!("x{SMUGGLED}"), &["400"]).await;
    }
    rig.still_serves().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transfer_coding_that_is_not_plainly_chunked_is_refused() {
    let rig = Abused::start().await;
    for lines in [
        "Transfer-Encoding: xchunked",
        "Transfer-Encoding : chunked",
        "Transfer-Encoding\t: chunked",
        "Transfer-Encoding: \x0bchunked",
        "Transfer-Encoding: chunked\x0b",
        "Transfer-Encoding: identity",
        "Transfer-Encoding: identity, chunked",
        "Transfer-Encoding: chunked, identity",
        "Transfer-Encoding: chunked, chunked",
        "Transfer-Encoding: gzip, chunked",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
        "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: \"chunked\"",
        "Transfer-Encoding: chunked;q=1",
        "Transfer-Encoding: chunked\r\n Content-Length: 3",
        "X: y\r\n Transfer-Encoding: chunked",
        "X: y\rTransfer-Encoding: chunked",
        "Transfer-Encoding:",
        "Transfer-Encoding: ",
    ] {
        is_refused(
            &rig,
            lines,
            &format!("0\r\n\r\n{SMUGGLED}"),
            &["400", "501"],
        )
        .await;
    }
    // HTTP/1.0 knows none.
    let bytes = format!(
        "POST /a HTTP/1.0\r\nHost: {HOST}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{SMUGGLED}"
    );
    is_one_request(&rig, "HTTP/1.0", bytes.as_bytes(), b"").await;
    rig.still_serves().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn chunks_that_are_cut_otherwise_than_they_say_end_the_connection() {
    let rig = Abused::start().await;
    let close = "Transfer-Encoding: chunked\r\nConnection: close";
    for chunks in [
        "1;x=y\nz\r\n\r\n0\r\n\r\n",
        "1\n\nx\r\n0\r\n\r\n",
        "-1\r\nx\r\n0\r\n\r\n",
        "0x1\r\nx\r\n0\r\n\r\n",
        "FFFFFFFFFFFFFFFFF\r\nx\r\n0\r\n\r\n",
        "1\r\nxy\r\n0\r\n\r\n",
        "1\r\nx0\r\n\r\n",
        "\r\n\r\n",
        "1 1\r\nx\r\n0\r\n\r\n",
    ] {
        let bytes = post(close, &format!("{chunks}{SMUGGLED}"));
        let answers = rig.send(&bytes).await;
        assert!(answers.len() <= 1, "{chunks:?}: {answers:?}");
        for answer in &answers {
            assert!(answer.word().starts_with('4'), "{chunks:?}: {answer:?}");
        }
        let asked = rig.origin.take();
        // What had begun was broken off.
        let whole = asked.iter().filter(|one| one.line != "malformed");
        assert_eq!(whole.count(), 0, "{chunks:?}: {asked:?}");
    }
    // Extensions and trailers are read, and go no further.
    let bytes = post(
        close,
        "3;name=\"value\"\r\nabc\r\n0\r\nX-Trailer: 1\r\nHost: evil\r\n\r\n",
    );
    let answer = is_one_request(&rig, "extension", bytes.as_bytes(), b"abc").await;
    assert_eq!(answer.unwrap().word(), "200");
    rig.still_serves().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_is_no_head_is_refused() {
    let rig = Abused::start().await;
    for bytes in [
        format!("GET /a b HTTP/1.1\r\nHost: {HOST}\r\n\r\n"),
        format!("GET /a HTTP/1.1 HTTP/1.1\r\nHost: {HOST}\r\n\r\n"),
        format!("GET  /a HTTP/1.1\r\nHost: {HOST}\r\n\r\n"),
        format!("GET /a HTTP/1.2\r\nHost: {HOST}\r\n\r\n"),
        format!("GET /a HTTP/2.0\r\nHost: {HOST}\r\n\r\n"),
        format!("GET /a http/1.1\r\nHost: {HOST}\r\n\r\n"),
        format!("G\u{1}T /a HTTP/1.1\r\nHost: {HOST}\r\n\r\n"),
        format!("GET /a HTTP/1.1\r\nHost: {HOST}\r\nX\r\n\r\n"),
        format!("GET /a HTTP/1.1\r\nHost: {HOST}\r\n: x\r\n\r\n"),
        format!("GET /a HTTP/1.1\r\nHost: {HOST}\r\nX: a\0b\r\n\r\n"),
        format!("GET /a HTTP/1.1\r\nHost: {HOST}\r\nX: a\rb\r\n\r\n"),
        format!("GET /a HTTP/1.1\r\n Host: {HOST}\r\n\r\n"),
        format!("GET /a\0 HTTP/1.1\r\nHost: {HOST}\r\n\r\n"),
        "GET /a HTTP/1.1\r\nHost: shop.example\r\nHost: shop.example\r\n\r\n".to_owned(),
        "GET /a HTTP/1.1\r\nHost: shop.example, evil.example\r\n\r\n".to_owned(),
        "GET /a HTTP/1.1\r\nHost: shop.example@evil.example\r\n\r\n".to_owned(),
        "GET /a HTTP/1.1\r\nHost: shop.example/x\r\n\r\n".to_owned(),
        "GET /a HTTP/1.1\r\nHost: shop.example:80:81\r\n\r\n".to_owned(),
        "GET /a HTTP/1.1\r\n\r\n".to_owned(),
        "GET http://shop.example/a HTTP/1.1\r\n\r\n".to_owned(),
        "GET http://u:p@shop.example/a HTTP/1.1\r\nHost: shop.example\r\n\r\n".to_owned(),
        "CONNECT shop.example:443 HTTP/1.1\r\nHost: shop.example\r\n\r\n".to_owned(),
        "TRACE /a HTTP/1.1\r\nHost: shop.example\r\n\r\n".to_owned(),
        "GET a HTTP/1.1\r\nHost: shop.example\r\n\r\n".to_owned(),
        "GET * HTTP/1.1\r\nHost: shop.example\r\n\r\n".to_owned(),
    ] {
        // A next request, if there is to be one.
        let close = "GET /end HTTP/1.1\r\nHost: shop.example\r\nConnection: close\r\n\r\n";
        let answers = rig.send(format!("{bytes}{close}")).await;
        let first = answers.first().map_or("", Message::word);
        assert!(
            first.starts_with('4') || matches!(first, "501" | "505"),
            "{bytes:?}: {answers:?}"
        );
        let asked = rig.origin.take();
        assert!(
            asked.iter().all(|one| one.word() == "/end"),
            "{bytes:?}: {asked:?}"
        );
    }
    rig.still_serves().await;
}

/// RFC 9112, section 2.2: a recipient may take LF alone for the end of a line. It has to take it
/// so everywhere, and say it otherwise from there on.
#[tokio::test(flavor = "multi_thread")]
async fn a_line_of_a_head_may_end_with_lf_alone_and_goes_on_with_both() {
    let rig = Abused::start().await;
    for head in [
        "POST /a HTTP/1.1\nHost: shop.example\nConnection: close\nContent-Length: 4\n\n",
        "POST /a HTTP/1.1\r\nHost: shop.example\nConnection: close\nContent-Length: 4\r\n\n",
        "POST /a HTTP/1.1\nHost: shop.example\r\nConnection: close\r\nContent-Length: 4\n\r\n",
        "POST /a HTTP/1.1\nHost: shop.example\nConnection: close\nTransfer-Encoding: chunked\n\n4\r\n",
    ] {
        let what = format!("{head}body\r\n0\r\n\r\n{SMUGGLED}");
        let answer = is_one_request(&rig, &what, what.as_bytes(), b"body").await;
        assert_eq!(answer.unwrap().word(), "200", "{head:?}");
    }
    // What ends with it is a field for whoever reads on, too.
    let bytes = format!(
        "POST /a HTTP/1.1\r\nHost: {HOST}\r\nX: y\nConnection: close\r\n\
         Content-Length: 4\r\nX: y\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{SMUGGLED}"
    );
    is_one_request(&rig, "both", bytes.as_bytes(), b"").await;
    rig.still_serves().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_asked_of_the_server_itself_is_answered_here() {
    let rig = Abused::start().await;
    let close = "Host: shop.example\r\nConnection: close";
    for (line, fields, expected) in [
        ("OPTIONS * HTTP/1.1", "", "204"),
        ("OPTIONS * HTTP/1.0", "Expect: 100-continue\r\n", "204"),
        ("OPTIONS /a HTTP/1.1", "Max-Forwards: 0\r\n", "204"),
        ("OPTIONS /a HTTP/1.1", "Max-Forwards: x\r\n", "400"),
        ("POST * HTTP/1.1", "", "400"),
    ] {
        let answers = rig.send(format!("{line}\r\n{fields}{close}\r\n\r\n")).await;
        assert_eq!(answers.len(), 1, "{line}: {answers:?}");
        assert_eq!(answers[0].word(), expected, "{line}: {answers:?}");
        let allowed = answers[0].all("allow").join(",");
        assert_eq!(
            allowed.contains("OPTIONS"),
            expected == "204",
            "{answers:?}"
        );
        assert!(rig.origin.take().is_empty(), "{line}");
    }
    let bytes = format!("OPTIONS /a HTTP/1.1\r\nMax-Forwards: 7\r\n{close}\r\n\r\n");
    assert_eq!(rig.send(bytes).await[0].word(), "200");
    let asked = rig.origin.take();
    assert_eq!(asked[0].all("max-forwards"), ["6"], "{asked:?}");
    rig.still_serves().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_host_of_an_absolute_target_counts_and_no_other_goes_on() {
    let rig = Abused::start().await;
    let bytes = "GET http://shop.example:81/a HTTP/1.1\r\nHost: evil.example\r\n\
        X-Forwarded-Host: evil.example\r\nConnection: close\r\n\r\n";
    let answers = rig.send(bytes).await;
    assert_eq!(answers[0].word(), "200", "{answers:?}");
    let asked = rig.origin.take();
    assert_eq!(asked.len(), 1);
    assert_eq!(asked[0].line, "GET /a HTTP/1.1");
    assert_eq!(asked[0].all("host"), ["shop.example:81"]);
    assert_eq!(asked[0].all("x-forwarded-host"), ["shop.example:81"]);
    // The other way round it is another site's, or nobody's.
    let bytes =
        "GET http://evil.example/a HTTP/1.1\r\nHost: shop.example\r\nConnection: close\r\n\r\n";
    assert_eq!(rig.send(bytes).await[0].word(), "421");
    assert!(rig.origin.take().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_get_with_a_body_is_passed_with_it_and_stored_for_nobody() {
    let rig = Abused::answering(|asked| {
        let caching = [("cache-control", "max-age=600")];
        tidegate_e2e::raw::response(&caching, &format!("for {:?}", asked.text()))
    })
    .await;
    let close = "Connection: close";
    for (lines, body) in [
        ("Content-Length: 4".to_owned(), "evil"),
        (
            "Transfer-Encoding: chunked".to_owned(),
            "4\r\nevil\r\n0\r\n\r\n",
        ),
    ] {
        let bytes = format!("GET /a HTTP/1.1\r\nHost: {HOST}\r\n{close}\r\n{lines}\r\n\r\n{body}");
        let answers = rig.send(bytes).await;
        assert_eq!(answers[0].text(), "for \"evil\"", "{answers:?}");
        assert_eq!(rig.origin.take().len(), 1);
    }
    let plain = rig.get("/a", &[]).await;
    assert!(!is_hit(&plain), "{plain:?}");
    assert_eq!(plain.text(), "for \"\"");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_protocol_of_http_is_never_switched_to_behind_the_edge() {
    let rig = Abused::start().await;
    for (index, upgrade) in [
        "h2c",
        "H2C",
        "h2c, websocket",
        "websocket, h2c",
        "h2",
        "HTTP/2.0",
        "TLS/1.0",
    ]
    .into_iter()
    .enumerate()
    {
        let upgrade = format!("Upgrade: {upgrade}");
        let lines = [
            "Connection: close, Upgrade, HTTP2-Settings",
            "HTTP2-Settings: AAMAAABkAAQAAP__",
            upgrade.as_str(),
        ];
        // Nothing of it is stored yet.
        let answer = rig.get(&format!("/{index}"), &lines).await;
        assert_eq!(answer.word(), "200", "{upgrade}: {answer:?}");
        let asked = rig.origin.take();
        assert_eq!(asked.len(), 1, "{upgrade}: {asked:?}");
        for name in ["upgrade", "http2-settings", "connection"] {
            assert!(asked[0].all(name).is_empty(), "{upgrade}: {asked:?}");
        }
    }
    rig.still_serves().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_in_a_url_becomes_a_line_of_a_head() {
    let rig = Abused::start().await;
    for (target, asked_for) in [
        ("/%0d%0aSet-Cookie:%20a=b", Some("/%0D%0ASet-Cookie:%20a=b")),
        (
            "/x?a=%0d%0aSet-Cookie:%20a=b%0d%0a%0d%0aHTTP/1.1%20200%20OK",
            Some("/x?a=%0D%0ASet-Cookie:%20a=b%0D%0A%0D%0AHTTP/1.1%20200%20OK"),
        ),
        (
            "/%E5%98%8A%E5%98%8DSet-Cookie:%20a=b",
            Some("/%E5%98%8A%E5%98%8DSet-Cookie:%20a=b"),
        ),
        ("/a%00b", Some("/a%00b")),
        ("/_tidegate/%0d%0aX:%20y", None),
    ] {
        let answer = rig.get(target, &[]).await;
        assert!(answer.all("set-cookie").is_empty(), "{target}: {answer:?}");
        let lines: Vec<_> = asked_for
            .map(|url| format!("GET {url} HTTP/1.1"))
            .into_iter()
            .collect();
        let asked = rig.origin.take();
        let asked_lines: Vec<_> = asked.iter().map(|one| one.line.clone()).collect();
        assert_eq!(asked_lines, lines, "{target}");
        for asked in asked {
            assert!(asked.all("set-cookie").is_empty(), "{target}: {asked:?}");
        }
        let status = if asked_for.is_some() { "200" } else { "404" };
        assert_eq!(answer.word(), status, "{target}: {answer:?}");
    }
    rig.still_serves().await;
}
