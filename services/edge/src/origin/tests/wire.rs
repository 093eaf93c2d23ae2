//! What an origin gets on the wire, and behind which responses a connection is used again.

use futures_util::stream;
use http::header::CONTENT_LENGTH;
use http_body_util::StreamBody;
use hyper::body::Frame;

use super::http2::serve_http2;
use super::*;

/// What an upstream was asked: the heads, in small letters, and the bodies as they came.
type Asked = Arc<Mutex<Vec<(String, String)>>>;

/// Reads one request; `None` if there is no more.
async fn asked(stream: &mut (impl AsyncRead + Unpin)) -> Option<(String, String)> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        head.push(char::from(stream.read_u8().await.ok()?));
    }
    let head = head.to_ascii_lowercase();
    let mut body = String::new();
    let length = lines(&head, "content-length").first().map(|n| n.parse());
    let is_whole = |body: &str| match &length {
        Some(length) => Ok(body.len()) == *length,
        None if head.contains("transfer-encoding: chunked") => body.ends_with("0\r\n\r\n"),
        None => true,
    };
    while !is_whole(&body) {
        body.push(char::from(stream.read_u8().await.ok()?));
    }
    Some((head, body))
}

/// The values of a field in a head.
fn lines<'a>(head: &'a str, name: &str) -> Vec<&'a str> {
    let fields = head.lines().filter_map(|line| line.split_once(": "));
    let named = fields.filter(|(field, _)| *field == name);
    named.map(|(_, value)| value).collect()
}

/// An upstream in memory that answers each request with this, and notes what it was asked.
fn noting(answer: &'static str) -> (Arc<Memory>, Origin, Asked) {
    let (memory, all) = (Arc::new(Memory::default()), Asked::default());
    let notes = all.clone();
    memory.set("a", move |_, mut stream| {
        let notes = notes.clone();
        async move {
            while let Some(one) = asked(&mut stream).await {
                notes.lock().push(one);
                if stream.write_all(answer.as_bytes()).await.is_err() {
                    return;
                }
            }
        }
    });
    let config = json!({ "upstreams": [{ "url": "http://a" }] });
    let origin = origin(config, memory.dialer());
    (memory, origin, all)
}

/// A POST whose length nobody knows.
fn streamed() -> OriginRequest {
    let frames = [Ok::<_, std::convert::Infallible>(Frame::data("x".into()))];
    let body = StreamBody::new(stream::iter(frames));
    request(Method::POST, RequestBody::new(body, BodyLimits::default()))
}

/// Lets all that is on its way arrive: time goes on only when nobody has anything to do.
async fn settle() {
    tokio::time::sleep(Duration::from_millis(1)).await;
}

