//! Servers that let one wait: each limit, and what its error says.

use http_body::Frame;
use http_body_util::StreamBody;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;

use super::*;

/// Reads everything and says nothing.
async fn silent(mut stream: impl Duplex) {
    let mut bytes = [0; 1024];
    while stream.read(&mut bytes).await.is_ok_and(|read| read > 0) {}
}

#[tokio::test]
async fn one_that_says_nothing_is_given_up() {
    let (address, connections) = server(|_, stream| silent(stream)).await;
    let config = json!({
        "upstreams": [{ "url": format!("http://{address}") }],
        "first_byte_timeout": "20ms",
    });
    let error = send(&origin(config, Dialer::Tcp), get())
        .await
        .err()
        .unwrap();
    let said = format!("no response from http://{address} within first_byte_timeout");
    assert_eq!(error.to_string(), said);
    assert_eq!(connections.get(), 1, "it is not asked again");
}

#[tokio::test(start_paused = true)]
async fn one_that_takes_no_connection_is_given_up() {
    let memory = Arc::new(Memory::default());
    let config = json!({ "upstreams": [{ "url": format!("http://{BLACK_HOLE}") }] });
    let error = send(&origin(config, memory.dialer()), get())
        .await
        .err()
        .unwrap();
    let said = format!("no connection to http://{BLACK_HOLE}:80 within connect_timeout");
    assert_eq!(error.to_string(), said);
}

#[tokio::test(start_paused = true)]
async fn one_that_takes_no_body_is_given_up() {
    let memory = Arc::new(Memory::default());
    memory.set("a", |_, stream| async move {
        let _stream = stream;
        std::future::pending::<()>().await;
    });
    let origin = origin(
        json!({ "upstreams": [{ "url": "http://a" }] }),
        memory.dialer(),
    );
    let piece = || Ok::<_, io::Error>(Frame::data(Bytes::from_static(&[0; 1 << 16])));
    let pieces = futures_util::stream::iter((0..100).map(move |_| piece()));
    let body = RequestBody::new(StreamBody::new(pieces), BodyLimits::default());
    let error = send(&origin, request(Method::POST, body)).await.err();
    assert_eq!(
        error,
        Some(OriginError::FirstByteTimeout("http://a:80".into()))
    );
}

