//! The network: connections that deliver bytes in order, later, or not at all.
//!
//! A link goes one way. While it is cut, what is sent waits, as TCP would send it
//! again; when it heals, connections go on or have been reset. A machine that loses
//! its power says nothing; a process that is killed has its connections reset.

mod stream;

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::{BoxFuture, poll_fn};
use parking_lot::Mutex;
use tidegate_net::{Abort, Dial, Duplex, Listener};

use crate::entropy;
use crate::rng::Rng;

pub use stream::Stream;

/// A machine on the network.
pub type Host = usize;

/// Latency of a healthy link.
const LATENCY: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(12));

/// See the module.
#[derive(Clone)]
pub struct Net(Arc<Mutex<Inner>>);

impl std::fmt::Debug for Net {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Net")
    }
}

struct Inner {
    rng: Rng,
    names: Vec<String>,
    has_power: Vec<bool>,
    /// What is on its way, by when it arrives.
    queue: BTreeMap<(Duration, u64), Message>,
    sequence: u64,
    links: BTreeMap<(Host, Host), Link>,
    acceptors: BTreeMap<(Host, u16), Acceptor>,
    connections: BTreeMap<u64, Connection>,
    next: u64,
}

#[derive(Default)]
struct Link {
    extra: Duration,
    /// How many faults cut it.
    cuts: u32,
    waiting: Vec<Message>,
}

struct Message {
    connection: u64,
    /// Which end it is for.
    to: usize,
    what: What,
}

enum What {
    Syn,
    SynAck,
    Data(Bytes),
    Fin,
    Reset,
}

#[derive(Default)]
struct Acceptor {
    listener: u64,
    backlog: VecDeque<u64>,
    waker: Option<Waker>,
}

struct Connection {
    port: u16,
    ends: [End; 2],
    /// Held back by a fault, whatever the link does.
    is_held: bool,
    waiting: Vec<Message>,
}

#[derive(Default)]
struct End {
    host: Host,
    is_open: bool,
    is_connected: bool,
    is_finished: bool,
    is_reset: bool,
    has_shut_down: bool,
    inbox: VecDeque<Bytes>,
    /// Bytes that were sent to this end and not read yet.
    unread: usize,
    last_arrival: Duration,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

impl End {
    fn wakers(&mut self, into: &mut Vec<Waker>) {
        into.extend(self.reader.take());
        into.extend(self.writer.take());
    }
}

impl Inner {
    /// Sends to the other end of `to`, as far as links let it.
    fn send(&mut self, connection: u64, to: usize, what: What) {
        let message = Message {
            connection,
            to,
            what,
        };
        let Some(open) = self.connections.get_mut(&connection) else {
            return;
        };
        let route = (open.ends[1 - to].host, open.ends[to].host);
        if !self.has_power[route.0] {
            return;
        }
        if open.is_held {
            open.waiting.push(message);
            return;
        }
        let link = self.links.entry(route).or_default();
        if link.cuts > 0 {
            link.waiting.push(message);
        } else {
            self.schedule(message);
        }
    }

    fn schedule(&mut self, message: Message) {
        let Some(open) = self.connections.get_mut(&message.connection) else {
            return;
        };
        let route = (open.ends[1 - message.to].host, open.ends[message.to].host);
        let extra = self.links.get(&route).map_or(Duration::ZERO, |l| l.extra);
        let latency = self.rng.between(LATENCY.0, LATENCY.1) + extra;
        let end = &mut open.ends[message.to];
        let at = (entropy::now() + latency).max(end.last_arrival);
        end.last_arrival = at;
        self.sequence += 1;
        self.queue.insert((at, self.sequence), message);
    }

    fn arrive(&mut self, message: Message, wakers: &mut Vec<Waker>) {
        let Message {
            connection,
            to,
            what,
        } = message;
        let Some(open) = self.connections.get_mut(&connection) else {
            return;
        };
        let end = &mut open.ends[to];
        if !self.has_power[end.host] {
            return;
        }
        match what {
            What::Syn => {
                let place = (end.host, open.port);
                let Some(acceptor) = self.acceptors.get_mut(&place) else {
                    self.send(connection, 1 - to, What::Reset);
                    return;
                };
                end.is_open = true;
                end.is_connected = true;
                acceptor.backlog.push_back(connection);
                wakers.extend(acceptor.waker.take());
                self.send(connection, 1 - to, What::SynAck);
            }
            What::Reset => {
                end.is_reset = true;
                end.wakers(wakers);
            }
            _ if !end.is_open => self.send(connection, 1 - to, What::Reset),
            What::SynAck => {
                end.is_connected = true;
                end.wakers(wakers);
            }
            What::Data(bytes) => {
                end.inbox.push_back(bytes);
                wakers.extend(end.reader.take());
            }
            What::Fin => {
                end.is_finished = true;
                wakers.extend(end.reader.take());
            }
        }
    }

