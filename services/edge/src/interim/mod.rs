//! Interim responses (RFC 9110, section 15.2; RFC 8297): what an origin says before it
//! answers, on its way to the client.
//!
//! hyper's server sends none but `100 Continue`, so they are written to the connection
//! beside it: each connection of HTTP/1.1 has a line, the one request that it is about
//! speaks into it, and the stream writes what was said where one response has ended and
//! the next has not begun. Nothing here knows of origins or caches. Clients of HTTP/2
//! and of HTTP/1.0 get none.

mod stream;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::Waker;

use futures_util::task::AtomicWaker;
use http::{HeaderMap, StatusCode};
use parking_lot::Mutex;

pub(crate) use stream::Announcing;

/// Bytes of all interim responses to one request. What is more is not passed on.
const MAX_BYTES: usize = 16 << 10;

/// The way to the client of one connection. It carries one request after the other.
#[derive(Debug, Default)]
pub(crate) struct Line {
    /// The request that was begun last, counted from 1.
    request: AtomicU64,
    /// Somebody may say something about it. Until then the line costs a look at this.
    is_open: AtomicBool,
    said: Mutex<Said>,
    connection: AtomicWaker,
}

/// What was said about the current request and not written yet.
#[derive(Debug, Default)]
struct Said {
    bytes: Vec<u8>,
    /// Of all that was said about it.
    total: usize,
    /// Its answer is here: it is too late to say anything.
    is_over: bool,
}

impl Line {
    /// The next request has come.
    pub(crate) fn begin(self: &Arc<Self>) -> Interim {
        let request = self.request.fetch_add(1, Ordering::AcqRel) + 1;
        if self.is_open.swap(false, Ordering::AcqRel) {
            *self.said.lock() = Said::default();
        }
        Interim {
            line: self.clone(),
            request,
        }
    }

    /// Whether somebody may say something about the current request.
    pub(crate) fn is_open(&self) -> bool {
        self.is_open.load(Ordering::Acquire)
    }

    /// Whether the current request may be said something about and has no answer yet. Told
    /// by the task of the connection, in which answers come, it stays so while that runs.
    fn awaits_answer(&self) -> bool {
        self.is_open() && !self.said.lock().is_over
    }

    fn request(&self) -> u64 {
        self.request.load(Ordering::Acquire)
    }

    /// Takes what was said.
    fn take(&self) -> Vec<u8> {
        std::mem::take(&mut self.said.lock().bytes)
    }

    /// Has the connection looked after when something is said.
    fn register(&self, connection: &Waker) {
        self.connection.register(connection);
    }
}

/// Where interim responses to one request go.
#[derive(Clone)]
pub struct Interim {
    line: Arc<Line>,
    request: u64,
}

impl fmt::Debug for Interim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Interim").field(&self.request).finish()
    }
}

impl Interim {
    /// There may be some. Without this, what is said is lost.
    pub fn expect(&self) {
        self.line.is_open.store(true, Ordering::Release);
    }

    /// Says something, unless the request has its answer or too much was said already.
    /// `100` and `101` are between neighbours and go no further.
    pub fn say(&self, status: StatusCode, fields: &HeaderMap) {
        if !(102..200).contains(&status.as_u16()) || !self.line.is_open() {
            return;
        }
        let message = head(status, fields);
        let mut said = self.line.said.lock();
        let is_past = said.is_over || self.line.request() != self.request;
        if is_past || said.total + message.len() > MAX_BYTES {
            return;
        }
        said.total += message.len();
        said.bytes.extend_from_slice(&message);
        drop(said);
        self.line.connection.wake();
    }

    /// The answer is here.
    pub(crate) fn end(&self) {
        if self.line.is_open() {
            self.line.said.lock().is_over = true;
        }
    }
}

/// The response as HTTP/1.1 has it.
fn head(status: StatusCode, fields: &HeaderMap) -> Vec<u8> {
    let reason = status.canonical_reason().unwrap_or("Interim");
    let mut bytes = format!("HTTP/1.1 {} {reason}\r\n", status.as_u16()).into_bytes();
    for (name, value) in fields {
        bytes.extend_from_slice(name.as_str().as_bytes());
        bytes.extend_from_slice(b": ");
        bytes.extend_from_slice(value.as_bytes());
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(b"\r\n");
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    const EARLY_HINTS: StatusCode = StatusCode::EARLY_HINTS;

    fn none() -> HeaderMap {
        HeaderMap::new()
    }

    #[test]
    fn only_what_is_expected_and_in_time_is_taken() {
        let line = Arc::new(Line::default());
        let first = line.begin();
        first.say(EARLY_HINTS, &none());
        assert!(line.take().is_empty(), "nobody expected it");
        first.expect();
        first.say(EARLY_HINTS, &none());
        assert_eq!(line.take(), b"HTTP/1.1 103 Early Hints\r\n\r\n");
        first.end();
        first.say(EARLY_HINTS, &none());
        assert!(line.take().is_empty(), "the answer was there");
        let second = line.begin();
        second.expect();
        first.say(EARLY_HINTS, &none());
        assert!(line.take().is_empty(), "it was about the request before");
    }

    #[test]
    fn what_was_said_of_one_request_is_not_said_of_the_next() {
        let line = Arc::new(Line::default());
        let first = line.begin();
        first.expect();
        first.say(EARLY_HINTS, &none());
        line.begin().expect();
        assert!(line.take().is_empty());
    }

    #[test]
    fn what_is_between_neighbours_and_what_is_too_much_stays_here() {
        let line = Arc::new(Line::default());
        let interim = line.begin();
        interim.expect();
        interim.say(StatusCode::CONTINUE, &none());
        interim.say(StatusCode::SWITCHING_PROTOCOLS, &none());
        interim.say(StatusCode::OK, &none());
        assert!(line.take().is_empty());
        let mut fields = none();
        fields.insert("link", "x".repeat(1 << 10).parse().unwrap());
        for _ in 0..100 {
            interim.say(EARLY_HINTS, &fields);
            line.take();
        }
        assert!(line.said.lock().total <= MAX_BYTES);
    }
}
