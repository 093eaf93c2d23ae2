//! Names with several addresses, and addresses that change.

use std::net::IpAddr;

use super::*;
use crate::origin::addresses::tests::Scripted;

fn ips(list: &[&str]) -> Vec<IpAddr> {
    list.iter().map(|text| text.parse().unwrap()).collect()
}

fn resolved(resolver: &Arc<Scripted>) -> Surroundings {
    Surroundings {
        dialer: Dialer::Tcp,
        resolver: resolver.clone(),
    }
}

#[tokio::test]
async fn every_address_of_a_name_is_tried_whatever_its_family() {
    let (address, connections) = server(|_, stream| answer_all(stream, OK)).await;
    let resolver = Arc::new(Scripted::default());
    // Nobody listens at the first ones.
    *resolver.answer.lock() = ips(&["::1", "127.0.0.3", "127.0.0.2", "127.0.0.1"]);
    let url = format!("http://origin.example:{}", address.port());
    let origin = origin(
        json!({ "upstreams": [{ "url": url }] }),
        resolved(&resolver),
    );
    assert_eq!(text(&origin, get()).await.unwrap(), "ok");
    assert_eq!((connections.get(), *resolver.asked.lock()), (1, 1));
}

/// Two servers on one port of two addresses; each says its name.
async fn two_servers() -> (u16, tokio::task::JoinHandle<()>) {
    let one = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = one.local_addr().unwrap().port();
    let two = TcpListener::bind(("127.0.0.2", port)).await.unwrap();
    let connections = tokio::spawn(async move {
        let mut open = tokio::task::JoinSet::new();
        while let Ok((stream, _)) = one.accept().await {
            open.spawn(answer_all(
                stream,
                b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n1",
            ));
        }
    });
    serve(two, |_, stream| {
        answer_all(stream, b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n2")
    });
    (port, connections)
}

#[tokio::test]
async fn connections_to_addresses_that_a_name_has_no_more_are_let_go() {
    let (port, _server) = two_servers().await;
    let resolver = Arc::new(Scripted::default());
    *resolver.answer.lock() = ips(&["127.0.0.1"]);
    let config = json!({
        "upstreams": [{ "url": format!("http://origin.example:{port}") }],
        "dns_refresh": "1s",
    });
    let origin = origin(config, resolved(&resolver));
    assert_eq!(text(&origin, get()).await.unwrap(), "1");
    *resolver.answer.lock() = ips(&["127.0.0.2"]);
    let moved = async { while text(&origin, get()).await.unwrap() == "1" {} };
    Box::pin(patiently(moved)).await;
    assert_eq!(text(&origin, get()).await.unwrap(), "2");
}

#[tokio::test]
async fn where_no_address_takes_a_connection_the_name_is_looked_up_again() {
    let (port, server) = two_servers().await;
    let resolver = Arc::new(Scripted::default());
    *resolver.answer.lock() = ips(&["127.0.0.1"]);
    let config = json!({
        "upstreams": [{ "url": format!("http://origin.example:{port}") }],
        // It does not get old in this test.
        "dns_refresh": "1h",
        "breaker": { "failures": 1000 },
    });
    let origin = origin(config, resolved(&resolver));
    assert_eq!(text(&origin, get()).await.unwrap(), "1");
    server.abort();
    *resolver.answer.lock() = ips(&["127.0.0.2"]);
    let moved = async { while !text(&origin, get()).await.is_ok_and(|name| name == "2") {} };
    Box::pin(patiently(moved)).await;
}