    /// Ends this end, and says so or not.
    fn close(&mut self, connection: u64, end: usize, word: Option<What>) {
        let Some(open) = self.connections.get_mut(&connection) else {
            return;
        };
        open.ends[end].is_open = false;
        let is_over = !open.ends[1 - end].is_open && open.ends[1 - end].is_connected;
        if let Some(word) = word {
            self.send(connection, 1 - end, word);
        }
        if is_over {
            self.connections.remove(&connection);
        }
    }
}

impl Net {
    /// A network of machines with these names, all links healthy.
    #[must_use]
    pub fn new(names: &[&str], rng: Rng) -> Self {
        Self(Arc::new(Mutex::new(Inner {
            rng,
            names: names.iter().map(|name| (*name).to_owned()).collect(),
            has_power: vec![true; names.len()],
            queue: BTreeMap::new(),
            sequence: 0,
            links: BTreeMap::new(),
            acceptors: BTreeMap::new(),
            connections: BTreeMap::new(),
            next: 0,
        })))
    }

    /// Delivers what has arrived by now.
    pub fn deliver(&self) {
        let now = entropy::now();
        let mut wakers = Vec::new();
        {
            let mut inner = self.0.lock();
            while let Some(first) = inner.queue.first_entry() {
                if first.key().0 > now {
                    break;
                }
                let message = first.remove();
                inner.arrive(message, &mut wakers);
            }
        }
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Listens on a port of a machine.
    #[must_use]
    pub fn listen(&self, host: Host, port: u16) -> SimListener {
        let mut inner = self.0.lock();
        inner.next += 1;
        let listener = inner.next;
        let acceptor = Acceptor {
            listener,
            ..Acceptor::default()
        };
        inner.acceptors.insert((host, port), acceptor);
        drop(inner);
        SimListener {
            net: self.clone(),
            host,
            port,
            listener,
        }
    }

    /// Connects from one machine to another.
    ///
    /// # Errors
    /// Nobody listens there. A machine that cannot be reached is waited for.
    pub async fn connect(&self, from: Host, to: Host, port: u16) -> std::io::Result<Stream> {
        let connection = {
            let mut inner = self.0.lock();
            inner.next += 1;
            let connection = inner.next;
            let end = |host, is_open| End {
                host,
                is_open,
                ..End::default()
            };
            let open = Connection {
                port,
                ends: [end(from, true), end(to, false)],
                is_held: false,
                waiting: Vec::new(),
            };
            inner.connections.insert(connection, open);
            inner.send(connection, 1, What::Syn);
            connection
        };
        let stream = Stream::new(self.clone(), connection, 0);
        poll_fn(|cx| stream.poll_connected(cx)).await?;
        Ok(stream)
    }

    /// How `host` makes connections.
    #[must_use]
    pub fn dialer(&self, host: Host) -> tidegate_net::Dialer {
        let net = self.clone();
        tidegate_net::Dialer::Other(Arc::new(HostDialer { net, host }))
    }

    /// Cuts the link from one machine to another.
    pub fn cut(&self, from: Host, to: Host) {
        self.0.lock().links.entry((from, to)).or_default().cuts += 1;
    }

    /// Heals what [`Net::cut`] did once; what waited is on its way.
    pub fn heal(&self, from: Host, to: Host) {
        let mut inner = self.0.lock();
        let link = inner.links.entry((from, to)).or_default();
        link.cuts = link.cuts.saturating_sub(1);
        if link.cuts == 0 {
            let waiting = std::mem::take(&mut link.waiting);
            for message in waiting {
                inner.schedule(message);
            }
        }
    }

    /// Makes a link slower, or as fast as usual.
    pub fn slow(&self, from: Host, to: Host, extra: Duration) {
        self.0.lock().links.entry((from, to)).or_default().extra = extra;
    }

    /// Resets every connection between two machines.
    pub fn reset_between(&self, a: Host, b: Host) {
        let mut wakers = Vec::new();
        {
            let mut inner = self.0.lock();
            for open in inner.connections.values_mut() {
                let hosts = [open.ends[0].host, open.ends[1].host];
                if hosts == [a, b] || hosts == [b, a] {
                    for end in &mut open.ends {
                        end.is_reset = true;
                        end.wakers(&mut wakers);
                    }
                }
            }
        }
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Holds one connection between two machines, chosen by `turn`, while the others go
    /// on. Returns which.
    #[must_use]
    pub fn hold_one(&self, from: Host, to: Host, turn: usize) -> Option<u64> {
        let mut inner = self.0.lock();
        let found: Vec<u64> = inner
            .connections
            .iter()
            .filter(|(_, open)| open.ends[0].host == from && open.ends[1].host == to)
            .filter(|(_, open)| !open.is_held && open.ends.iter().all(|end| end.is_open))
            .map(|(connection, _)| *connection)
            .collect();
        let held = *found.get(turn.checked_rem(found.len())?)?;
        inner.connections.get_mut(&held)?.is_held = true;
        Some(held)
    }

    /// Lets a held connection go on.
    pub fn release(&self, connection: u64) {
        let mut inner = self.0.lock();
        let Some(open) = inner.connections.get_mut(&connection) else {
            return;
        };
        open.is_held = false;
        let waiting = std::mem::take(&mut open.waiting);
        for Message { to, what, .. } in waiting {
            inner.send(connection, to, what);
        }
    }

    /// Ends whatever a machine has open: nobody listens there any more. Without power
    /// the others are not told.
    pub fn crash(&self, host: Host, loses_power: bool) {
        let mut inner = self.0.lock();
        inner.acceptors.retain(|(at, _), _| *at != host);
        if loses_power {
            inner.has_power[host] = false;
        }
        let ends: Vec<(u64, usize)> = inner
            .connections
            .iter()
            .flat_map(|(id, open)| [(*id, 0, &open.ends[0]), (*id, 1, &open.ends[1])])
            .filter(|(_, _, end)| end.host == host && end.is_open)
            .map(|(id, end, _)| (id, end))
            .collect();
        for (connection, end) in ends {
            let word = (!loses_power).then_some(What::Reset);
            inner.close(connection, end, word);
        }
    }

    /// Gives a machine its power back.
    pub fn power_on(&self, host: Host) {
        self.0.lock().has_power[host] = true;
    }
}

/// The address of a machine.
#[must_use]
pub fn address(host: Host, port: u16) -> SocketAddr {
    let last = u8::try_from(host + 1).unwrap_or(u8::MAX);
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 0, 0, last)), port)
}

