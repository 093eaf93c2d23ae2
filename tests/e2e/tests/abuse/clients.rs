//! Who asks: what the origin is told, and by what the edge counts.

use tidegate_e2e::raw::response;

use super::{Abused, unmarked};
use crate::support::HOST;

fn said(asked: &tidegate_e2e::raw::Message) -> Vec<u8> {
    let names = [
        "x-forwarded-for",
        "forwarded",
        "x-forwarded-host",
        "x-forwarded-proto",
        "via",
    ];
    let all: Vec<_> = names
        .iter()
        .map(|name| unmarked(&asked.all(name).join(", ")).to_owned())
        .collect();
    response(&[("via", "1.0 inner")], &all.join("|"))
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_not_trusted_is_a_client_whatever_it_says() {
    let rig = Abused::answering(said).await;
    let lines = [
        "X-Forwarded-For: 6.6.6.6",
        "Forwarded: for=6.6.6.6;host=evil.example",
        "X-Forwarded-Proto: https",
        "X-Forwarded-Host: evil.example",
        "Via: 1.0 fred",
    ];
    let answer = rig.get("/a", &lines).await;
    assert_eq!(
        answer.text(),
        format!(
            "127.0.0.1|for=127.0.0.1;host={HOST};proto=http|{HOST}|http|1.0 fred, 1.1 tidegate"
        )
    );
    assert_eq!(answer.all("via").join(", "), "1.0 inner, 1.1 tidegate");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trusted_proxy_is_believed_whom_it_asks_for_and_added_to_the_way() {
    let rig = Abused::start_with(
        said,
        |launch| launch.flag("--trusted-proxy", "127.0.0.0/8,fd00::/8"),
        |_| {},
    )
    .await;
    let lines = [
        "X-Forwarded-For: 6.6.6.6, 2001:db8::7, fd00::1",
        "X-Forwarded-Proto: https",
        "X-Forwarded-Host: evil.example",
        "Forwarded: for=6.6.6.6",
    ];
    let answer = rig.get("/a", &lines).await;
    let expected = [
        "2001:db8::7, fd00::1, 127.0.0.1".to_owned(),
        format!("for=\"[2001:db8::7]\";host={HOST};proto=https, for=\"[fd00::1]\", for=127.0.0.1"),
        HOST.to_owned(),
        "https".to_owned(),
        "1.1 tidegate".to_owned(),
    ];
    assert_eq!(answer.text(), expected.join("|"));
}

/// Streams of events are counted by address.
#[tokio::test(flavor = "multi_thread")]
async fn limits_count_the_client_and_not_the_proxy_it_comes_through() {
    use tidegate_e2e::raw::connect;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    let rig = Abused::start_with(
        said,
        |launch| launch.flag("--trusted-proxy", "127.0.0.1"),
        |site| {
            let events = site.events.get_or_insert_default();
            events.max_connections_per_address = 1;
        },
    )
    .await;
    let mut open = Vec::new();
    for (client, status) in [
        ("192.0.2.1", "200"),
        ("192.0.2.2", "200"),
        ("192.0.2.1", "503"),
    ] {
        let mut stream = connect(&rig.address()).await;
        let request = format!(
            "GET /_tidegate/events HTTP/1.1\r\nHost: {HOST}\r\nX-Forwarded-For: {client}\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut head = [0; 12];
        stream.read_exact(&mut head).await.unwrap();
        let head = String::from_utf8_lossy(&head).into_owned();
        assert_eq!(head, format!("HTTP/1.1 {status}"), "{client}");
        open.push(stream);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_goes_round_in_circles_ends() {
    let rig = Abused::start().await;
    let via = format!("Via: {}", ["1.1 tidegate"; 8].join(", "));
    assert_eq!(rig.get("/a", &[&via]).await.word(), "508");
    assert!(rig.origin.take().is_empty());
    rig.still_serves().await;
}