#[tokio::test(start_paused = true)]
async fn a_body_of_unknown_length_reaches_an_origin_of_the_first_version_each_time() {
    for (answer, connections) in [
        (
            "HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ncontent-length: 2\r\n\r\nok",
            2,
        ),
        ("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok", 1),
    ] {
        let (memory, origin, all) = noting(answer);
        for _ in 0..2 {
            assert_eq!(text(&origin, streamed()).await.unwrap(), "ok");
            settle().await;
        }
        let all = all.lock();
        for (head, body) in all.iter() {
            assert!(head.starts_with("post /a?b http/1.1\r\n"), "{head}");
            assert_eq!(body, "1\r\nx\r\n0\r\n\r\n", "{head}");
        }
        assert_eq!((all.len(), memory.dialed()), (2, connections), "{answer}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_is_not_used_at_once_behind_a_head_whose_body_may_still_come() {
    for (method, answer, connections) in [
        (Method::HEAD, "200 OK\r\ncontent-length: 2", 2),
        (Method::HEAD, "200 OK\r\ntransfer-encoding: chunked", 2),
        (Method::HEAD, "200 OK\r\ncontent-length: 0", 1),
        (Method::HEAD, "200 OK\r\nx-field: 1", 1),
        (Method::GET, "304 Not Modified\r\ncontent-length: 2", 2),
        (Method::GET, "304 Not Modified\r\netag: \"a\"", 1),
        (Method::GET, "204 No Content\r\ncontent-length: 2", 2),
        (Method::GET, "204 No Content\r\nx-field: 1", 1),
    ] {
        let answer: &'static str = format!("HTTP/1.1 {answer}\r\n\r\n").leak();
        let (memory, origin, all) = noting(answer);
        for _ in 0..2 {
            let asks = request(method.clone(), RequestBody::empty());
            assert_eq!(text(&origin, asks).await.unwrap(), "");
            settle().await;
        }
        tokio::time::sleep(Duration::from_secs(2)).await;
        let response = send(&origin, request(method.clone(), RequestBody::empty())).await;
        let says_length = response.unwrap().headers().contains_key(CONTENT_LENGTH);
        let may_say = answer.contains("content-length") && !answer.contains("204");
        assert_eq!(says_length, may_say, "{method} {answer}");
        let asked = all.lock().len();
        assert_eq!(
            (asked, memory.dialed()),
            (3, connections),
            "{method} {answer}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn what_comes_late_behind_a_head_answers_no_other_request() {
    let memory = Arc::new(Memory::default());
    memory.set("a", |index, mut stream| async move {
        while asked(&mut stream).await.is_some() {
            let head = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n";
            stream.write_all(head).await.unwrap();
            let body: &[u8] = match index {
                0 => b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nno",
                _ => b"ok",
            };
            tokio::time::sleep(Duration::from_millis(500)).await;
            if stream.write_all(body).await.is_err() {
                return;
            }
        }
    });
    let config = json!({ "upstreams": [{ "url": "http://a" }] });
    let origin = origin(config, memory.dialer());
    let head = request(Method::HEAD, RequestBody::empty());
    assert_eq!(text(&origin, head).await.unwrap(), "");
    for _ in 0..2 {
        assert_eq!(text(&origin, get()).await.unwrap(), "ok");
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
    assert_eq!(memory.dialed(), 2);
}

/// Asks an origin of either version; the lines of `Content-Length` that it got.
async fn lengths(is_http2: bool, asks: OriginRequest) -> Vec<String> {
    if !is_http2 {
        let (_, origin, all) = noting("HTTP/1.1 204 No Content\r\n\r\n");
        send(&origin, asks).await.unwrap();
        let all = all.lock();
        return lines(&all[0].0, "content-length")
            .into_iter()
            .map(str::to_owned)
            .collect();
    }
    let (memory, all) = (Arc::new(Memory::default()), Arc::new(Mutex::default()));
    let notes: Arc<Mutex<Vec<String>>> = all.clone();
    memory.set("a", move |_, stream| {
        let notes = notes.clone();
        serve_http2(stream, 100, move |_, request, mut respond| {
            let lines = request.headers().get_all(CONTENT_LENGTH).iter();
            let lines = lines.map(|line| line.to_str().unwrap().to_owned());
            notes.lock().extend(lines);
            respond.send_response(Response::new(()), true).unwrap();
        })
    });
    let config = json!({ "upstreams": [{ "url": "http://a", "protocol": "http2" }] });
    send(&origin(config, memory.dialer()), asks).await.unwrap();
    std::mem::take(&mut *all.lock())
}

#[tokio::test]
async fn a_request_without_the_body_that_one_may_expect_says_that_it_is_empty() {
    for is_http2 in [false, true] {
        for (method, said, expected) in [
            (Method::POST, None, &["0"][..]),
            (Method::PUT, None, &["0"]),
            (Method::PATCH, Some("0"), &["0"]),
            (Method::DELETE, None, &[]),
            (Method::DELETE, Some("00"), &["0"]),
            // Asked in common with others.
            (Method::GET, Some("0"), &[]),
            (Method::HEAD, Some("0"), &[]),
        ] {
            let mut asks = request(method.clone(), RequestBody::empty());
            if let Some(said) = said {
                let said = HeaderValue::from_static(said);
                asks.fields.insert(CONTENT_LENGTH, said);
            }
            let lines = lengths(is_http2, asks).await;
            assert_eq!(lines, expected, "{method} {said:?}, HTTP/2: {is_http2}");
        }
    }
}

#[tokio::test]
async fn the_length_of_a_body_is_said_once_as_it_is_or_not_at_all() {
    for is_http2 in [false, true] {
        for (mut asks, expected) in [(post(), &["1"][..]), (streamed(), &[])] {
            for spelling in ["1", "01"] {
                let spelling = HeaderValue::from_static(spelling);
                asks.fields.append(CONTENT_LENGTH, spelling);
            }
            let lines = lengths(is_http2, asks).await;
            assert_eq!(lines, expected, "HTTP/2: {is_http2}");
        }
    }
}