#[tokio::test(start_paused = true)]
async fn one_that_sends_a_byte_a_second_is_read_to_the_end_and_one_that_stops_is_not() {
    let memory = Arc::new(Memory::default());
    for (name, bytes) in [("slow", 100), ("stops", 50)] {
        memory.set(name, move |_, mut stream| async move {
            head(&mut stream).await;
            let begin = b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n";
            stream.write_all(begin).await.unwrap();
            for _ in 0..bytes {
                tokio::time::sleep(Duration::from_secs(1)).await;
                stream.write_all(b"x").await.unwrap();
            }
            std::future::pending::<()>().await;
        });
    }
    for (name, is_whole) in [("slow", true), ("stops", false)] {
        let config = json!({
            "upstreams": [{ "url": format!("http://{name}") }],
            "between_bytes_timeout": "2s",
        });
        let origin = origin(config, memory.dialer());
        let body = send(&origin, get()).await.unwrap().into_body();
        match patiently(body.collect()).await {
            Ok(_) => assert!(is_whole, "{name}"),
            Err(error) => {
                let said = error.to_string();
                assert!(!is_whole, "{said}");
                assert!(said.contains("http://stops:80"), "{said}");
                assert!(said.contains("between_bytes_timeout"), "{said}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_says_a_little_or_nothing_again_and_again_is_given_up() {
    let memory = Arc::new(Memory::default());
    memory.set("reads", |_, stream| silent(stream));
    let config = json!({ "upstreams": [{ "url": "http://reads" }], "first_byte_timeout": "10m" });
    let origin = origin(config, memory.dialer());
    let silence = BodyLimits::default().silence;
    // What comes each second, and after how many seconds that is too little.
    for (bytes, after) in [(0, Some(30)), (1, Some(30)), (512, Some(59)), (1_100, None)] {
        let began = Instant::now();
        let (sender, receiver) = mpsc::channel::<io::Result<Frame<Bytes>>>(1);
        let sending = tokio::spawn(async move {
            loop {
                tokio::time::sleep(Duration::from_secs(1)).await;
                let piece = Frame::data(vec![b'x'; bytes].into());
                let is_long_enough = began.elapsed() > 10 * silence;
                if is_long_enough || sender.send(Ok(piece)).await.is_err() {
                    return;
                }
            }
        });
        let stream = StreamBody::new(ReceiverStream::new(receiver));
        let body = RequestBody::new(stream, BodyLimits::default());
        let sent = tokio::time::timeout(20 * silence, origin.send(request(Method::POST, body)));
        let error = sent.await.ok().map(|answer| answer.err());
        match after {
            Some(seconds) => {
                assert_eq!(error, Some(Some(OriginError::RequestSilent)), "{bytes}");
                assert_eq!(began.elapsed().as_secs(), seconds, "{bytes}");
            }
            None => assert_eq!(error, None, "{bytes}: the origin does not answer"),
        }
        sending.await.unwrap();
    }
}

/// Who waits for the origin is not slow.
#[tokio::test(start_paused = true)]
async fn the_time_of_an_origin_that_reads_slowly_is_not_the_client_s() {
    let memory = Arc::new(Memory::default());
    memory.set("slow", |_, mut stream| async move {
        head(&mut stream).await;
        // More than is on its way at a time, and less than a client would have to send.
        for _ in 0..2_000 {
            tokio::time::sleep(Duration::from_millis(50)).await;
            stream.read_exact(&mut [0; 10]).await.unwrap();
        }
        stream.write_all(OK).await.unwrap();
        silent(stream).await;
    });
    let config = json!({ "upstreams": [{ "url": "http://slow" }], "first_byte_timeout": "10m" });
    let origin = origin(config, memory.dialer());
    let piece = || Ok::<_, io::Error>(Frame::data(Bytes::from_static(&[0; 1 << 10])));
    let pieces = futures_util::stream::iter((0..20).map(move |_| piece()));
    let body = RequestBody::new(StreamBody::new(pieces), BodyLimits::default());
    let answer = text(&origin, request(Method::POST, body)).await;
    assert_eq!(answer.unwrap(), "ok");
}

#[tokio::test]
async fn a_client_that_breaks_a_limit_of_its_body_loses_its_place() {
    let (address, _) = server(|_, stream| silent(stream)).await;
    let config = json!({
        "upstreams": [{ "url": format!("http://{address}") }],
        "max_in_flight": 1,
    });
    let origin = origin(config, Dialer::Tcp);
    let limits = BodyLimits {
        max_bytes: 8,
        silence: Duration::from_millis(20),
    };
    for (pieces, expected) in [
        (1, OriginError::RequestSilent),
        (3, OriginError::RequestTooLarge(8)),
    ] {
        // A sender that stays keeps the body open.
        let (sender, receiver) = mpsc::channel::<io::Result<Frame<Bytes>>>(4);
        for _ in 0..pieces {
            let piece = Frame::data(Bytes::from_static(b"abcd"));
            sender.try_send(Ok(piece)).unwrap();
        }
        let stream = ReceiverStream::new(receiver);
        let body = RequestBody::new(StreamBody::new(stream), limits);
        let error = send(&origin, request(Method::POST, body)).await.err();
        assert_eq!(error, Some(expected));
        assert_eq!(origin.places.available_permits(), 1);
    }
    let announced = Full::new(Bytes::from_static(b"123456789"));
    let body = RequestBody::new(announced, limits);
    let error = send(&origin, request(Method::POST, body)).await.err();
    assert_eq!(error, Some(OriginError::RequestTooLarge(8)));
}
