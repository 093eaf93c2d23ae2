//! Ten thousand event streams on one thread: epoll, a few bytes of state a
//! connection, one shared read buffer.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow, bail};
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use socket2::{Domain, Protocol, Socket, Type};

use super::marker::Scanner;
use crate::stats::Latencies;

/// Connections from one source address: no server's limit for an address is met, and
/// no address runs out of ports.
const PER_ADDRESS: usize = 100;
/// Connections that wait for their answer at a time: fewer than any listen backlog.
const OPENING: usize = 128;
/// How often the thread looks whether it shall stop.
const TICK: Duration = Duration::from_millis(20);

/// Which streams to open, and how many messages will come, numbered from 0.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) address: SocketAddr,
    pub(crate) path: &'static str,
    pub(crate) connections: usize,
    pub(crate) messages: usize,
    /// Messages before this one are not measured.
    pub(crate) measured_from: u32,
}

/// What all connections have seen.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    /// Times from publishing to reading, of the measured messages.
    pub(crate) latencies: Latencies,
    /// Messages that came a second time, or late.
    pub(crate) repeated: u64,
    /// Streams that the server ended.
    pub(crate) closed: u64,
}

/// The running load. Dropping it closes every stream.
#[derive(Debug)]
pub(crate) struct Streams {
    plan: Plan,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<anyhow::Result<Heard>>>,
}

#[derive(Debug)]
struct Shared {
    begun: Instant,
    /// When each message was published, in nanoseconds since `begun`.
    published: Vec<AtomicU64>,
    open: AtomicU64,
    received: AtomicU64,
    stop: AtomicBool,
}

impl Streams {
    /// Begins to open the streams.
    pub(crate) fn open(plan: Plan) -> anyhow::Result<Self> {
        let shared = Arc::new(Shared {
            begun: Instant::now(),
            published: (0..plan.messages).map(|_| AtomicU64::new(0)).collect(),
            open: AtomicU64::new(0),
            received: AtomicU64::new(0),
            stop: AtomicBool::new(false),
        });
        let reader = Reader::new(plan.clone(), Arc::clone(&shared))?;
        let thread = std::thread::Builder::new()
            .name("streams".to_owned())
            .spawn(move || reader.run())?;
        Ok(Self {
            plan,
            shared,
            thread: Some(thread),
        })
    }

    /// Waits until every stream has its response head.
    ///
    /// # Errors
    /// Not all are open in time, or one was refused.
    pub(crate) async fn wait_until_open(&self, timeout: Duration) -> anyhow::Result<()> {
        let all = self.plan.connections as u64;
        if self.wait_for(&self.shared.open, all, timeout).await {
            return Ok(());
        }
        let open = self.shared.open.load(Ordering::Relaxed);
        bail!("{open} of {all} streams were opened");
    }

    /// Notes that message `number` is published now.
    pub(crate) fn publishing(&self, number: u32) -> anyhow::Result<()> {
        let slot = self.shared.published.get(number as usize);
        let slot = slot.ok_or_else(|| anyhow!("message {number} is not in the plan"))?;
        slot.store(nanos(self.shared.begun), Ordering::Release);
        Ok(())
    }

    /// Waits until every stream has had `messages` messages; false if it takes too long.
    pub(crate) async fn wait_for_messages(&self, messages: u64, timeout: Duration) -> bool {
        let all = messages * self.plan.connections as u64;
        self.wait_for(&self.shared.received, all, timeout).await
    }

    /// Messages that have come, over all streams, each counted once.
    pub(crate) fn received(&self) -> u64 {
        self.shared.received.load(Ordering::Relaxed)
    }

