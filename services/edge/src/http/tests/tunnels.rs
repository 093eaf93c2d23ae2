//! Connections that become tunnels are bounded as others are.

use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::super::server::ServerLimits;
use super::memory::{DRAIN, Door, Origin, ROOM, asked_so};
use super::*;

const MINUTE: Duration = Duration::from_secs(60);
/// Longer than anything takes that nothing holds up.
const SOON: Duration = Duration::from_secs(5);

/// Serves at most `connections` in front of an origin that switches at `/tunnel`, and hands
/// out its ends of tunnels.
pub(super) fn start(
    connections: usize,
    stop: &CancellationToken,
) -> (Door, mpsc::Receiver<Upgraded>) {
    start_with(connections, stop, serde_json::json!({}))
}

/// The same, where the site says this of its origin.
fn start_with(
    connections: usize,
    stop: &CancellationToken,
    site: serde_json::Value,
) -> (Door, mpsc::Receiver<Upgraded>) {
    let (_, door, switched) = start_edge(connections, stop, site);
    (door, switched)
}

/// The same, with the edge.
fn start_edge(
    connections: usize,
    stop: &CancellationToken,
    site: serde_json::Value,
) -> (Edge, Door, mpsc::Receiver<Upgraded>) {
    let (ends, switched) = mpsc::channel(1);
    let origin = Origin::new(move |mut request| {
        let ends = ends.clone();
        async move {
            let mut response = Response::new(Body::empty());
            if request.uri().path() == "/tunnel" {
                let end = hyper::upgrade::on(&mut request);
                tokio::spawn(async move { ends.send(end.await.unwrap()).await });
                *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
                let fields = response.headers_mut();
                fields.insert("connection", "upgrade".parse().unwrap());
                fields.insert("upgrade", "chat".parse().unwrap());
            }
            response
        }
    });
    let limits = ServerLimits {
        connections,
        ..ServerLimits::default()
    };
    let edge = origin.edge_with(site);
    let door = Door::of(&edge, limits, stop.clone());
    (edge, door, switched)
}

/// The site says something else from now on.
fn change(edge: &Edge, site: serde_json::Value, revision: u64) {
    let config: SiteConfig = serde_json::from_value(site).unwrap();
    let config = Arc::new(config.check().unwrap());
    let name = SiteName::parse("dev").unwrap();
    edge.sites.put(&name, config, at(1, revision));
}

pub(super) async fn ask(client: &mut DuplexStream, target: &str) {
    let asks = format!(
        "GET {target} HTTP/1.1\r\nhost: www.example.com\r\nconnection: upgrade\r\nupgrade: chat\r\n\r\n"
    );
    client.write_all(asks.as_bytes()).await.unwrap();
}

async fn status(client: &mut DuplexStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(client.read_u8().await.unwrap());
    }
    String::from_utf8(head[9..12].to_vec()).unwrap()
}

/// Both ends of a tunnel.
struct Tunnel {
    client: DuplexStream,
    origin: TokioIo<Upgraded>,
}

impl Tunnel {
    async fn open(door: &Door, switched: &mut mpsc::Receiver<Upgraded>) -> Self {
        Self::open_from(Ipv4Addr::LOCALHOST, door, switched).await
    }

    async fn open_from(
        address: Ipv4Addr,
        door: &Door,
        switched: &mut mpsc::Receiver<Upgraded>,
    ) -> Self {
        let mut client = door.connect_from(address).await;
        ask(&mut client, "/tunnel").await;
        assert_eq!(timeout(SOON, status(&mut client)).await.unwrap(), "101");
        let origin = timeout(SOON, switched.recv()).await.unwrap().unwrap();
        let origin = TokioIo::new(origin);
        let mut tunnel = Self { client, origin };
        tunnel.client_says(1).await;
        tunnel.origin_says(2).await;
        tunnel
    }

    async fn client_says(&mut self, byte: u8) {
        self.client.write_u8(byte).await.unwrap();
        assert_eq!(self.origin.read_u8().await.unwrap(), byte);
    }

    async fn origin_says(&mut self, byte: u8) {
        self.origin.write_u8(byte).await.unwrap();
        assert_eq!(self.client.read_u8().await.unwrap(), byte);
    }

