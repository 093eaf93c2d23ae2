//! Upstreams that speak HTTP/2.

use http_body_util::StreamBody;
use hyper::body::Frame;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::sync::{Barrier, Semaphore};

use super::*;
use crate::origin::BoxError;

/// What a test does with one request.
type Respond = h2::server::SendResponse<Bytes>;

fn answer(respond: &mut Respond, request: &http::Request<h2::RecvStream>) {
    let authority = request.uri().authority().unwrap().to_string();
    assert_eq!(authority, "www.example.com");
    assert!(!request.headers().contains_key(HOST));
    let mut body = respond.send_response(Response::new(()), false).unwrap();
    body.send_data(Bytes::from_static(b"two"), true).unwrap();
}

/// Serves a connection of HTTP/2; `each` gets the requests with their number.
pub(super) async fn serve_http2<S: Duplex + 'static>(
    stream: S,
    most: u32,
    mut each: impl FnMut(usize, http::Request<h2::RecvStream>, Respond),
) {
    let mut builder = h2::server::Builder::new();
    builder.max_concurrent_streams(most);
    let Ok(mut connection) = builder.handshake(stream).await else {
        return;
    };
    let mut index = 0;
    while let Some(Ok((request, respond))) = connection.accept().await {
        each(index, request, respond);
        index += 1;
    }
}

fn prior_knowledge(address: SocketAddr) -> Value {
    json!({ "upstreams": [{ "url": format!("http://{address}"), "protocol": "http2" }] })
}

#[tokio::test]
async fn many_requests_share_one_connection() {
    let all = Arc::new(Barrier::new(20));
    let (address, connections) = server(move |_, stream| {
        let all = all.clone();
        serve_http2(stream, 100, move |_, request, mut respond| {
            let all = all.clone();
            tokio::spawn(async move {
                // Nobody is answered before all are here.
                all.wait().await;
                answer(&mut respond, &request);
            });
        })
    })
    .await;
    let origin = origin(prior_knowledge(address), Dialer::Tcp);
    let asked = (0..20).map(|_| text(&origin, get()));
    let texts = futures_util::future::join_all(asked).await;
    assert!(texts.into_iter().all(|text| text.unwrap() == "two"));
    assert_eq!(connections.get(), 1);
}

#[tokio::test]
async fn no_connection_carries_more_requests_than_the_upstream_allows() {
    let most = Arc::new(Mutex::new((0, 0)));
    let seen = most.clone();
    let go_on = Arc::new(Semaphore::new(0));
    let answering = go_on.clone();
    let (address, connections) = server(move |_, stream| {
        let (seen, answering) = (seen.clone(), answering.clone());
        let here = Arc::new(Mutex::new(0));
        serve_http2(stream, 2, move |_, request, mut respond| {
            let (seen, here, answering) = (seen.clone(), here.clone(), answering.clone());
            *here.lock() += 1;
            let mut seen = seen.lock();
            *seen = (seen.0.max(*here.lock()), seen.1 + 1);
            tokio::spawn(async move {
                let _turn = answering.acquire().await.unwrap();
                *here.lock() -= 1;
                answer(&mut respond, &request);
            });
        })
    })
    .await;
    let origin = origin(prior_knowledge(address), Dialer::Tcp);
    let asked = (0..12).map(|_| text(&origin, get()));
    let asking = futures_util::future::join_all(asked);
    let letting = async {
        while most.lock().1 < 2 {
            tokio::task::yield_now().await;
        }
        go_on.add_permits(1);
    };
    let (texts, ()) = patiently(async { tokio::join!(asking, letting) }).await;
    assert!(texts.into_iter().all(|text| text.unwrap() == "two"));
    assert_eq!(most.lock().0, 2);
    assert_eq!(connections.get(), 1, "the others waited for their turn");
}

