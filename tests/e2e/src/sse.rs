//! A reader of server-sent events, after the HTML standard's rules for them.

use std::collections::VecDeque;

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;

use crate::http::{HttpClient, HttpError};
use crate::wait::within;

/// An event as a browser would dispatch it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerSentEvent {
    /// Its type; `message` if it names none.
    pub event: String,
    /// Its data, lines joined by line feeds.
    pub data: String,
    /// The last id that was seen, with this event or before it.
    pub id: String,
}

impl ServerSentEvent {
    /// The data as JSON.
    ///
    /// # Panics
    ///
    /// If it is none.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.data)
            .unwrap_or_else(|error| panic!("no JSON in {self:?}: {error}"))
    }
}

/// An open stream of events.
#[derive(Debug)]
pub struct Events {
    /// Status of the response.
    pub status: StatusCode,
    /// Fields of the response.
    pub headers: HeaderMap,
    body: Incoming,
    parser: Parser,
    ready: VecDeque<ServerSentEvent>,
}

impl Events {
    /// Opens `path`, after the event `last_event_id` if that is given, as a browser that
    /// reconnects does.
    ///
    /// # Panics
    ///
    /// If no response begins in time.
    pub async fn open(client: &HttpClient, path: &str, last_event_id: Option<&str>) -> Self {
        let what = format!("events from {}{path}", client.base());
        within(&what, Self::try_open(client, path, last_event_id))
            .await
            .unwrap_or_else(|error| panic!("{what}: {error}"))
    }

    /// The same, for tests in which it may fail.
    ///
    /// # Errors
    ///
    /// No response begins.
    pub async fn try_open(
        client: &HttpClient,
        path: &str,
        last_event_id: Option<&str>,
    ) -> Result<Self, HttpError> {
        let mut fields = vec![
            ("accept", "text/event-stream"),
            ("cache-control", "no-store"),
        ];
        fields.extend(last_event_id.map(|id| ("last-event-id", id)));
        let response = client
            .begin(Method::GET, path, &fields, Bytes::new())
            .await?;
        let (head, body) = response.into_parts();
        Ok(Self {
            status: head.status,
            headers: head.headers,
            body,
            parser: Parser::default(),
            ready: VecDeque::new(),
        })
    }

    /// The next event; none once the stream has ended.
    ///
    /// # Errors
    ///
    /// If the connection broke.
    ///
    /// # Panics
    ///
    /// If nothing comes in time.
    pub async fn next(&mut self) -> Result<Option<ServerSentEvent>, HttpError> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Ok(Some(event));
            }
            match within("an event", self.body.frame()).await {
                None => return Ok(None),
                Some(frame) => {
                    if let Ok(bytes) = frame?.into_data() {
                        self.ready.extend(self.parser.feed(&bytes));
                    }
                }
            }
        }
    }

    /// The next event of this type; those of other types are passed over.
    ///
    /// # Panics
    ///
    /// If the stream ends before it, or it does not come in time; the message says what
    /// came in its place.
    pub async fn next_of(&mut self, event: &str) -> ServerSentEvent {
        let mut passed = Vec::new();
        let search = async {
            loop {
                match self.next().await {
                    Ok(Some(found)) if found.event == event => return found,
                    Ok(Some(other)) => passed.push(other),
                    ended => panic!("no `{event}`: {ended:?} after {passed:?}"),
                }
            }
        };
        within(&format!("an event `{event}`"), search).await
    }
}

/// Turns bytes into events, however they are cut.
#[derive(Debug, Default)]
struct Parser {
    rest: Vec<u8>,
    after_return: bool,
    event: String,
    data: Option<String>,
    id: String,
}

impl Parser {
    fn feed(&mut self, bytes: &[u8]) -> Vec<ServerSentEvent> {
        let mut events = Vec::new();
        for &byte in bytes {
            // CR, LF and CRLF each end a line.
            let ended_by_return = std::mem::replace(&mut self.after_return, byte == b'\r');
            match byte {
                b'\n' if ended_by_return => {}
                b'\n' | b'\r' => {
                    let line = std::mem::take(&mut self.rest);
                    events.extend(self.line(&String::from_utf8_lossy(&line)));
                }
                _ => self.rest.push(byte),
            }
        }
        events
    }

    fn line(&mut self, line: &str) -> Option<ServerSentEvent> {
        if line.is_empty() {
            return self.dispatch();
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => value.clone_into(&mut self.event),
            "id" if !value.contains('\0') => value.clone_into(&mut self.id),
            "data" => match &mut self.data {
                Some(data) => {
                    data.push('\n');
                    data.push_str(value);
                }
                None => self.data = Some(value.to_owned()),
            },
            // Comments, `retry`, and what a browser does not know.
            _ => {}
        }
        None
    }

    fn dispatch(&mut self) -> Option<ServerSentEvent> {
        let event = std::mem::take(&mut self.event);
        // Without data there is no event, but the id counts.
        let data = self.data.take()?;
        Some(ServerSentEvent {
            event: if event.is_empty() {
                "message".to_owned()
            } else {
                event
            },
            data,
            id: self.id.clone(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Answer, Origin};

    fn event(event: &str, data: &str, id: &str) -> ServerSentEvent {
        ServerSentEvent {
            event: event.into(),
            data: data.into(),
            id: id.into(),
        }
    }

    const STREAM: &str = "retry: 10\r\n: hello\n\nevent: connected\nid: 7\ndata: {}\n\n\
                          data: a\r\ndata:b\r\ndata\r\n\r\nid: 9\n\nevent: x\rdata: 1\r\r\
                          data: cut off";

    fn expected() -> Vec<ServerSentEvent> {
        vec![
            event("connected", "{}", "7"),
            event("message", "a\nb\n", "7"),
            event("x", "1", "9"),
        ]
    }

    #[test]
    fn events_are_those_a_browser_would_dispatch() {
        assert_eq!(Parser::default().feed(STREAM.as_bytes()), expected());
    }

    #[test]
    fn the_cut_between_chunks_makes_no_difference() {
        for cut in 0..STREAM.len() {
            let mut parser = Parser::default();
            let mut events = parser.feed(&STREAM.as_bytes()[..cut]);
            events.extend(parser.feed(&STREAM.as_bytes()[cut..]));
            assert_eq!(events, expected(), "cut at {cut}");
        }
    }

    #[tokio::test]
    async fn a_stream_is_read_as_it_comes() {
        let origin = Origin::start().await;
        let answer = Answer::ok("event: a\ndata: 1\n\nevent: b\ndata: 2\n\n");
        origin.set("/events", answer.field("content-type", "text/event-stream"));
        let gate = origin.hold_body("/events");
        let client = HttpClient::new(origin.url());
        let mut events = Events::open(&client, "/events", Some("5")).await;
        assert_eq!(events.next_of("a").await.json(), 1);
        gate.open();
        assert_eq!(events.next_of("b").await.data, "2");
        assert_eq!(events.next().await.unwrap(), None);
        assert_eq!(origin.asked("/events")[0].headers["last-event-id"], "5");
    }
}
