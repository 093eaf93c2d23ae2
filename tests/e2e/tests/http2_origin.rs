//! An origin that speaks HTTP/2 and nothing else.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, SendStream};
use http::Method;
use http_body_util::BodyExt as _;
use parking_lot::Mutex;
use tidegate_e2e::{ControlPlane, Edge, v1, within};
use tokio::net::{TcpListener, TcpStream};

use crate::support::{HOST, put_site, short_margin, site_at};

const TAG: &str = "\"v1\"";

/// What was asked for, and how often.
#[derive(Clone, Default)]
struct Asked {
    of: Arc<Mutex<HashMap<String, usize>>>,
    /// Answered with 304.
    confirmed: Arc<AtomicUsize>,
    connections: Arc<AtomicUsize>,
    /// A body of which a half has left.
    half: Arc<Mutex<Option<SendStream<Bytes>>>>,
}

impl Asked {
    fn count(&self, path: &str) -> usize {
        self.of.lock().get(path).copied().unwrap_or_default()
    }
}

/// Its address, and what it was asked.
async fn start() -> (String, Asked) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let asked = Asked::default();
    let all = asked.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream, all.clone()));
        }
    });
    (base, asked)
}

async fn serve(stream: TcpStream, asked: Asked) {
    // What does not begin as HTTP/2 does ends here.
    let Ok(mut connection) = h2::server::handshake(stream).await else {
        return;
    };
    asked.connections.fetch_add(1, Ordering::SeqCst);
    while let Some(Ok((request, respond))) = connection.accept().await {
        answer(&request, respond, &asked);
    }
}

fn answer<B>(request: &http::Request<B>, mut respond: SendResponse<Bytes>, asked: &Asked) {
    let path = request.uri().path().to_owned();
    let count = {
        let mut all = asked.of.lock();
        let count = all.entry(path.clone()).or_default();
        *count += 1;
        *count
    };
    let known = request.headers().get("if-none-match");
    let is_known = known.is_some_and(|known| known == TAG);
    let head = http::Response::builder()
        .status(if is_known { 304 } else { 200 })
        .header("cache-control", "max-age=600")
        .header("etag", TAG)
        .body(())
        .unwrap();
    if is_known {
        asked.confirmed.fetch_add(1, Ordering::SeqCst);
    }
    let mut body = respond.send_response(head, is_known).unwrap();
    match (&*path, count) {
        _ if is_known => {}
        ("/broken", 1) => {
            body.send_data("half".into(), false).unwrap();
            *asked.half.lock() = Some(body);
        }
        _ => body.send_data("whole".into(), true).unwrap(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_over_http2_is_stored_confirmed_and_never_half() {
    let (base, asked) = start().await;
    let control = ControlPlane::start().await;
    let mut config = site_at(&base);
    let origin = config.origin.as_mut().unwrap();
    origin.upstreams[0].protocol = v1::UpstreamProtocol::Http2.into();
    put_site(control.calls(), config).await;
    let edge = Edge::start_with(control.calls(), "edge-a", short_margin).await;
    control.calls().settled(1).await;
    let http = edge.http(HOST);

    let miss = http.get("/a").await;
    assert_eq!((miss.status.as_u16(), &*miss.text()), (200, "whole"));
    assert!(miss.field("cache-status").contains("fwd=uri-miss"));
    let hit = http.get("/a").await;
    assert_eq!((hit.status.as_u16(), &*hit.text()), (200, "whole"));
    assert_eq!(hit.field("cache-status"), "tidegate; hit");
    let known = http.get_with("/a", &[("if-none-match", TAG)]).await;
    assert_eq!((known.status.as_u16(), asked.count("/a")), (304, 1));

    let reload = http.get_with("/a", &[("cache-control", "no-cache")]).await;
    assert_eq!((reload.status.as_u16(), &*reload.text()), (200, "whole"));
    assert!(reload.field("cache-status").contains("fwd-status=304"));
    let confirmed = asked.confirmed.load(Ordering::SeqCst);
    assert_eq!((asked.count("/a"), confirmed), (2, 1));

    let broken = http.begin(Method::GET, "/broken", &[], Bytes::new());
    let mut broken = broken.await.unwrap().into_body();
    let half = within("a half", broken.frame()).await.unwrap().unwrap();
    assert_eq!(half.into_data().unwrap(), "half");
    // What is no error is no end either (RFC 9113, section 8.1).
    let origin = asked.half.lock().take();
    origin.unwrap().send_reset(Reason::NO_ERROR);
    let end = within("the end", broken.frame()).await;
    assert!(matches!(end, Some(Err(_))), "{end:?}");
    for (count, said) in [(2, "fwd=uri-miss"), (2, "hit")] {
        let reply = http.get("/broken").await;
        assert_eq!((reply.status.as_u16(), &*reply.text()), (200, "whole"));
        assert!(reply.field("cache-status").contains(said), "{reply:?}");
        assert_eq!(asked.count("/broken"), count);
    }
    assert_eq!(asked.connections.load(Ordering::SeqCst), 1);
}
