//! An edge, its control plane, its origin, and the clock by which it counts.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser as _;
use prost::Message as _;
use tidegate_clock::ManualClock;
use tidegate_domain::{Cursor, Epoch, Revision, SiteFilter, Term};
use tidegate_edge::app::{App, Listeners, Surroundings};
use tidegate_edge::config::Config;
use tidegate_edge::standing::{Lease, Standing};
use tidegate_net::Dialer;
use tidegate_proto::v1;
use tidegate_proto::v1::subscribe_response::Frame;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::control::{Control, Subscribed, eventually, leased, patiently};
use super::origin::Origin;

pub(crate) const HOST: &str = "www.example.com";
pub(crate) const SITE: &str = "shop";
/// The version of events that edges understand.
pub(crate) const VERSION: u32 = tidegate_proto::EVENT_VERSION;

/// See the module.
pub(crate) struct Rig {
    pub(crate) control: Control,
    pub(crate) origin: Origin,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) standing: Arc<Standing>,
    address: SocketAddr,
    admin_address: SocketAddr,
    stop: DropGuard,
    running: JoinHandle<anyhow::Result<()>>,
}

/// What a client got.
#[derive(Debug, Clone)]
pub(crate) struct Got {
    /// In lower case.
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Got {
    /// The value of `Cache-Status`.
    pub(crate) fn cache_status(&self) -> &str {
        let lines = self.head.lines();
        let mut found = lines.filter_map(|line| line.strip_prefix("cache-status: "));
        found.next().unwrap_or("")
    }

    pub(crate) fn is_hit(&self) -> bool {
        self.cache_status().contains("; hit")
    }
}

impl Rig {
    /// An edge that has just been started; nothing has been said to it.
    pub(crate) async fn start() -> Self {
        let (control, origin) = (Control::start().await, Origin::start().await);
        let clock = Arc::new(ManualClock::default());
        clock.advance(Duration::from_secs(1_000));
        let config = Config::parse_from([
            "tidegate-edge",
            "--listen=127.0.0.1:0",
            "--admin-listen=127.0.0.1:0",
            "--edge-id=e1",
            "--min-revision-wait=30s",
            "--drain=1ms",
            &format!("--control=http://{}", control.address),
        ]);
        let surroundings = Surroundings {
            clock: clock.clone(),
            dialer: Dialer::Tcp,
        };
        let listeners = Listeners::bind(&config).unwrap();
        let app = App::build_in(&config, listeners, surroundings).unwrap();
        let (address, standing) = (app.address(), app.standing());
        let admin_address = app.admin_address();
        let stop = CancellationToken::new();
        let running = tokio::spawn(app.run(stop.clone()));
        Self {
            control,
            origin,
            clock,
            standing,
            address,
            admin_address,
            stop: stop.drop_guard(),
            running,
        }
    }

    /// An edge at revision 5 of history 1, with a lease and one site.
    pub(crate) async fn serving() -> (Self, Subscribed) {
        let mut rig = Self::start().await;
        let stream = rig.control.stream().await;
        rig.snapshot(&stream, 1, 5, &rig.site()).await;
        rig.control.answers_heartbeats(|_| Ok(leased(1, 1_000)));
        rig.has_lease().await;
        (rig, stream)
    }

    /// Stops the edge and waits until it has ended; where it stood then.
    pub(crate) async fn stop(self) -> (Control, Arc<Standing>) {
        drop(self.stop);
        let ended = patiently("the edge ends", self.running).await;
        ended.unwrap().unwrap();
        (self.control, self.standing)
    }

    pub(crate) fn site(&self) -> v1::SiteConfig {
        self.site_with(&serde_json::json!({}))
    }

    /// A site in front of the origin, with more settings.
    pub(crate) fn site_with(&self, more: &serde_json::Value) -> v1::SiteConfig {
        let upstream = format!("http://{}", self.origin.address);
        let mut config = serde_json::json!({
            "hosts": [HOST],
            "origin": { "upstreams": [{ "url": upstream }] },
        });
        let (all, more) = (config.as_object_mut().unwrap(), more.as_object().unwrap());
        all.extend(more.clone());
        let config = serde_json::from_value(config).unwrap();
        tidegate_proto::site_to_wire(&config)
    }

    /// Sends a whole snapshot and waits until the edge stands there.
    pub(crate) async fn snapshot(
        &self,
        stream: &Subscribed,
        epoch: u64,
        revision: u64,
        config: &v1::SiteConfig,
    ) {
        stream.send(reset(epoch, revision)).await;
        stream.send(site(config)).await;
        stream.send(snapshot_end(epoch, revision)).await;
        self.stands_at(epoch, revision).await;
    }

    /// Sends events, each with the next revision, and waits until they are applied.
    pub(crate) async fn apply(&self, stream: &Subscribed, kinds: Vec<v1::event::Kind>) -> u64 {
        let at = self.standing.position().unwrap();
        let mut revision = at.revision.0;
        let mut events = Vec::new();
        for kind in kinds {
            revision += 1;
            events.push(event(revision, kind));
        }
        stream
            .send(batch(at.epoch.0, at.revision.0, revision, events))
            .await;
        self.stands_at(at.epoch.0, revision).await;
        revision
    }

    /// Gives the site another configuration.
    pub(crate) async fn configure(&self, stream: &Subscribed, config: &v1::SiteConfig) {
        let changed = v1::event::Kind::SiteChanged(v1::SiteChanged {
            config: Some(config.clone()),
        });
        self.apply(stream, vec![changed]).await;
    }

