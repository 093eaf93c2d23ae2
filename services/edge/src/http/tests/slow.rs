//! Clients of HTTP/1.1 that take a little again and again, so that they are never silent.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::super::server::ServerLimits;
use super::memory::{Door, Origin};
use super::*;

const LARGE: usize = 4 << 20;
/// Longer than anything takes that nothing holds up.
const SOON: Duration = Duration::from_secs(5);

/// Asks for what is large, on a connection of its own.
async fn ask(door: &Door) -> DuplexStream {
    let mut client = door.connect().await;
    let asks = "GET /large HTTP/1.1\r\nhost: www.example.com\r\nconnection: close\r\n\r\n";
    client.write_all(asks.as_bytes()).await.unwrap();
    client
}

async fn whole(mut client: DuplexStream) -> String {
    let mut all = String::new();
    client.read_to_string(&mut all).await.unwrap();
    all
}

/// Takes a byte a second until there are no more.
async fn drip(door: &Door) -> JoinHandle<()> {
    let mut client = ask(door).await;
    tokio::spawn(async move {
        while client.read_u8().await.is_ok() {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    })
}

#[tokio::test(start_paused = true)]
async fn who_takes_a_little_again_and_again_holds_nobody_up_and_its_place_not_for_ever() {
    let asked = Arc::new(AtomicU64::new(0));
    let counted = asked.clone();
    let origin = Origin::new(move |_| {
        counted.fetch_add(1, Ordering::SeqCst);
        let response = Response::builder().header("cache-control", "max-age=6000");
        std::future::ready(response.body(Body::from("x".repeat(LARGE))).unwrap())
    });
    let edge = origin.edge();
    let limits = ServerLimits {
        connections: 2,
        ..ServerLimits::default()
    };
    let door = Door::of(&edge, limits, CancellationToken::new());
    // The fetch that the first has begun ends, and is stored, at the pace of the others.
    let first = drip(&door).await;
    for is_hit in [false, true] {
        let got = timeout(SOON, whole(ask(&door).await)).await.unwrap();
        let (head, body) = got.split_once("\r\n\r\n").unwrap();
        assert_eq!(body.len(), LARGE);
        assert!(!is_hit || head.contains("tidegate; hit"), "{head}");
    }
    assert_eq!(asked.load(Ordering::SeqCst), 1);
    // There are no more of them than there are places, ...
    let second = drip(&door).await;
    let next = tokio::spawn(whole(ask(&door).await));
    tokio::time::sleep(SOON).await;
    assert!(!first.is_finished() && !second.is_finished() && !next.is_finished());
    // ... and they do not keep them.
    let got = timeout(2 * limits.send_timeout, next).await.unwrap();
    assert!(got.unwrap().len() > LARGE);
    // What the pipe holds they take yet.
    assert!(!first.is_finished() && !second.is_finished());
}