#[derive(Debug)]
struct HostDialer {
    net: Net,
    host: Host,
}

impl Dial for HostDialer {
    fn dial(&self, host: &str, port: u16) -> BoxFuture<'static, std::io::Result<Box<dyn Duplex>>> {
        let (net, from) = (self.net.clone(), self.host);
        let found = net.0.lock().names.iter().position(|name| name == host);
        let unknown = format!("there is no machine {host}");
        Box::pin(async move {
            let to = found.ok_or_else(|| std::io::Error::other(unknown))?;
            let stream = net.connect(from, to, port).await?;
            Ok(Box::new(stream) as Box<dyn Duplex>)
        })
    }
}

/// Accepts connections to one port of a machine.
pub struct SimListener {
    net: Net,
    host: Host,
    port: u16,
    listener: u64,
}

impl Abort for Stream {}

impl Listener for SimListener {
    type Stream = Stream;

    async fn accept(&mut self) -> (Stream, SocketAddr) {
        let place = (self.host, self.port);
        poll_fn(|cx| {
            let mut inner = self.net.0.lock();
            let Some(acceptor) = inner.acceptors.get_mut(&place) else {
                return std::task::Poll::Pending;
            };
            if let Some(connection) = acceptor.backlog.pop_front() {
                let from = inner
                    .connections
                    .get(&connection)
                    .map_or(0, |open| open.ends[0].host);
                let stream = Stream::new(self.net.clone(), connection, 1);
                let port = 1_024 + u16::try_from(connection % 60_000).unwrap_or(0);
                return std::task::Poll::Ready((stream, address(from, port)));
            }
            acceptor.waker = Some(cx.waker().clone());
            std::task::Poll::Pending
        })
        .await
    }

    fn local_addr(&self) -> std::io::Result<SocketAddr> {
        Ok(address(self.host, self.port))
    }
}

impl Drop for SimListener {
    fn drop(&mut self) {
        let mut inner = self.net.0.lock();
        let place = (self.host, self.port);
        let is_own = |a: &Acceptor| a.listener == self.listener;
        if inner.acceptors.get(&place).is_some_and(is_own) {
            let gone = inner.acceptors.remove(&place);
            for connection in gone.map(|a| a.backlog).unwrap_or_default() {
                inner.close(connection, 1, Some(What::Reset));
            }
        }
    }
}
