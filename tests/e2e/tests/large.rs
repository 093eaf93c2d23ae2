//! Bodies larger than anybody wants to hold: they pass through an edge, which keeps a
//! small part of them at a time.

use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tidegate_e2e::raw::connect;
use tidegate_e2e::{ControlPlane, Edge, Gate, within};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::support::{HOST, put_site, short_margin, site_at};

/// A block of the body: its number, and padding.
const BLOCK: usize = 1 << 20;
const BLOCKS: u64 = 1 << 10;
/// Asked for, it is announced how long it is.
const ANNOUNCED: &str = "/announced";
/// What an edge may have held at any time, all of itself included.
const MOST_RESIDENT_KIB: u64 = 200 << 10;

/// Answers each request with a gibibyte that is made on the way. After the first block it
/// waits at the gate.
struct Origin {
    base: String,
    asked: Arc<AtomicUsize>,
    gate: Gate,
}

impl Origin {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let (asked, gate) = (Arc::new(AtomicUsize::new(0)), Gate::new("a first block"));
        let origin = Self {
            base,
            asked: asked.clone(),
            gate: gate.clone(),
        };
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, asked.clone(), gate.clone()));
            }
        });
        origin
    }
}

async fn serve(mut stream: TcpStream, asked: Arc<AtomicUsize>, gate: Gate) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return,
        }
    }
    asked.fetch_add(1, Ordering::SeqCst);
    // Of a length that is announced, or of one that nobody knows before the end.
    let is_announced = String::from_utf8_lossy(&head).contains(ANNOUNCED);
    let framing = match is_announced {
        true => format!("content-length: {}", BLOCKS * BLOCK as u64),
        false => "transfer-encoding: chunked".to_owned(),
    };
    let head = format!(
        "HTTP/1.1 200 OK\r\ncache-control: max-age=600\r\nconnection: close\r\n{framing}\r\n\r\n"
    );
    let mut block = vec![0; BLOCK];
    let _ = stream.write_all(head.as_bytes()).await;
    for number in 0..BLOCKS {
        block[..8].copy_from_slice(&number.to_be_bytes());
        let (before, after) = match (is_announced, number + 1 == BLOCKS) {
            (true, _) => (String::new(), ""),
            (false, true) => (format!("{BLOCK:x}\r\n"), "\r\n0\r\n\r\n"),
            (false, false) => (format!("{BLOCK:x}\r\n"), "\r\n"),
        };
        for bytes in [before.as_bytes(), &block, after.as_bytes()] {
            if stream.write_all(bytes).await.is_err() {
                return;
            }
        }
        if number == 0 {
            gate.pass().await;
        }
    }
}

/// One who reads, block by block.
struct Reader {
    stream: TcpStream,
    next: u64,
    /// How it ended, if it did.
    end: Option<ErrorKind>,
}

impl Reader {
    async fn begin(edge: &Edge, path: &str) -> Self {
        let mut stream = connect(edge.http(HOST).base()).await;
        // In a version that knows no chunks: the body is as it is.
        let request = format!("GET {path} HTTP/1.0\r\nHost: {HOST}\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(within("a head", stream.read_u8()).await.unwrap());
        }
        let head = String::from_utf8_lossy(&head).into_owned();
        assert_eq!(head.split(' ').nth(1), Some("200"), "{head}");
        let mut reader = Self {
            stream,
            next: 0,
            end: None,
        };
        assert!(reader.read().await);
        reader
    }

    /// Reads the next block; whether it was there.
    async fn read(&mut self) -> bool {
        let mut block = vec![0; BLOCK];
        let read = within("a block", self.stream.read_exact(&mut block)).await;
        if let Err(error) = read {
            self.end = Some(error.kind());
            return false;
        }
        assert_eq!(block[..8], self.next.to_be_bytes());
        self.next += 1;
        true
    }

    async fn read_to_end(mut self, pause: Duration) -> u64 {
        while self.next < BLOCKS && self.read().await {
            if !pause.is_zero() && self.next.is_multiple_of(64) {
                tokio::time::sleep(pause).await;
            }
        }
        self.next
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gibibyte_passes_and_is_never_held_whole_however_fast_its_readers_are() {
    let origin = Origin::start().await;
    let control = ControlPlane::start().await;
    put_site(control.calls(), site_at(&origin.base)).await;
    let mut edge = Edge::start_with(control.calls(), "edge-a", short_margin).await;
    control.calls().settled(1).await;

    // Several share one fetch: all of them are there before the second block.
    let fast = Reader::begin(&edge, "/shared").await;
    let slow = Reader::begin(&edge, "/shared").await;
    let mut asleep = Reader::begin(&edge, "/shared").await;
    assert_eq!(origin.asked.load(Ordering::SeqCst), 1);
    origin.gate.open();
    let fast = tokio::spawn(fast.read_to_end(Duration::ZERO));
    let slow = tokio::spawn(slow.read_to_end(Duration::from_millis(20)));
    assert_eq!(fast.await.unwrap(), BLOCKS);
    assert_eq!(slow.await.unwrap(), BLOCKS);
    // Who takes nothing holds nobody back for ever, and gets what was on its way alone.
    while asleep.read().await {}
    assert!(asleep.next < BLOCKS, "{}", asleep.next);
    // It is told that this is not all: only the end of the connection ends such a body.
    assert_eq!(asleep.end, Some(ErrorKind::ConnectionReset));

    // And one alone, who is announced more than is stored.
    let alone = Reader::begin(&edge, ANNOUNCED).await;
    assert_eq!(alone.read_to_end(Duration::ZERO).await, BLOCKS);
    let resident = edge.process().most_resident_kib();
    assert!(resident < MOST_RESIDENT_KIB, "{resident} KiB");
}
