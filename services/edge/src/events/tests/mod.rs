//! Tests of the room as a whole; those of one part sit by it.

mod framing;
mod http_rules;
mod narrowing;
mod resume;
mod server;
mod stream;
mod stress;

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures_util::future::BoxFuture;
use http::{HeaderMap, Method, Response};
use http_body::Body;
use parking_lot::Mutex;
use tidegate_clock::{Clock, ManualClock};
use tidegate_domain::site::{EventsConfig, SiteConfig};
use tidegate_domain::{
    Cursor, Epoch, EventType, Mode, PathAndQuery, Revision, SiteFilter, SiteName, TagPattern, Term,
};

use super::{Call, EventsBody, Kind, Limits, Replay, Replayed, SiteEvent, SiteEvents};
use crate::standing::Standing;

pub(super) fn at(revision: u64) -> Cursor {
    Cursor {
        epoch: Epoch(1),
        term: Term(1),
        revision: Revision(revision),
        filter: SiteFilter::ALL,
    }
}

pub(super) fn patterns(texts: &[&str]) -> Vec<TagPattern> {
    let parse = |text: &&str| TagPattern::parse(text).unwrap();
    texts.iter().map(parse).collect()
}

fn invalidate(revision: u64, tags: &[&str]) -> SiteEvent {
    SiteEvent {
        cursor: at(revision),
        kind: Kind::Invalidate {
            patterns: patterns(tags),
            mode: Mode::Hard,
            spread: Duration::ZERO,
        },
        traceparent: String::new(),
    }
}

fn custom(revision: u64, data: &str, audience: &[&str]) -> SiteEvent {
    SiteEvent {
        cursor: at(revision),
        kind: Kind::Custom {
            event_type: EventType::parse("price").unwrap(),
            data: data.to_owned(),
            audience: patterns(audience),
        },
        traceparent: String::new(),
    }
}

fn preload(revision: u64, url: &str, audience: &[&str]) -> SiteEvent {
    SiteEvent {
        cursor: at(revision),
        kind: Kind::Preload {
            urls: vec![PathAndQuery::parse(url).unwrap()],
            audience: patterns(audience),
        },
        traceparent: String::new(),
    }
}

/// What the log says, and what it was asked.
#[derive(Default)]
struct FakeLog {
    answer: Mutex<Option<Replayed>>,
    asked: Mutex<Vec<(Cursor, Revision)>>,
}

impl Replay for FakeLog {
    fn read<'a>(&'a self, _: &'a SiteName, after: Cursor, to: Revision) -> BoxFuture<'a, Replayed> {
        self.asked.lock().push((after, to));
        let answer = self.answer.lock().clone();
        Box::pin(async move {
            match answer {
                Some(answer) => answer,
                None => std::future::pending().await,
            }
        })
    }
}

/// One site on an edge that holds a lease, at revision 10, with everything public.
struct Bench {
    clock: Arc<ManualClock>,
    standing: Arc<Standing>,
    log: Arc<FakeLog>,
    site: Arc<SiteEvents>,
}

impl Bench {
    fn new() -> Self {
        Self::with(|_| {}, Limits::default())
    }

    fn with(config: impl FnOnce(&mut EventsConfig), limits: Limits) -> Self {
        let clock = Arc::new(ManualClock::default());
        clock.advance(Duration::from_secs(100));
        let standing = Arc::new(Standing::new(clock.clone()));
        standing.advance(at(10));
        let lease = Duration::from_secs(10);
        standing.grant(standing.now().era, clock.boot() + lease, Revision::ZERO);
        let log = Arc::new(FakeLog::default());
        let name = SiteName::parse("shop").unwrap();
        let checked = site_config(config).check().unwrap();
        let site = SiteEvents::new(
            name,
            &checked,
            standing.clone(),
            log.clone(),
            at(10),
            limits,
        );
        Self {
            clock,
            standing,
            log,
            site,
        }
    }

    /// As the link does it.
    fn publish(&self, event: SiteEvent) {
        self.standing.advance(event.cursor);
        self.site.publish(event);
    }

