//! A completed invalidation means: no edge serves the old copy, whether it is heard of,
//! stands still, is cut off or is gone.

use std::time::{Duration, SystemTime};

use tidegate_e2e::v1::{CompletionStatus, EdgeOutcomeKind, InvalidateResponse};
use tidegate_e2e::{Answer, Calls, ControlPlane, Edge, Link, Origin, eventually, v1, within};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::{
    HOST, LONG, SITE, cached, completed_within, invalidate, invalidate_everywhere, list_edges,
    of_tags, of_url, put_site, short_leases, short_margin, site_of, waiting,
};

/// More than heartbeat, lease and margins together.
const PAST_THE_LEASE: Duration = Duration::from_secs(20);
/// Far less than the ten seconds of a lease, of edges and control planes that are not told
/// otherwise.
const MUCH_LESS: Duration = Duration::from_secs(5);
/// Less than a lease.
const WITHIN_THE_LEASE: Duration = Duration::from_millis(300);

struct Fleet {
    control: ControlPlane,
    a: Edge,
    b: Edge,
    /// The way of edge b to the control plane.
    link: Link,
    origin: Origin,
}

impl Fleet {
    async fn start() -> Self {
        let origin = Origin::start().await;
        let control = ControlPlane::start_with(short_leases).await;
        put_site(control.calls(), site_of(&origin)).await;
        let link = Link::to(control.calls().address()).await;
        let a = Edge::start_with(control.calls(), "edge-a", short_margin).await;
        let b = Edge::start_with(&Calls::to(link.url()), "edge-b", short_margin).await;
        control.calls().settled(2).await;
        Self {
            control,
            a,
            b,
            link,
            origin,
        }
    }

    /// Both edges serve `url` from their caches, and the origin has something newer.
    async fn outdated(&self, url: &str, tags: &[&str]) {
        self.origin
            .set(url, Answer::ok("old").cache(LONG).tags(tags));
        cached(&self.a.http(HOST), &self.origin, url, "old").await;
        cached(&self.b.http(HOST), &self.origin, url, "old").await;
        self.origin
            .set(url, Answer::ok("new").cache(LONG).tags(tags));
    }

    fn calls(&self) -> &Calls {
        self.control.calls()
    }
}

fn outcomes(answer: &InvalidateResponse) -> Vec<(&str, EdgeOutcomeKind)> {
    let mut outcomes: Vec<_> = answer
        .edges
        .iter()
        .map(|edge| (edge.edge_id.as_str(), edge.outcome()))
        .collect();
    outcomes.sort_by_key(|(name, _)| *name);
    outcomes
}

/// A request that is in the socket when this returns, whether anyone reads it or not.
async fn asked(base: &str, url: &str) -> TcpStream {
    let address = base.trim_start_matches("http://");
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {url} HTTP/1.1\r\nhost: {HOST}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    stream
}

