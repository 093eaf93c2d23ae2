//! Servers that break connections, and what is safe to repeat.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_connection_is_not_used_when_the_upstream_is_about_to_close_it() {
    for (said, idle, dialed) in [
        ("timeout=5", 3, 1),
        ("timeout=5", 4, 2),
        ("max=9, Timeout = 2", 1, 2),
        ("timeout=x", 30, 1),
        ("timeout=600", 56, 2),
    ] {
        let memory = Arc::new(Memory::default());
        let answer =
            format!("HTTP/1.1 200 OK\r\nkeep-alive: {said}\r\ncontent-length: 2\r\n\r\nok");
        memory.set("a", move |_, stream| {
            let answer = answer.clone();
            async move { answer_all(stream, answer.as_bytes()).await }
        });
        let config = json!({ "upstreams": [{ "url": "http://a" }] });
        let origin = origin(config, memory.dialer());
        assert_eq!(text(&origin, get()).await.unwrap(), "ok");
        // It is given back by a task of its own.
        while origin.choice.upstreams[0].pool.len() == 0 {
            tokio::task::yield_now().await;
        }
        tokio::time::advance(Duration::from_secs(idle)).await;
        assert_eq!(text(&origin, post()).await.unwrap(), "ok");
        assert_eq!(memory.dialed(), dialed, "{said} after {idle} s");
    }
}

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
async fn a_switch_to_a_protocol_that_was_not_asked_for_is_an_error() {
    // RFC 9110, section 15.2.2: it is about the connection, and nobody's answer.
    let (address, _) = server(|_, mut stream| async move {
        head(&mut stream).await;
        let switched =
            b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\nx";
        let _ = stream.write_all(switched).await;
    })
    .await;
    let origin = origin(
        json!({ "upstreams": [{ "url": format!("http://{address}") }] }),
        Dialer::Tcp,
    );
    let error = send(&origin, get()).await.err().unwrap();
    assert!(error.to_string().contains("not asked for"), "{error}");
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
