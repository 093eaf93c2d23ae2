//! What nobody sends who means well. Of each kind: what must hold all the same.

mod bounds;
mod clients;
mod deception;
mod http2;
mod poisoning;
mod slow;
mod smuggling;

use tidegate_e2e::raw::{Message, RawOrigin, exchange, response, responses};
use tidegate_e2e::{ControlPlane, Edge, Launch, v1};

use crate::support::{HOST, put_site, short_margin, site_at};

/// A `Via` without the mark of the fetch, which is another for each URL and each edge.
pub(crate) fn unmarked(via: &str) -> &str {
    via.split_once(" (").map_or(via, |(way, _)| way)
}

/// An edge in front of an origin that tells what it was sent, byte by byte.
pub(crate) struct Abused {
    pub(crate) control: ControlPlane,
    pub(crate) edge: Edge,
    pub(crate) origin: RawOrigin,
}

impl Abused {
    /// An origin whose answers may be stored, and say what was asked.
    pub(crate) async fn start() -> Self {
        Self::answering(|asked| response(&[("cache-control", "max-age=600")], &asked.line)).await
    }

    pub(crate) async fn answering(
        answer: impl Fn(&Message) -> Vec<u8> + Send + Sync + 'static,
    ) -> Self {
        Self::start_with(answer, |launch| launch, |_| {}).await
    }

    pub(crate) async fn start_with(
        answer: impl Fn(&Message) -> Vec<u8> + Send + Sync + 'static,
        flags: impl FnOnce(Launch) -> Launch,
        change: impl FnOnce(&mut v1::SiteConfig),
    ) -> Self {
        let origin = RawOrigin::start(answer).await;
        let control = ControlPlane::start().await;
        let mut config = site_at(origin.url());
        change(&mut config);
        put_site(control.calls(), config).await;
        let edge = Edge::start_with(control.calls(), "edge-a", |launch| {
            flags(short_margin(launch))
        })
        .await;
        control.calls().settled(1).await;
        Self {
            control,
            edge,
            origin,
        }
    }

    /// Where the edge listens, `host:port`.
    pub(crate) fn address(&self) -> String {
        let http = self.edge.http(HOST);
        http.base().trim_start_matches("http://").to_owned()
    }

    /// Sends bytes, reads until the edge closes, and returns its answers.
    pub(crate) async fn send(&self, bytes: impl AsRef<[u8]>) -> Vec<Message> {
        responses(&exchange(&self.address(), bytes.as_ref()).await)
    }

    /// GET with these lines, on a connection of its own; the one answer.
    pub(crate) async fn get(&self, target: &str, lines: &[&str]) -> Message {
        let mut request = format!("GET {target} HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n");
        for line in lines {
            request.push_str(line);
            request.push_str("\r\n");
        }
        request.push_str("\r\n");
        let answers = self.send(request).await;
        match <[Message; 1]>::try_from(answers) {
            Ok([answer]) => answer,
            Err(other) => panic!("GET {target}: {other:?}"),
        }
    }

    /// The edge works as before, and nothing that is left over becomes a part of the next
    /// request. What the origin was asked before is taken by then.
    pub(crate) async fn still_serves(&self) {
        let answer = self.get("/still-there", &[]).await;
        assert_eq!(answer.word(), "200", "{answer:?}");
        self.was_asked(&["GET /still-there HTTP/1.1"]);
    }

    /// The origin was asked for this alone since that was looked at last, not counting what
    /// broke off.
    pub(crate) fn was_asked(&self, lines: &[&str]) {
        let mut asked = self.origin.take();
        asked.retain(|one| one.line != "malformed");
        let asked: Vec<_> = asked.iter().map(|one| &*one.line).collect();
        assert_eq!(asked, lines);
    }
}

/// Whether it came from the cache.
pub(crate) fn is_hit(answer: &Message) -> bool {
    let status = answer.all("cache-status").join(",");
    status.contains("; hit")
}