async fn answered(mut stream: TcpStream) -> String {
    let mut answer = String::new();
    let read = stream.read_to_string(&mut answer);
    within("an answer", read).await.unwrap();
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn complete_means_applied_by_both_edges_and_neither_serves_the_old_copy() {
    let fleet = Fleet::start().await;
    for (url, request) in [
        ("/by-tag", of_tags(&["item:1"])),
        ("/by-pattern", of_tags(&["it*1"])),
        ("/by-url", of_url("/by-url")),
        ("/by-everything", of_tags(&["*"])),
    ] {
        fleet.outdated(url, &["item:1"]).await;
        let answer = invalidate_everywhere(fleet.calls(), request).await;
        let both = [
            ("edge-a", EdgeOutcomeKind::Applied),
            ("edge-b", EdgeOutcomeKind::Applied),
        ];
        assert_eq!(outcomes(&answer), both, "{url}");
        for edge in [&fleet.a, &fleet.b] {
            assert_eq!(edge.http(HOST).get(url).await.text(), "new", "{url}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edge_that_stands_still_is_pending_then_fenced_and_wakes_without_the_old_copy() {
    let mut fleet = Fleet::start().await;
    fleet.outdated("/item", &["item:1"]).await;
    let asleep = fleet.b.http(HOST);
    fleet.b.process().pause();
    let request = of_tags(&["item:1"]);
    let answer = invalidate(fleet.calls(), waiting(request.clone(), WITHIN_THE_LEASE)).await;
    assert_eq!(answer.status(), CompletionStatus::Partial);
    let mixed = |b| [("edge-a", EdgeOutcomeKind::Applied), ("edge-b", b)];
    assert_eq!(outcomes(&answer), mixed(EdgeOutcomeKind::Pending));
    let answer = invalidate(fleet.calls(), waiting(request, PAST_THE_LEASE)).await;
    assert_eq!(answer.status(), CompletionStatus::Complete);
    assert_eq!(outcomes(&answer), mixed(EdgeOutcomeKind::Fenced));
    assert_eq!(fleet.a.http(HOST).get("/item").await.text(), "new");
    // These wait in its sockets when it wakes: nothing can be earlier.
    let mut firsts = Vec::new();
    for _ in 0..8 {
        firsts.push(asked(asleep.base(), "/item").await);
    }
    fleet.b.process().resume();
    for first in firsts {
        let answer = answered(first).await;
        assert!(answer.ends_with("\r\n\r\nnew"), "{answer}");
    }
    fleet.calls().settled(2).await;
    assert_eq!(asleep.get("/item").await.text(), "new");
    // The trail proves it: without a lease first, applied later.
    let request = v1::ListInvalidationsRequest {
        site: SITE.into(),
        ..v1::ListInvalidationsRequest::default()
    };
    let trail = fleet.calls().cache().list_invalidations(request).await;
    let trail = trail.unwrap().into_inner().invalidations;
    for record in &trail {
        let [a, b] = &record.edges[..] else {
            panic!("{record:?}");
        };
        assert_eq!(
            (a.outcome(), b.outcome()),
            (EdgeOutcomeKind::Applied, EdgeOutcomeKind::Applied)
        );
        let time = |at: Option<prost_types::Timestamp>| SystemTime::try_from(at.unwrap()).unwrap();
        assert!(
            a.fenced_at.is_none() && time(a.applied_at) < time(b.fenced_at),
            "{record:?}"
        );
        assert!(time(b.fenced_at) < time(b.applied_at), "{record:?}");
    }
    assert!(!trail.is_empty());
    assert_eq!(
        trail.last().unwrap().edges[0].evicted,
        Some(1),
        "it had the old copy"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edge_that_is_cut_off_is_fenced_and_asks_the_origin() {
    let fleet = Fleet::start().await;
    for (url, stalled) in [("/cut", false), ("/stalled", true)] {
        fleet.outdated(url, &["item:1"]).await;
        if stalled {
            fleet.link.stall();
        } else {
            fleet.link.cut();
        }
        let request = waiting(of_tags(&["item:1"]), PAST_THE_LEASE);
        let answer = invalidate(fleet.calls(), request).await;
        assert_eq!(answer.status(), CompletionStatus::Complete, "{url}");
        let expected = [
            ("edge-a", EdgeOutcomeKind::Applied),
            ("edge-b", EdgeOutcomeKind::Fenced),
        ];
        assert_eq!(outcomes(&answer), expected, "{url}");
        let b = fleet.b.http(HOST);
        assert_eq!(b.get(url).await.text(), "new", "{url}");
        // It cannot know what else has changed.
        fleet.origin.set(url, Answer::ok("newer").cache(LONG));
        assert_eq!(b.get(url).await.text(), "newer", "{url}");
        fleet.link.mend();
        fleet.calls().settled(2).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drained_edge_holds_no_lease_and_delays_nobody() {
    // Long leases: who waits for one is noticed.
    let origin = Origin::start().await;
    let control = ControlPlane::start().await;
    put_site(control.calls(), site_of(&origin)).await;
    let a = Edge::start(control.calls(), "edge-a").await;
    let mut b = Edge::start(control.calls(), "edge-b").await;
    control.calls().settled(2).await;
    b.process().sigterm();
    assert_eq!(b.process().ended().await.code(), Some(0));
    let edges = list_edges(control.calls()).await;
    let leased: Vec<_> = edges
        .edges
        .iter()
        .filter(|edge| edge.lease_left.is_some())
        .map(|edge| edge.edge_id.as_str())
        .collect();
    assert_eq!(leased, ["edge-a"]);
    let answer = completed_within(control.calls(), of_tags(&["item:1"]), MUCH_LESS).await;
    assert_eq!(outcomes(&answer), [("edge-a", EdgeOutcomeKind::Applied)]);
    drop(a);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_an_edge_an_invalidation_is_complete_at_once() {
    let origin = Origin::start().await;
    let control = ControlPlane::start().await;
    put_site(control.calls(), site_of(&origin)).await;
    let answer = completed_within(control.calls(), of_tags(&["item:1"]), MUCH_LESS).await;
    assert_eq!(answer.edges, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restarted_control_plane_does_not_complete_over_an_edge_it_has_not_heard() {
    let mut fleet = Fleet::start().await;
    fleet.outdated("/item", &["item:1"]).await;
    // The edge holds a lease of the run before, and cannot be reached by this one.
    fleet.link.stall();
    fleet.control.restart().await;
    eventually("the control plane answers again", || async {
        fleet.calls().cache().get_head(v1::GetHeadRequest {}).await
    })
    .await;
    let request = waiting(of_tags(&["item:1"]), PAST_THE_LEASE);
    let answer = invalidate(fleet.calls(), request).await;
    assert_eq!(answer.status(), CompletionStatus::Complete, "{answer:?}");
    for edge in [&fleet.a, &fleet.b] {
        assert_eq!(edge.http(HOST).get("/item").await.text(), "new");
    }
    fleet.link.mend();
    fleet.calls().settled(2).await;
}
