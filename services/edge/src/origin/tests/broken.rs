//! Servers that break connections, and what is safe to repeat.

use http_body::Frame;
use http_body_util::StreamBody;
use std::sync::atomic::AtomicBool;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::*;

#[tokio::test]
async fn one_that_closes_at_once_is_an_error_that_names_it() {
    let (address, connections) = server(|_, stream| async move { drop(stream) }).await;
    let origin = origin(
        json!({ "upstreams": [{ "url": format!("http://{address}") }] }),
        Dialer::Tcp,
    );
    let error = send(&origin, get()).await.err().unwrap();
    assert!(matches!(error, OriginError::Broken { .. }), "{error}");
    assert!(error.to_string().contains(&address.to_string()), "{error}");
    // Where nothing could be sent it may be sent again, but not for ever.
    assert!((1..=3).contains(&connections.get()));
}

#[tokio::test]
async fn what_is_no_head_is_an_error() {
    let (address, connections) = server(|_, mut stream| async move {
        head(&mut stream).await;
        let _ = stream.write_all(b"nonsense\r\n\r\n").await;
    })
    .await;
    let origin = origin(
        json!({ "upstreams": [{ "url": format!("http://{address}") }] }),
        Dialer::Tcp,
    );
    let error = send(&origin, get()).await.err().unwrap();
    assert!(matches!(error, OriginError::Broken { .. }), "{error}");
    assert_eq!(connections.get(), 1, "it may have had an effect");
}

#[tokio::test]
async fn one_that_breaks_after_the_head_breaks_the_body() {
    let (address, _) = server(|_, mut stream| async move {
        head(&mut stream).await;
        let half = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nha";
        stream.write_all(half).await.unwrap();
    })
    .await;
    let origin = origin(
        json!({ "upstreams": [{ "url": format!("http://{address}") }] }),
        Dialer::Tcp,
    );
    let response = send(&origin, get()).await.unwrap();
    assert!(patiently(response.into_body().collect()).await.is_err());
}

/// Answers the first request of a connection, and closes at the second.
async fn once(mut stream: impl Duplex) {
    if head(&mut stream).await && stream.write_all(OK).await.is_ok() {
        head(&mut stream).await;
    }
}

#[tokio::test]
async fn what_is_safe_is_repeated_on_a_fresh_connection_even_if_all_that_lie_idle_are_dead() {
    let (address, connections) = server(|_, stream| once(stream)).await;
    let origin = origin(
        json!({ "upstreams": [{ "url": format!("http://{address}") }] }),
        Dialer::Tcp,
    );
    let three = futures_util::future::join_all((0..3).map(|_| send(&origin, get()))).await;
    assert_eq!(connections.get(), 3);
    for response in three {
        patiently(response.unwrap().into_body().collect())
            .await
            .unwrap();
    }
    while origin.choice.upstreams[0].pool.len() < 3 {
        tokio::task::yield_now().await;
    }
    assert_eq!(text(&origin, get()).await.unwrap(), "ok");
    assert_eq!(connections.get(), 4, "one was enough");
}

#[tokio::test]
async fn what_may_have_had_an_effect_is_not_repeated() {
    let (address, connections) = server(|_, stream| once(stream)).await;
    let origin = origin(
        json!({ "upstreams": [{ "url": format!("http://{address}") }] }),
        Dialer::Tcp,
    );
    assert_eq!(text(&origin, get()).await.unwrap(), "ok");
    while origin.choice.upstreams[0].pool.len() < 1 {
        tokio::task::yield_now().await;
    }
    let error = send(&origin, post()).await.err().unwrap();
    assert!(matches!(error, OriginError::Broken { .. }), "{error}");
    assert_eq!(connections.get(), 1);
}

#[tokio::test(start_paused = true)]
async fn where_no_connection_is_made_another_upstream_is_asked_bodies_included() {
    let memory = Arc::new(Memory::default());
    memory.set("good", |_, stream| answer_all(stream, OK));
    let config = json!({
        "upstreams": [{ "url": "http://bad" }, { "url": "http://good" }],
        "breaker": { "failures": 1000 },
    });
    let origin = origin(config, memory.dialer());
    for _ in 0..8 {
        assert_eq!(text(&origin, get()).await.unwrap(), "ok");
        assert_eq!(text(&origin, post()).await.unwrap(), "ok");
    }
    assert!(memory.dialed.lock().iter().any(|name| name == "bad"));
    memory.remove("good");
    // What lies idle is still good; the pool is left alone by a new origin.
    let origin = self::origin(
        json!({ "upstreams": [{ "url": "http://bad" }, { "url": "http://worse" }] }),
        memory.dialer(),
    );
    let error = send(&origin, post()).await.err().unwrap();
    assert!(matches!(error, OriginError::Connect { .. }), "{error}");
}