#[tokio::test]
async fn after_a_goaway_what_is_safe_is_asked_on_another_connection() {
    for (again, expected) in [(get(), Ok(2)), (post(), Err(1))] {
        let (address, connections) = server(|index, stream| async move {
            let mut connection = h2::server::handshake(stream).await.unwrap();
            let mut count = 0;
            while let Some(Ok((request, mut respond))) = connection.accept().await {
                count += 1;
                if index == 0 && count == 2 {
                    connection.abrupt_shutdown(h2::Reason::NO_ERROR);
                } else {
                    answer(&mut respond, &request);
                }
            }
        })
        .await;
        let origin = origin(prior_knowledge(address), Dialer::Tcp);
        assert_eq!(text(&origin, get()).await.unwrap(), "two");
        match (text(&origin, again).await, expected) {
            (Ok(text), Ok(count)) => assert_eq!((text.as_str(), connections.get()), ("two", count)),
            (Err(OriginError::Broken { .. }), Err(count)) => assert_eq!(connections.get(), count),
            (got, _) => panic!("{got:?}"),
        }
        assert_eq!(text(&origin, get()).await.unwrap(), "two");
        assert_eq!(connections.get(), 2, "nothing more is sent on the first");
    }
}

#[tokio::test]
async fn what_was_refused_unseen_is_asked_again_a_bounded_number_of_times() {
    for (refusals, is_answered) in [(2, true), (usize::MAX, false)] {
        let asked = Count::default();
        let counted = asked.clone();
        let (address, connections) = server(move |_, stream| {
            let counted = counted.clone();
            serve_http2(stream, 100, move |_, request, mut respond| {
                match counted.next() < refusals {
                    true => respond.send_reset(h2::Reason::REFUSED_STREAM),
                    false => answer(&mut respond, &request),
                }
            })
        })
        .await;
        let origin = origin(prior_knowledge(address), Dialer::Tcp);
        assert_eq!(text(&origin, get()).await.is_ok(), is_answered);
        assert_eq!((asked.get(), connections.get()), (3, 1));
    }
}

#[tokio::test(start_paused = true)]
async fn a_health_check_asks_on_a_connection_of_its_own() {
    // That the one of the visitors lives says nothing about whether the next would.
    let memory = Arc::new(Memory::default());
    let paths = Arc::new(Mutex::new(Vec::new()));
    let seen = paths.clone();
    memory.set("a", move |index, stream| {
        let seen = seen.clone();
        serve_http2(stream, 100, move |_, request, mut respond| {
            seen.lock().push((index, request.uri().path().to_owned()));
            answer(&mut respond, &request);
        })
    });
    let config = json!({
        "upstreams": [{ "url": "http://a", "protocol": "http2" }],
        "host_header": "www.example.com",
        "health_check": { "path": "/healthz", "interval": "10s" },
    });
    let origin = origin(config, memory.dialer());
    assert_eq!(text(&origin, get()).await.unwrap(), "two");
    tokio::time::sleep(Duration::from_secs(25)).await;
    assert_eq!(text(&origin, get()).await.unwrap(), "two");
    let paths = paths.lock();
    let on = |wanted: &str| -> Vec<usize> {
        let these = paths.iter().filter(|(_, path)| path == wanted);
        these.map(|(index, _)| *index).collect()
    };
    assert_eq!(on("/a"), [0, 0], "visitors share one");
    let checks = on("/healthz");
    assert!(checks.len() >= 2, "{checks:?}");
    assert!(!checks.contains(&0), "{checks:?}");
    assert!(checks.windows(2).all(|two| two[0] != two[1]), "{checks:?}");
}

/// A server over TLS that can do these, and says which was chosen.
async fn over_tls(protocols: &[&[u8]]) -> (SocketAddr, Count) {
    over_tls_after(protocols, |_| std::future::ready(())).await
}

/// The same, whose connections begin after this.
async fn over_tls_after<F>(
    protocols: &[&[u8]],
    before: impl Fn(usize) -> F + Send + 'static,
) -> (SocketAddr, Count)
where
    F: Future<Output = ()> + Send + 'static,
{
    let certificate = CertificateDer::from_pem_slice(include_bytes!("tls/cert.pem")).unwrap();
    let key = PrivateKeyDer::from_pem_slice(include_bytes!("tls/key.pem")).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    server(move |index, stream| {
        let (acceptor, before) = (acceptor.clone(), before(index));
        async move {
            before.await;
            let Ok(stream) = acceptor.accept(stream).await else {
                return;
            };
            if stream.get_ref().1.alpn_protocol() == Some(b"h2".as_slice()) {
                let each = |_, request, mut respond| answer(&mut respond, &request);
                serve_http2(stream, 100, each).await;
            } else {
                answer_all(stream, OK).await;
            }
        }
    })
    .await
}