    /// Waits until it has ended for both.
    async fn end(&mut self) {
        assert_eq!(self.client.read(&mut [0]).await.unwrap(), 0);
        assert_eq!(self.origin.read(&mut [0]).await.unwrap(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_tunnel_keeps_the_place_of_its_connection() {
    let (door, mut switched) = start(1, &CancellationToken::new());
    let tunnel = Tunnel::open(&door, &mut switched).await;
    let mut next = door.connect().await;
    ask(&mut next, "/").await;
    let early = timeout(MINUTE, status(&mut next)).await;
    assert!(early.is_err(), "{early:?}");
    drop(tunnel);
    assert_eq!(timeout(SOON, status(&mut next)).await.unwrap(), "200");
}

#[tokio::test(start_paused = true)]
async fn a_drain_ends_tunnels_and_is_over_before_its_deadline() {
    let stop = CancellationToken::new();
    let (mut door, mut switched) = start(2, &stop);
    let mut tunnel = Tunnel::open(&door, &mut switched).await;
    stop.cancel();
    timeout(DRAIN / 2, &mut door.served).await.unwrap().unwrap();
    timeout(SOON, tunnel.end()).await.expect("it ends");
}

#[tokio::test(start_paused = true)]
async fn a_tunnel_lasts_until_both_sides_are_silent_for_an_hour() {
    let (door, mut switched) = start(1, &CancellationToken::new());
    let mut tunnel = Tunnel::open(&door, &mut switched).await;
    for _ in 0..3 {
        for _ in 0..3 {
            tokio::time::sleep(59 * MINUTE).await;
            tunnel.client_says(3).await;
        }
        for _ in 0..3 {
            tokio::time::sleep(59 * MINUTE).await;
            tunnel.origin_says(4).await;
        }
    }
    let early = timeout(59 * MINUTE, tunnel.end()).await;
    assert!(early.is_err(), "it ends too early");
    timeout(2 * MINUTE, tunnel.end()).await.expect("it ends");
    // Its place is free again.
    let mut next = door.connect().await;
    ask(&mut next, "/").await;
    assert_eq!(timeout(SOON, status(&mut next)).await.unwrap(), "200");
}

#[tokio::test(start_paused = true)]
async fn a_site_says_for_how_long_a_tunnel_may_be_silent() {
    let site = serde_json::json!({ "tunnel_idle_timeout": "90s" });
    let (door, mut switched) = start_with(1, &CancellationToken::new(), site);
    let mut tunnel = Tunnel::open(&door, &mut switched).await;
    tokio::time::sleep(MINUTE).await;
    tunnel.client_says(3).await;
    let early = timeout(MINUTE, tunnel.end()).await;
    assert!(early.is_err(), "it ends too early");
    timeout(MINUTE, tunnel.end()).await.expect("it ends");
}

#[tokio::test(start_paused = true)]
async fn a_site_has_so_many_tunnels_and_they_keep_no_request_from_its_origin() {
    let site = serde_json::json!({ "max_tunnels": 2, "max_in_flight": 1 });
    let (door, mut switched) = start_with(9, &CancellationToken::new(), site);
    let first = Tunnel::open(&door, &mut switched).await;
    let mut second = Tunnel::open(&door, &mut switched).await;
    let mut other = door.connect().await;
    ask(&mut other, "/tunnel").await;
    assert_eq!(timeout(SOON, status(&mut other)).await.unwrap(), "503");
    second.client_says(3).await;
    drop(first);
    // What does not switch has no place for longer than its answer takes.
    for _ in 0..3 {
        let answered = async {
            loop {
                let mut client = door.connect().await;
                ask(&mut client, "/").await;
                if status(&mut client).await == "200" {
                    return;
                }
            }
        };
        timeout(MINUTE, answered).await.expect("it is answered");
    }
    let _third = Tunnel::open(&door, &mut switched).await;
}

#[tokio::test(start_paused = true)]
async fn a_site_without_tunnels_answers_what_does_not_ask_for_one() {
    let site = serde_json::json!({ "max_tunnels": 0 });
    let (door, _switched) = start_with(1, &CancellationToken::new(), site);
    let mut client = door.connect().await;
    ask(&mut client, "/tunnel").await;
    assert_eq!(timeout(SOON, status(&mut client)).await.unwrap(), "503");
    drop(client);
    let mut client = door.connect().await;
    let asks = b"GET / HTTP/1.1\r\nhost: www.example.com\r\n\r\n";
    client.write_all(asks).await.unwrap();
    assert_eq!(timeout(SOON, status(&mut client)).await.unwrap(), "200");
}

/// What one hears who asks for a tunnel.
async fn asked_from(address: Ipv4Addr, door: &Door) -> String {
    let mut client = door.connect_from(address).await;
    ask(&mut client, "/tunnel").await;
    timeout(SOON, status(&mut client)).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_change_of_the_site_lets_no_more_tunnels_in() {
    let site = serde_json::json!({ "max_tunnels": 1 });
    let (edge, door, mut switched) = start_edge(9, &CancellationToken::new(), site);
    let mut first = Tunnel::open(&door, &mut switched).await;
    let other = |timeout: &str| {
        asked_so(serde_json::json!({ "max_tunnels": 1, "connect_timeout": timeout }))
    };
    let none = serde_json::json!({ "hosts": ["*"] });
    for (revision, site) in [other("1s"), other("2s"), none, other("1s")]
        .into_iter()
        .enumerate()
    {
        let has_origin = site.get("origin").is_some();
        change(&edge, site, 2 + revision as u64);
        if has_origin {
            assert_eq!(asked_from(Ipv4Addr::LOCALHOST, &door).await, "503");
        }
        first.client_says(3).await;
    }
    drop(first);
    tokio::time::sleep(SOON).await;
    let _second = Tunnel::open(&door, &mut switched).await;
}

#[tokio::test(start_paused = true)]
async fn a_tunnel_ends_with_its_site() {
    let stop = CancellationToken::new();
    let (edge, door, mut switched) = start_edge(9, &stop, serde_json::json!({}));
    let mut tunnel = Tunnel::open(&door, &mut switched).await;
    edge.sites.remove(&SiteName::parse("dev").unwrap());
    timeout(SOON, tunnel.end()).await.expect("it ends");
}

#[tokio::test(start_paused = true)]
async fn who_has_all_tunnels_gives_way_to_another_client() {
    let site = serde_json::json!({ "max_tunnels": 2 });
    let (door, mut switched) = start_with(9, &CancellationToken::new(), site);
    let [one, other] = [1, 2].map(|n| Ipv4Addr::new(10, 0, 0, n));
    let mut first = Tunnel::open_from(one, &door, &mut switched).await;
    let mut second = Tunnel::open_from(one, &door, &mut switched).await;
    assert_eq!(asked_from(one, &door).await, "503");
    let mut third = Tunnel::open_from(other, &door, &mut switched).await;
    timeout(SOON, second.end()).await.expect("it gives way");
    assert_eq!(asked_from(one, &door).await, "503");
    assert_eq!(asked_from(other, &door).await, "503");
    first.client_says(3).await;
    third.client_says(3).await;
}

#[tokio::test(start_paused = true)]
async fn a_tunnel_whose_reader_is_slow_is_not_silent_and_one_who_reads_nothing_is() {
    let site = serde_json::json!({ "tunnel_idle_timeout": "90s" });
    let (door, mut switched) = start_with(1, &CancellationToken::new(), site);
    let tunnel = Tunnel::open(&door, &mut switched).await;
    let (mut client, mut origin) = (tunnel.client, tunnel.origin);
    // More than there is room for on the way.
    let says = tokio::spawn(async move { client.write_all(&[3; 4 * ROOM]).await });
    for _ in 0..20 {
        tokio::time::sleep(MINUTE).await;
        let mut few = [0; 100];
        timeout(SOON, origin.read_exact(&mut few))
            .await
            .expect("it is there")
            .unwrap();
    }
    assert!(!says.is_finished(), "nobody waits for the reader");
    let said = timeout(2 * MINUTE, says).await.expect("it ends").unwrap();
    assert_eq!(said.unwrap_err().kind(), std::io::ErrorKind::BrokenPipe);
}