#[tokio::test(start_paused = true)]
async fn one_that_fails_is_left_alone_and_one_request_finds_out_how_it_is() {
    let memory = Arc::new(Memory::default());
    let config = json!({
        "upstreams": [{ "url": "http://a" }],
        "breaker": { "failures": 3, "pause": "1s", "max_pause": "4s" },
    });
    let origin = origin(config, memory.dialer());
    for _ in 0..3 {
        let error = send(&origin, get()).await.err().unwrap();
        assert!(matches!(error, OriginError::Connect { .. }), "{error}");
    }
    for _ in 0..3 {
        assert_eq!(
            send(&origin, get()).await.err(),
            Some(OriginError::Unavailable)
        );
    }
    assert_eq!((memory.dialed(), origin.stats().left_alone), (3, 1));
    assert!(
        OriginError::Unavailable.is_unreachable(),
        "stale copies may be used"
    );

    tokio::time::advance(Duration::from_secs(1)).await;
    assert!(matches!(
        send(&origin, get()).await.err(),
        Some(OriginError::Connect { .. })
    ));
    assert_eq!(
        send(&origin, get()).await.err(),
        Some(OriginError::Unavailable)
    );
    assert_eq!(memory.dialed(), 4);

    memory.set("a", |_, stream| answer_all(stream, OK));
    tokio::time::advance(Duration::from_secs(2)).await;
    assert_eq!(text(&origin, get()).await.unwrap(), "ok");
    assert_eq!(origin.stats().left_alone, 0);
}

#[tokio::test(start_paused = true)]
async fn errors_of_the_server_count_as_failures_if_the_site_says_so() {
    let memory = Arc::new(Memory::default());
    let failing = b"HTTP/1.1 500 Oh\r\ncontent-length: 2\r\n\r\nno";
    memory.set("a", move |_, stream| answer_all(stream, failing));
    for (count_5xx, left_alone) in [(false, 0), (true, 1)] {
        let config = json!({
            "upstreams": [{ "url": "http://a" }],
            "breaker": { "failures": 2, "count_5xx": count_5xx },
        });
        let origin = origin(config, memory.dialer());
        for _ in 0..2 {
            assert_eq!(text(&origin, get()).await.unwrap(), "no");
        }
        assert_eq!(origin.stats().left_alone, left_alone);
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_leaves_or_breaks_its_body_is_no_failure() {
    let memory = Arc::new(Memory::default());
    memory.set("a", |_, stream| async move {
        let mut stream = stream;
        let mut bytes = [0; 64];
        while stream.read(&mut bytes).await.is_ok_and(|read| read > 0) {}
    });
    let config = json!({
        "upstreams": [{ "url": "http://a" }],
        "breaker": { "failures": 1 },
    });
    let origin = origin(config, memory.dialer());
    let left = tokio::time::timeout(Duration::from_millis(1), origin.send(get())).await;
    assert!(left.is_err());
    let limits = BodyLimits {
        silence: Duration::from_millis(1),
        ..BodyLimits::default()
    };
    let (_open, receiver) = mpsc::channel::<io::Result<Frame<Bytes>>>(1);
    let body = RequestBody::new(StreamBody::new(ReceiverStream::new(receiver)), limits);
    let error = send(&origin, request(Method::POST, body)).await.err();
    assert_eq!(error, Some(OriginError::RequestSilent));
    assert_eq!(origin.stats().left_alone, 0);
}

#[tokio::test(start_paused = true)]
async fn health_checks_leave_an_upstream_alone_and_end_with_the_origin() {
    let memory = Arc::new(Memory::default());
    let asked = Count::default();
    let is_well = Arc::new(AtomicBool::new(false));
    let (counted, well) = (asked.clone(), is_well.clone());
    memory.set("a", move |_, mut stream| {
        let (counted, well) = (counted.clone(), well.clone());
        async move {
            while head(&mut stream).await {
                counted.next();
                let answer = match well.load(Ordering::SeqCst) {
                    true => OK,
                    false => b"HTTP/1.1 503 No\r\ncontent-length: 0\r\n\r\n",
                };
                if stream.write_all(answer).await.is_err() {
                    return;
                }
            }
        }
    });
    let config = json!({
        "upstreams": [{ "url": "http://a" }],
        "health_check": { "path": "/healthz", "interval": "1s", "max_status": 299 },
    });
    let origin = origin(config, memory.dialer());
    let until = async |left_alone| {
        while origin.stats().left_alone != left_alone {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    patiently(until(1)).await;
    assert_eq!(asked.get(), 3);
    assert_eq!(
        send(&origin, get()).await.err(),
        Some(OriginError::Unavailable)
    );
    is_well.store(true, Ordering::SeqCst);
    patiently(until(0)).await;
    assert_eq!(text(&origin, get()).await.unwrap(), "ok");
    drop(origin);
    tokio::time::sleep(Duration::from_secs(5)).await;
    let then = asked.get();
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(asked.get(), then, "nobody asks any more");
}