fn secure(address: SocketAddr, protocol: &str) -> Origin {
    let upstream = json!({
        "url": format!("https://{address}"),
        "ca_pem": include_str!("tls/ca.pem"),
        "sni": "origin.example",
        "protocol": protocol,
    });
    origin(json!({ "upstreams": [upstream] }), Dialer::Tcp)
}

#[tokio::test]
async fn over_tls_the_handshake_decides_unless_the_site_does() {
    let (both, old): (&[&[u8]], &[&[u8]]) = (&[b"h2", b"http/1.1"], &[b"http/1.1"]);
    let cases = [
        (both, "auto", Some("two")),
        (both, "http1", Some("ok")),
        (both, "http2", Some("two")),
        (old, "auto", Some("ok")),
        (old, "http2", None),
    ];
    for (spoken, protocol, expected) in cases {
        let (address, connections) = over_tls(spoken).await;
        let origin = secure(address, protocol);
        for _ in 0..2 {
            match (text(&origin, get()).await, expected) {
                (Ok(text), Some(expected)) => assert_eq!(text, expected, "{protocol}"),
                (Err(OriginError::Connect { .. }), None) => {}
                (got, _) => panic!("{protocol}: {got:?}"),
            }
        }
        let expected = if expected.is_some() { 1 } else { 2 };
        assert_eq!(connections.get(), expected, "{protocol}");
    }
}

#[tokio::test]
async fn once_it_speaks_no_http_2_connections_are_made_side_by_side() {
    // All but the first begin once all of them are there.
    let all = Arc::new(Barrier::new(4));
    let (address, connections) = over_tls_after(&[b"http/1.1"], move |index| {
        let all = all.clone();
        async move {
            if index > 0 {
                all.wait().await;
            }
        }
    })
    .await;
    let origin = secure(address, "auto");
    let asked = (0..5).map(|_| send(&origin, get()));
    let answers = patiently(futures_util::future::join_all(asked)).await;
    let errors: Vec<_> = answers
        .iter()
        .filter_map(|got| got.as_ref().err())
        .collect();
    assert_eq!(errors, Vec::<&OriginError>::new());
    assert_eq!(connections.get(), 5);
}

#[tokio::test]
async fn a_switch_to_another_protocol_is_asked_for_in_http_1() {
    let (address, _) = over_tls(&[b"h2", b"http/1.1"]).await;
    let origin = secure(address, "auto");
    assert_eq!(text(&origin, get()).await.unwrap(), "two");
    let mut upgrade = get();
    upgrade
        .fields
        .insert("upgrade", HeaderValue::from_static("websocket"));
    upgrade
        .fields
        .insert("connection", HeaderValue::from_static("upgrade"));
    assert_eq!(text(&origin, upgrade).await.unwrap(), "ok");
}

#[tokio::test]
async fn a_body_that_was_reset_before_its_end_is_broken_and_one_after_it_whole() {
    for (is_ended, reason) in [
        (false, h2::Reason::NO_ERROR),
        (false, h2::Reason::CANCEL),
        // It needs no more of the request: RFC 9113, section 8.1.
        (true, h2::Reason::NO_ERROR),
    ] {
        let (address, _) = server(move |_, stream| {
            serve_http2(stream, 100, move |_, request, mut respond| {
                let mut body = respond.send_response(Response::new(()), false).unwrap();
                body.send_data(Bytes::from_static(b"two"), is_ended)
                    .unwrap();
                tokio::spawn(async move {
                    let _request = request;
                    // What was written is on its way by then.
                    tokio::task::yield_now().await;
                    body.send_reset(reason);
                });
            })
        })
        .await;
        let origin = origin(prior_knowledge(address), Dialer::Tcp);
        let (sender, pieces) = tokio::sync::mpsc::channel::<Result<Frame<Bytes>, BoxError>>(1);
        let pieces = tokio_stream::wrappers::ReceiverStream::new(pieces);
        let endless = RequestBody::new(StreamBody::new(pieces), BodyLimits::default());
        let response = send(&origin, request(Method::POST, endless)).await.unwrap();
        let body = patiently(response.into_body().collect()).await;
        match is_ended {
            true => assert_eq!(body.unwrap().to_bytes(), "two"),
            false => assert!(body.is_err(), "{reason}"),
        }
        drop(sender);
    }
}
