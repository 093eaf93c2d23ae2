//! The floor of a broadcast: one thread that calls `write` on each connection, with
//! nothing between a message and the loop.
//!
//! `GET` subscribes, the body of a `POST` goes to all. Made for the load of this
//! program alone: what it does not understand it closes.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::SocketAddr;

use anyhow::Context as _;
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};

const LISTENER: Token = Token(usize::MAX);

/// Largest request that is read, in bytes.
const MAX_REQUEST: usize = 64 * 1024;

const STREAM_HEAD: &[u8] =
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-store\r\n\r\n: hi\n\n";
const DONE: &[u8] = b"HTTP/1.1 204 No Content\r\n\r\n";

/// A connection by its token; `request` is empty once it listens.
#[derive(Debug)]
struct Connection {
    stream: TcpStream,
    request: Vec<u8>,
    listens: bool,
}

/// Serves until the process is ended.
pub(crate) fn serve(address: SocketAddr) -> anyhow::Result<bool> {
    let mut listener = TcpListener::bind(address).with_context(|| address.to_string())?;
    let mut poll = Poll::new()?;
    poll.registry()
        .register(&mut listener, LISTENER, Interest::READABLE)?;
    let mut connections: Vec<Option<Connection>> = Vec::new();
    let mut events = Events::with_capacity(1024);
    loop {
        match poll.poll(&mut events, None) {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            result => result?,
        }
        for event in &events {
            if event.token() == LISTENER {
                accept(&listener, &poll, &mut connections)?;
            } else if let Some(message) = read(event.token(), &mut connections) {
                broadcast(&message, &mut connections);
            }
        }
    }
}

fn accept(
    listener: &TcpListener,
    poll: &Poll,
    connections: &mut Vec<Option<Connection>>,
) -> anyhow::Result<()> {
    loop {
        let mut stream = match listener.accept() {
            Ok((stream, _)) => stream,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error).context("accept"),
        };
        stream.set_nodelay(true)?;
        let token = Token(connections.len());
        poll.registry()
            .register(&mut stream, token, Interest::READABLE)?;
        connections.push(Some(Connection {
            stream,
            request: Vec::new(),
            listens: false,
        }));
    }
}

/// Reads what has come. Returns the message if that completed a `POST`.
fn read(token: Token, connections: &mut [Option<Connection>]) -> Option<Vec<u8>> {
    let slot = connections.get_mut(token.0)?;
    let connection = slot.as_mut()?;
    let mut buffer = [0; 4096];
    loop {
        match connection.stream.read(&mut buffer) {
            Ok(count) if count > 0 && connection.request.len() + count <= MAX_REQUEST => {
                connection.request.extend_from_slice(&buffer[..count]);
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            _ => {
                *slot = None;
                return None;
            }
        }
    }
    let request = parse(&connection.request)?;
    connection.request = Vec::new();
    match request {
        Request::Listen => {
            connection.listens = true;
            write_whole(slot, STREAM_HEAD);
            None
        }
        Request::Publish(message) => {
            write_whole(slot, DONE);
            Some(message)
        }
    }
}

fn broadcast(message: &[u8], connections: &mut [Option<Connection>]) {
    let frame = [b"data: ", message, b"\n\n"].concat();
    for slot in connections {
        if slot.as_ref().is_some_and(|connection| connection.listens) {
            write_whole(slot, &frame);
        }
    }
}

/// Writes at once or closes: a full socket would be the load's own fault, and shows
/// as a lost message.
fn write_whole(slot: &mut Option<Connection>, bytes: &[u8]) {
    let written = slot
        .as_mut()
        .map(|connection| connection.stream.write(bytes));
    if !matches!(written, Some(Ok(count)) if count == bytes.len()) {
        *slot = None;
    }
}

#[derive(Debug, PartialEq)]
enum Request {
    Listen,
    Publish(Vec<u8>),
}

/// A whole request, or none yet.
fn parse(bytes: &[u8]) -> Option<Request> {
    let head_end = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
    let (head, body) = (&bytes[..head_end], &bytes[head_end + 4..]);
    if head.starts_with(b"GET ") {
        return Some(Request::Listen);
    }
    let head = std::str::from_utf8(head).ok()?.to_ascii_lowercase();
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length:"))?;
    let length: usize = length.trim().parse().ok()?;
    body.get(..length)
        .map(|body| Request::Publish(body.to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_taken_only_when_it_is_whole() {
        let post = b"POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello";
        assert_eq!(parse(post), Some(Request::Publish(b"hello".to_vec())));
        for end in 0..post.len() {
            assert_eq!(parse(&post[..end]), None);
        }
        assert_eq!(parse(b"GET / HTTP/1.1\r\n\r\n"), Some(Request::Listen));
        assert_eq!(parse(b"\xff\xff\r\n\r\n"), None);
    }
}
