//! A real server and a plain socket.

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::extract::{ConnectInfo, Request, State};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::{Bench, invalidate};
use crate::events::{Call, SiteEvents};

async fn events(
    State(site): State<std::sync::Arc<SiteEvents>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    request: Request,
) -> axum::response::Response {
    let (parts, _) = request.into_parts();
    site.serve(Call::new(&parts, peer.ip()))
        .await
        .map(axum::body::Body::new)
}

async fn until(socket: &mut TcpStream, read: &mut String, what: &str) {
    let mut buffer = [0; 4_096];
    while !read.contains(what) {
        let count = tokio::time::timeout(Duration::from_secs(20), socket.read(&mut buffer))
            .await
            .expect("the event arrives")
            .unwrap();
        assert_ne!(count, 0, "closed before {what:?}: {read}");
        read.push_str(std::str::from_utf8(&buffer[..count]).unwrap());
    }
}

#[tokio::test]
async fn events_arrive_over_a_socket_and_a_drain_ends_the_answer_whole() {
    let bench = Bench::new();
    let router = Router::new()
        .fallback(events)
        .with_state(bench.site.clone())
        .into_make_service_with_connect_info::<SocketAddr>();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(async move { axum::serve(listener, router).await });

    let mut socket = TcpStream::connect(address).await.unwrap();
    socket
        .write_all(b"GET /_tidegate/events?interest=item:* HTTP/1.1\r\nHost: a\r\n\r\n")
        .await
        .unwrap();
    let mut read = String::new();
    until(&mut socket, &mut read, "event: connected").await;
    assert!(read.starts_with("HTTP/1.1 200 OK\r\n"), "{read}");
    bench.publish(invalidate(11, &["item:1"]));
    until(&mut socket, &mut read, "data: [\"item:1\"]\n\n").await;
    bench.site.tick();
    until(&mut socket, &mut read, "event: heartbeat\n").await;
    bench.site.close_all(Duration::ZERO);
    until(&mut socket, &mut read, "event: reconnect\n").await;
    until(&mut socket, &mut read, "\r\n0\r\n\r\n").await;
    drop(socket);

    server.abort();
    let _ = server.await;
}

#[tokio::test]
async fn a_browser_that_goes_away_is_forgotten() {
    let bench = Bench::new();
    let router = Router::new()
        .fallback(events)
        .with_state(bench.site.clone())
        .into_make_service_with_connect_info::<SocketAddr>();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(async move { axum::serve(listener, router).await });

    let mut socket = TcpStream::connect(address).await.unwrap();
    socket
        .write_all(b"GET /_tidegate/events HTTP/1.1\r\nHost: a\r\n\r\n")
        .await
        .unwrap();
    let mut read = String::new();
    until(&mut socket, &mut read, "event: connected").await;
    assert_eq!(bench.site.connections(), 1);
    drop(socket);
    let gone = async {
        while bench.site.connections() > 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), gone)
        .await
        .expect("the connection is noticed to be gone");
    server.abort();
    let _ = server.await;
}