    async fn wait_for(&self, counter: &AtomicU64, all: u64, timeout: Duration) -> bool {
        let start = Instant::now();
        let running = || {
            self.thread
                .as_ref()
                .is_some_and(|thread| !thread.is_finished())
        };
        while counter.load(Ordering::Relaxed) < all {
            if start.elapsed() > timeout || !running() {
                return false;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        true
    }

    /// Closes every stream and says what they have seen.
    pub(crate) fn close(mut self) -> anyhow::Result<Heard> {
        self.shared.stop.store(true, Ordering::Relaxed);
        let thread = self
            .thread
            .take()
            .context("the streams were closed before")?;
        thread
            .join()
            .map_err(|_| anyhow!("the streams' thread panicked"))?
    }
}

impl Drop for Streams {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn nanos(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_nanos()).unwrap_or(u64::MAX)
}

/// How far a stream has come.
#[derive(Debug, Clone, Copy)]
enum Phase {
    Connecting,
    /// Bytes of `HTTP/1.1 200` seen.
    Status(u8),
    /// Bytes of the empty line that ends the head seen.
    Head(u8),
    /// The next message expected.
    Events {
        scanner: Scanner,
        next: u32,
    },
}

#[derive(Debug)]
struct Stream {
    socket: TcpStream,
    phase: Phase,
}

/// The thread's own side.
#[derive(Debug)]
struct Reader {
    plan: Plan,
    shared: Arc<Shared>,
    poll: Poll,
    request: Vec<u8>,
    streams: Vec<Option<Stream>>,
    opened: usize,
    heard: Heard,
}

impl Reader {
    fn new(plan: Plan, shared: Arc<Shared>) -> anyhow::Result<Self> {
        let Plan { address, path, .. } = &plan;
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nAccept: text/event-stream\r\n\r\n");
        Ok(Self {
            shared,
            poll: Poll::new()?,
            request: request.into_bytes(),
            streams: Vec::with_capacity(plan.connections),
            opened: 0,
            heard: Heard::default(),
            plan,
        })
    }

    fn run(mut self) -> anyhow::Result<Heard> {
        let mut events = Events::with_capacity(1024);
        let mut buffer = vec![0; 64 * 1024];
        while !self.shared.stop.load(Ordering::Relaxed) {
            self.connect_more()?;
            match self.poll.poll(&mut events, Some(TICK)) {
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                result => result?,
            }
            for event in &events {
                self.advance(event.token(), &mut buffer)?;
            }
        }
        Ok(self.heard)
    }

    fn connect_more(&mut self) -> anyhow::Result<()> {
        while self.streams.len() < self.plan.connections
            && self.streams.len() - self.opened < OPENING
        {
            let index = self.streams.len();
            let mut socket = connect(source_address(index / PER_ADDRESS)?, self.plan.address)?;
            let interest = Interest::WRITABLE | Interest::READABLE;
            self.poll
                .registry()
                .register(&mut socket, Token(index), interest)?;
            self.streams.push(Some(Stream {
                socket,
                phase: Phase::Connecting,
            }));
        }
        Ok(())
    }

    /// Does what the stream is ready for.
    fn advance(&mut self, token: Token, buffer: &mut [u8]) -> anyhow::Result<()> {
        let Some(slot) = self.streams.get_mut(token.0) else {
            return Ok(());
        };
        let Some(stream) = slot else {
            return Ok(());
        };
        if matches!(stream.phase, Phase::Connecting) {
            if !send_request(&mut stream.socket, &self.request)? {
                return Ok(());
            }
            stream.phase = Phase::Status(0);
            // From here on a message is one readiness event, not two.
            let registry = self.poll.registry();
            registry.reregister(&mut stream.socket, token, Interest::READABLE)?;
        }
        loop {
            let count = match stream.socket.read(buffer) {
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(_) => 0,
            };
            if count == 0 {
                *slot = None;
                self.heard.closed += 1;
                return Ok(());
            }
            let now = nanos(self.shared.begun);
            let seen = consume(&mut stream.phase, &buffer[..count], |number, fresh| {
                note(
                    &self.shared,
                    &self.plan,
                    &mut self.heard,
                    now,
                    number,
                    fresh,
                );
            })?;
            if seen {
                self.opened += 1;
                self.shared.open.fetch_add(1, Ordering::Relaxed);
            }
            // A short read has emptied the socket: readiness will be told anew.
            if count < buffer.len() {
                return Ok(());
            }
        }
    }
}

/// Counts a message and takes its time.
fn note(shared: &Shared, plan: &Plan, heard: &mut Heard, now: u64, number: u32, fresh: bool) {
    let published = shared.published.get(number as usize);
    let Some(published) = published.filter(|_| fresh) else {
        heard.repeated += 1;
        return;
    };
    if number >= plan.measured_from {
        let latency = now.saturating_sub(published.load(Ordering::Acquire));
        heard.latencies.record(Duration::from_nanos(latency));
    }
    shared.received.fetch_add(1, Ordering::Relaxed);
}

/// Moves a stream on by what was read. True if that ended the response head.
///
/// # Errors
/// The response is not `HTTP/1.1 200`.
fn consume(
    phase: &mut Phase,
    bytes: &[u8],
    mut message: impl FnMut(u32, bool),
) -> anyhow::Result<bool> {
    const STATUS: &[u8] = b"HTTP/1.1 200";
    const HEAD_END: &[u8] = b"\r\n\r\n";
    let mut opened = false;
    for &byte in bytes {
        match phase {
            Phase::Connecting => {}
            Phase::Status(seen) => {
                if byte != STATUS[usize::from(*seen)] {
                    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(200)]);
                    bail!("a stream was answered with {text:?}");
                }
                *seen += 1;
                if usize::from(*seen) == STATUS.len() {
                    *phase = Phase::Head(0);
                }
            }
            Phase::Head(seen) => {
                let expected = byte == HEAD_END[usize::from(*seen)];
                *seen = if expected {
                    *seen + 1
                } else {
                    u8::from(byte == HEAD_END[0])
                };
                if usize::from(*seen) == HEAD_END.len() {
                    opened = true;
                    let scanner = Scanner::default();
                    *phase = Phase::Events { scanner, next: 0 };
                }
            }
            Phase::Events { scanner, next } => {
                if let Some(number) = scanner.push(byte) {
                    message(number, number >= *next);
                    *next = (*next).max(number + 1);
                }
            }
        }
    }
    Ok(opened)
}