    async fn get(&self, query: &str, fields: &[(&'static str, &str)]) -> Response<EventsBody> {
        call(&self.site, Method::GET, query, fields).await
    }

    /// Listens, and has heard `connected`.
    async fn listen(&self, query: &str) -> Ear {
        let mut ear = Ear::new(self.get(query, &[]).await);
        assert_eq!(ear.hear()[0].event, "connected");
        ear
    }

    async fn resume(&self, query: &str, last: &str) -> Ear {
        Ear::new(self.get(query, &[("last-event-id", last)]).await)
    }
}

fn site_config(config: impl FnOnce(&mut EventsConfig)) -> SiteConfig {
    let mut site = SiteConfig {
        hosts: vec!["*".into()],
        ..SiteConfig::default()
    };
    site.events.public_tags = vec!["*".into()];
    config(&mut site.events);
    site
}

async fn call(
    site: &Arc<SiteEvents>,
    method: Method,
    query: &str,
    fields: &[(&'static str, &str)],
) -> Response<EventsBody> {
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        headers.append(*name, value.parse().unwrap());
    }
    site.serve(Call {
        method: &method,
        query: (!query.is_empty()).then_some(query),
        headers: &headers,
        peer: [127, 0, 0, 1].into(),
    })
    .await
}

/// An event as a browser dispatches it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Told {
    id: String,
    event: String,
    data: String,
}

/// A connection that is polled by hand.
struct Ear {
    body: Pin<Box<EventsBody>>,
    parser: Parser,
    chunks: usize,
    is_over: bool,
}

impl Ear {
    fn new(response: Response<EventsBody>) -> Self {
        assert_eq!(response.status(), 200);
        Self {
            body: Box::pin(response.into_body()),
            parser: Parser::default(),
            chunks: 0,
            is_over: false,
        }
    }

    /// Everything that is ready now.
    fn hear(&mut self) -> Vec<Told> {
        self.hear_with(Waker::noop())
    }

    fn hear_with(&mut self, waker: &Waker) -> Vec<Told> {
        let mut told = Vec::new();
        while !self.is_over {
            match self
                .body
                .as_mut()
                .poll_frame(&mut Context::from_waker(waker))
            {
                Poll::Ready(Some(frame)) => {
                    self.chunks += 1;
                    told.extend(self.parser.feed(&frame.unwrap().into_data().unwrap()));
                }
                Poll::Ready(None) => self.is_over = true,
                Poll::Pending => break,
            }
        }
        told
    }

    /// The data of everything that is ready now, by event.
    fn says(&mut self) -> Vec<(String, String)> {
        self.hear().into_iter().map(|t| (t.event, t.data)).collect()
    }

    /// The last id, as a browser would send it.
    fn last_id(&self) -> &str {
        &self.parser.last_id
    }
}

fn said(told: &[(&str, &str)]) -> Vec<(String, String)> {
    let own = |(a, b): &(&str, &str)| ((*a).to_owned(), (*b).to_owned());
    told.iter().map(own).collect()
}

/// The algorithm of WHATWG HTML, section 9.2.6, over whole chunks.
#[derive(Default)]
struct Parser {
    rest: String,
    last_id: String,
    id: String,
    event: String,
    data: String,
}

impl Parser {
    fn feed(&mut self, chunk: &[u8]) -> Vec<Told> {
        self.rest.push_str(std::str::from_utf8(chunk).unwrap());
        let mut told = Vec::new();
        while let Some(end) = self.rest.find(['\r', '\n']) {
            let line = self.rest[..end].to_owned();
            let width = 1 + usize::from(self.rest[end..].starts_with("\r\n"));
            self.rest.drain(..end + width);
            if !line.is_empty() {
                self.field(&line);
                continue;
            }
            self.last_id.clone_from(&self.id);
            let (event, mut data) = (
                std::mem::take(&mut self.event),
                std::mem::take(&mut self.data),
            );
            if data.pop().is_some() {
                told.push(Told {
                    id: self.last_id.clone(),
                    event,
                    data,
                });
            }
        }
        told
    }

    fn field(&mut self, line: &str) {
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match name {
            "event" => self.event = value.to_owned(),
            "data" => {
                self.data.push_str(value);
                self.data.push('\n');
            }
            "id" => self.id = value.to_owned(),
            _ => {}
        }
    }
}