    /// A browser that listens for events.
    pub(crate) async fn listen(&self) -> Browser {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let request = format!("GET /_tidegate/events HTTP/1.1\r\nHost: {HOST}\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut browser = Browser {
            stream,
            heard: String::new(),
        };
        browser.hear_of("connected", 1).await;
        browser
    }

    /// What is measured.
    pub(crate) async fn metrics(&self) -> String {
        get(self.admin_address, "/metrics", &[]).await.body
    }

    pub(crate) async fn stands_at(&self, epoch: u64, revision: u64) {
        eventually(&format!("revision {revision} is applied"), || {
            let at = self.standing.position();
            at.is_some_and(|at| (at.epoch.0, at.revision.0) == (epoch, revision))
        })
        .await;
    }

    pub(crate) async fn has_lease(&self) {
        eventually("the edge has a lease", || self.standing.now().leased()).await;
    }

    pub(crate) fn lease(&self) -> Lease {
        self.standing.now().lease
    }

    pub(crate) async fn get(&self, target: &str, fields: &[(&str, &str)]) -> Got {
        get(self.address, target, fields).await
    }

    /// The same beside the test.
    pub(crate) fn getting(
        &self,
        target: &'static str,
        field: (&'static str, String),
    ) -> JoinHandle<Got> {
        let address = self.address;
        tokio::spawn(async move { get(address, target, &[(field.0, &field.1)]).await })
    }
}

/// Reads events from their stream.
pub(crate) struct Browser {
    stream: TcpStream,
    heard: String,
}

impl Browser {
    /// Waits for so many events of a type; everything up to there.
    pub(crate) async fn hear_of(&mut self, kind: &str, count: usize) -> String {
        let line = format!("event: {kind}\n");
        let hear = async {
            loop {
                let mut ends = self.heard.match_indices(&line);
                if let Some((at, _)) = ends.nth(count - 1)
                    && let Some(end) = self.heard[at..].find("\n\n")
                {
                    let rest = self.heard.split_off(at + end);
                    return std::mem::replace(&mut self.heard, rest);
                }
                let mut piece = [0; 4_096];
                let read = self.stream.read(&mut piece).await.unwrap();
                assert_ne!(read, 0, "the stream has ended: {}", self.heard);
                self.heard
                    .push_str(std::str::from_utf8(&piece[..read]).unwrap());
            }
        };
        patiently(kind, hear).await
    }
}

async fn get(address: SocketAddr, target: &str, fields: &[(&str, &str)]) -> Got {
    let mut request = format!("GET {target} HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n");
    for (name, value) in fields {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    request.push_str("\r\n");
    let exchange = async {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    };
    let answer = patiently(target, exchange).await;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    Got {
        head: head.to_ascii_lowercase(),
        body: body.to_owned(),
    }
}

pub(crate) fn cursor(epoch: u64, revision: u64) -> String {
    let cursor = Cursor {
        epoch: Epoch(epoch),
        term: Term(1),
        revision: Revision(revision),
        filter: SiteFilter::ALL,
    };
    cursor.to_string()
}

pub(crate) fn hello(epoch: u64, head: u64, mode: v1::SubscribeMode) -> Frame {
    Frame::Hello(v1::Hello {
        epoch,
        head,
        mode: mode.into(),
        reason: v1::ResetReason::NoCursor.into(),
        ..v1::Hello::default()
    })
}

pub(crate) fn reset(epoch: u64, head: u64) -> Frame {
    hello(epoch, head, v1::SubscribeMode::Reset)
}

pub(crate) fn resume(epoch: u64, head: u64) -> Frame {
    hello(epoch, head, v1::SubscribeMode::Resume)
}

pub(crate) fn site(config: &v1::SiteConfig) -> Frame {
    Frame::SiteSnapshot(v1::SiteSnapshot {
        site: Some(v1::Site {
            name: SITE.into(),
            config: Some(config.clone()),
            ..v1::Site::default()
        }),
        ..v1::SiteSnapshot::default()
    })
}

pub(crate) fn snapshot_end(epoch: u64, revision: u64) -> Frame {
    Frame::SnapshotEnd(v1::SnapshotEnd {
        revision,
        cursor: cursor(epoch, revision),
    })
}

pub(crate) fn event(revision: u64, kind: v1::event::Kind) -> Vec<u8> {
    let event = v1::Event {
        revision,
        term: 1,
        version: VERSION,
        site: SITE.into(),
        kind: Some(kind),
        ..v1::Event::default()
    };
    event.encode_to_vec()
}

pub(crate) fn batch(epoch: u64, from: u64, to: u64, events: Vec<Vec<u8>>) -> Frame {
    Frame::Batch(v1::Batch {
        from_exclusive: from,
        to_inclusive: to,
        cursor: cursor(epoch, to),
        events: events.into_iter().map(Into::into).collect(),
    })
}

pub(crate) fn invalidated(patterns: &[&str], mode: v1::InvalidationMode) -> v1::event::Kind {
    v1::event::Kind::Invalidated(v1::Invalidated {
        patterns: patterns.iter().map(ToString::to_string).collect(),
        mode: mode.into(),
        ..v1::Invalidated::default()
    })
}

pub(crate) fn hard(pattern: &str) -> v1::event::Kind {
    invalidated(&[pattern], v1::InvalidationMode::Hard)
}

pub(crate) fn soft(pattern: &str) -> v1::event::Kind {
    invalidated(&[pattern], v1::InvalidationMode::Soft)
}