/// 127.1.0.1 and on: every address of 127.0.0.0/8 is this machine.
fn source_address(index: usize) -> anyhow::Result<SocketAddr> {
    let (third, fourth) = (u8::try_from(index / 250)?, u8::try_from(index % 250)? + 1);
    Ok(SocketAddr::new(
        IpAddr::V4(Ipv4Addr::new(127, 1, third, fourth)),
        0,
    ))
}

fn connect(source: SocketAddr, target: SocketAddr) -> anyhow::Result<TcpStream> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP)).context("socket")?;
    socket.set_nonblocking(true)?;
    socket
        .bind(&source.into())
        .with_context(|| format!("source address {source}"))?;
    match socket.connect(&target.into()) {
        Err(error)
            if error.raw_os_error() != Some(rustix::io::Errno::INPROGRESS.raw_os_error()) =>
        {
            Err(error).with_context(|| format!("connection from {source} to {target}"))
        }
        _ => Ok(TcpStream::from_std(socket.into())),
    }
}

/// Sends the request once the connection is up; false if it is not yet.
fn send_request(socket: &mut TcpStream, request: &[u8]) -> anyhow::Result<bool> {
    if let Some(error) = socket.take_error()? {
        return Err(error).context("a stream could not be opened");
    }
    match socket.write(request) {
        Ok(count) if count == request.len() => Ok(true),
        Ok(_) => bail!("a new connection took only a part of the request"),
        Err(error)
            if matches!(
                error.kind(),
                ErrorKind::NotConnected | ErrorKind::WouldBlock
            ) =>
        {
            Ok(false)
        }
        Err(error) => Err(error).context("a stream could not be opened"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::marker;
    use super::*;

    /// Feeds a response cut at every place and returns what was told of it.
    fn told(response: &str, cut: usize) -> Vec<(u32, bool)> {
        let mut phase = Phase::Status(0);
        let mut told = Vec::new();
        for part in [&response.as_bytes()[..cut], &response.as_bytes()[cut..]] {
            consume(&mut phase, part, |number, fresh| told.push((number, fresh))).unwrap();
        }
        told
    }

    #[test]
    fn messages_are_found_wherever_the_reads_are_cut() {
        let (first, second) = (marker::text(0), marker::text(1));
        let response = format!(
            "HTTP/1.1 200 OK\r\nA: b\r\n\r\n: hi\n\ndata: {first}\n\ndata: {second}\n\ndata: {first}\n\n"
        );
        for cut in 0..response.len() {
            assert_eq!(told(&response, cut), [(0, true), (1, true), (0, false)]);
        }
    }

    #[test]
    fn a_head_is_told_once_and_another_status_is_an_error() {
        let mut phase = Phase::Status(0);
        assert!(consume(&mut phase, b"HTTP/1.1 200 OK\r\n\r\n", |_, _| {}).unwrap());
        assert!(!consume(&mut phase, b": hi\n\n", |_, _| {}).unwrap());
        let refused = consume(
            &mut Phase::Status(0),
            b"HTTP/1.1 503 Service Unavailable\r\n",
            |_, _| {},
        );
        assert!(refused.unwrap_err().to_string().contains("503"));
    }

    #[test]
    fn source_addresses_are_distinct_and_on_the_loopback() {
        assert_eq!(source_address(0).unwrap().ip().to_string(), "127.1.0.1");
        assert_eq!(source_address(250).unwrap().ip().to_string(), "127.1.1.1");
        assert!(source_address(0).unwrap().ip().is_loopback());
    }
}
