//! What edges share with each other: the origin answers once for all of them, a new edge
//! starts warm, and what was invalidated comes back to nobody by this way either.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tidegate_e2e::{Answer, Calls, ControlPlane, Edge, HttpClient, Link, Origin, eventually, v1};

use crate::support::{
    HOST, LONG, invalidate_everywhere, of_tags, of_url, put_site, short_margin, site_of,
};

/// Waits that a slow machine does not cut short.
fn patient() -> v1::SecondTier {
    let seconds = |seconds| Some(prost_types::Duration { seconds, nanos: 0 });
    v1::SecondTier {
        look_up_timeout: seconds(1),
        wait: seconds(3),
        ..v1::SecondTier::default()
    }
}

fn sharing(origin: &Origin) -> v1::SiteConfig {
    v1::SiteConfig {
        cache: Some(v1::CachePolicy {
            second_tier: Some(patient()),
            ..v1::CachePolicy::default()
        }),
        ..site_of(origin)
    }
}

struct Fleet {
    control: ControlPlane,
    edges: Vec<Edge>,
    origin: Origin,
}

impl Fleet {
    async fn start(edges: usize) -> Self {
        Self::start_with(edges, |_| {}).await
    }

    async fn start_with(edges: usize, change: impl FnOnce(&mut v1::SiteConfig)) -> Self {
        let origin = Origin::start().await;
        let control = ControlPlane::start().await;
        let mut config = sharing(&origin);
        change(&mut config);
        put_site(control.calls(), config).await;
        let mut fleet = Self {
            control,
            edges: Vec::new(),
            origin,
        };
        for _ in 0..edges {
            fleet.add_edge().await;
        }
        fleet
    }

    async fn add_edge(&mut self) -> HttpClient {
        let name = format!("edge-{}", self.edges.len());
        let edge = Edge::start_with(self.calls(), &name, short_margin).await;
        self.edges.push(edge);
        self.calls().settled(self.edges.len()).await;
        self.http(self.edges.len() - 1)
    }

    fn calls(&self) -> &Calls {
        self.control.calls()
    }

    fn http(&self, edge: usize) -> HttpClient {
        self.edges[edge].http(HOST)
    }

    fn set(&self, url: &str, body: &str, tags: &[&str]) {
        self.origin
            .set(url, Answer::ok(body.to_owned()).cache(LONG).tags(tags));
    }

    /// Lets the first edge fetch it, and waits until the control plane has it.
    async fn share(&self, url: &str, body: &str, tags: &[&str]) {
        self.set(url, body, tags);
        let before = figure(&self.edges[0], "shared").await;
        assert_eq!(self.http(0).get(url).await.text(), body);
        eventually(&format!("{url} is shared"), || async {
            match figure(&self.edges[0], "shared").await {
                now if now > before => Ok(()),
                now => Err(now),
            }
        })
        .await;
    }
}

/// A figure of an edge's second tier.
async fn figure(edge: &Edge, name: &str) -> u64 {
    let metrics = edge.admin().get("/metrics").await.text();
    let line = format!("tidegate_edge_second_tier_{name} ");
    let value = metrics.lines().find_map(|it| it.strip_prefix(&line));
    value.unwrap().parse().unwrap()
}

fn is_shared(reply: &tidegate_e2e::Reply) -> bool {
    reply.field("cache-status").contains("detail=shared")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_origin_answers_once_for_edges_that_miss_at_the_same_time() {
    let fleet = Fleet::start(3).await;
    fleet.set("/item", "item", &["item:1"]);
    let gate = fleet.origin.hold_header("/item");
    let waiting: Vec<_> = (0..3)
        .map(|edge| {
            let http = fleet.http(edge);
            tokio::spawn(async move { http.get("/item").await })
        })
        .collect();
    gate.reached().await;
    eventually("the others wait for it", || async {
        let mut look_ups = 0;
        for edge in &fleet.edges {
            look_ups += figure(edge, "look_ups").await;
        }
        // The one that fetches looks once, the others a second time to wait.
        if look_ups == 5 { Ok(()) } else { Err(look_ups) }
    })
    .await;
    gate.open();
    let mut shared = 0;
    for reply in waiting {
        let reply = reply.await.unwrap();
        assert_eq!(reply.text(), "item");
        shared += usize::from(is_shared(&reply));
    }
    assert_eq!((fleet.origin.count("/item"), shared), (1, 2));
    for edge in 0..3 {
        assert_eq!(fleet.http(edge).get("/item").await.text(), "item");
    }
    assert_eq!(fleet.origin.count("/item"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_edge_starts_warm_while_the_origin_is_down() {
    let mut fleet = Fleet::start(1).await;
    for number in 0..5 {
        let url = format!("/item/{number}?x=1");
        fleet
            .share(&url, &format!("item {number}"), &["item:1"])
            .await;
    }
    let large = "x".repeat(200_000);
    fleet.share("/large", &large, &[]).await;
    fleet.origin.go_down().await;
    let new = fleet.add_edge().await;
    for number in 0..5 {
        let url = format!("/item/{number}?x=1");
        let reply = new.get(&url).await;
        assert!(is_shared(&reply), "{reply:?}");
        assert_eq!(reply.text(), format!("item {number}"));
        let again = new.get(&url).await;
        assert!(again.field("cache-status").contains("; hit"), "{again:?}");
    }
    assert_eq!(new.get("/large").await.text(), large);
    assert_eq!(new.get("/other").await.status.as_u16(), 502);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_site_that_does_not_say_so_shares_nothing() {
    let fleet = Fleet::start_with(2, |config| config.cache = None).await;
    fleet.set("/item", "item", &[]);
    for edge in 0..2 {
        assert_eq!(fleet.http(edge).get("/item").await.text(), "item");
        assert_eq!(figure(&fleet.edges[edge], "look_ups").await, 0);
        assert_eq!(figure(&fleet.edges[edge], "shared").await, 0);
    }
    assert_eq!(fleet.origin.count("/item"), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_invalidated_is_not_found_by_an_edge_that_never_had_it() {
    let fleet = Fleet::start(2).await;
    for (number, request) in [
        of_tags(&["item:1"]),
        of_tags(&["it*1"]),
        of_url("/by/2"),
        of_tags(&["*"]),
        v1::InvalidateRequest {
            mode: v1::InvalidationMode::Soft.into(),
            ..of_tags(&["item:1"])
        },
    ]
    .into_iter()
    .enumerate()
    {
        let url = format!("/by/{number}");
        fleet.share(&url, "old", &["item:1"]).await;
        fleet.set(&url, "new", &["item:1"]);
        invalidate_everywhere(fleet.calls(), request).await;
        assert_eq!(fleet.http(1).get(&url).await.text(), "new", "{url}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_fetched_before_an_invalidation_and_is_whole_after_it_reaches_no_other_edge() {
    let fleet = Fleet::start(2).await;
    for mode in [v1::InvalidationMode::Hard, v1::InvalidationMode::Soft] {
        let url = format!("/late/{mode:?}");
        fleet.set(&url, "old old", &["item:1"]);
        let gate = fleet.origin.hold_body(&url);
        let early = {
            let (http, url) = (fleet.http(0), url.clone());
            tokio::spawn(async move { http.get(&url).await.text() })
        };
        gate.reached().await;
        fleet.set(&url, "new new", &["item:1"]);
        fleet.origin.hold_no_more(&url);
        let request = v1::InvalidateRequest {
            mode: mode.into(),
            ..of_tags(&["item:1"])
        };
        invalidate_everywhere(fleet.calls(), request).await;
        // Who waits for what the first one fetches gets nothing old by that.
        let waiting = {
            let (http, url) = (fleet.http(1), url.clone());
            tokio::spawn(async move { http.get(&url).await.text() })
        };
        gate.open();
        early.await.unwrap();
        assert_eq!(waiting.await.unwrap(), "new new", "{mode:?}");
        for _ in 0..3 {
            assert_eq!(fleet.http(1).get(&url).await.text(), "new new", "{mode:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_gets_what_was_final_before_whoever_shares_it_when() {
    const ROUNDS: usize = 60;
    let fleet = Fleet::start(3).await;
    let url = "/item";
    let is_final = Arc::new(AtomicUsize::new(0));
    let is_over = Arc::new(AtomicBool::new(false));
    fleet.set(url, "0", &["item:1"]);
    let readers: Vec<_> = (0..6)
        .map(|reader| {
            let http = fleet.http(reader % 3);
            let (is_final, is_over) = (is_final.clone(), is_over.clone());
            tokio::spawn(async move {
                let mut shared = 0;
                while !is_over.load(Ordering::SeqCst) {
                    let at_least = is_final.load(Ordering::SeqCst);
                    let reply = http.get(url).await;
                    let got: usize = reply.text().parse().unwrap();
                    assert!(got >= at_least, "{got} after {at_least}: {reply:?}");
                    shared += usize::from(is_shared(&reply));
                }
                shared
            })
        })
        .collect();
    for round in 1..=ROUNDS {
        fleet.set(url, &round.to_string(), &["item:1"]);
        let request = v1::InvalidateRequest {
            mode: v1::InvalidationMode::Hard.into(),
            ..of_tags(&["item:1"])
        };
        invalidate_everywhere(fleet.calls(), request).await;
        is_final.store(round, Ordering::SeqCst);
    }
    is_over.store(true, Ordering::SeqCst);
    let mut shared = 0;
    for reader in readers {
        shared += reader.await.unwrap();
    }
    assert!(shared > 0, "nothing was shared in all of it");
}

#[tokio::test(flavor = "multi_thread")]
async fn misses_are_answered_while_the_control_plane_is_silent_or_gone() {
    let origin = Origin::start().await;
    let control = ControlPlane::start().await;
    let mut config = sharing(&origin);
    // As by default.
    config.cache.as_mut().unwrap().second_tier = Some(v1::SecondTier::default());
    put_site(control.calls(), config).await;
    let link = Link::to(control.calls().address()).await;
    let edge = Edge::start_with(&Calls::to(link.url()), "edge-a", short_margin).await;
    control.calls().settled(1).await;
    for (way, is_cut) in [("stalled", false), ("cut", true)] {
        match is_cut {
            true => link.cut(),
            false => link.stall(),
        }
        for number in 0..10 {
            let url = format!("/{way}/{number}");
            origin.set(&url, Answer::ok(url.clone()).cache(LONG));
            let reply = edge.http(HOST).get(&url).await;
            assert_eq!(reply.text(), url);
        }
        // It was not asked again and again: nobody waited for it ten times.
        assert!(figure(&edge, "skipped").await >= 5, "{way}");
        link.mend();
        control.calls().settled(1).await;
    }
    // It is asked again once it answers.
    let count = AtomicUsize::new(0);
    eventually("the edge shares again", || async {
        let url = format!("/again/{}", count.fetch_add(1, Ordering::SeqCst));
        origin.set(&url, Answer::ok(url.clone()).cache(LONG));
        edge.http(HOST).get(&url).await;
        match figure(&edge, "shared").await {
            0 => Err("nothing yet"),
            _ => Ok(()),
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_shared_before_a_change_of_the_site_or_without_it_is_not_found() {
    let mut fleet = Fleet::start(1).await;
    fleet.share("/item", "of the first origin", &[]).await;
    let other = Origin::start().await;
    other.set("/item", Answer::ok("of the other").cache(LONG));
    put_site(fleet.calls(), sharing(&other)).await;
    fleet.calls().settled(1).await;
    let new = fleet.add_edge().await;
    assert_eq!(new.get("/item").await.text(), "of the other");
    assert_eq!(fleet.http(0).get("/item").await.text(), "of the other");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_backup_holds_and_was_invalidated_after_it_is_not_found_once_it_is_back() {
    let mut fleet = Fleet::start(1).await;
    fleet.share("/item", "old", &["item"]).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a.backup");
    let file = file.to_str().unwrap();
    let cli = fleet.calls().cli();
    cli.json(["control-plane", "backup", file]).await;
    fleet.set("/item", "new", &["item"]);
    invalidate_everywhere(fleet.calls(), of_tags(&["item"])).await;
    fleet.control.process().kill9();
    let data = fleet.control.data().to_owned();
    for entry in std::fs::read_dir(&data).unwrap() {
        remove(&entry.unwrap().path());
    }
    let data = data.to_str().unwrap();
    cli.json(["control-plane", "restore", "--data", data, file])
        .await;
    fleet.control.restart().await;
    fleet.calls().settled(1).await;
    let new = fleet.add_edge().await;
    assert_eq!(new.get("/item").await.text(), "new");
    assert_eq!(fleet.http(0).get("/item").await.text(), "new");
}

fn remove(path: &Path) {
    let removed = match path.is_dir() {
        true => std::fs::remove_dir_all(path),
        false => std::fs::remove_file(path),
    };
    removed.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edge_that_is_killed_while_it_fetches_for_all_holds_nobody_up() {
    let mut fleet = Fleet::start(2).await;
    fleet.set("/item", "item", &[]);
    let gate = fleet.origin.hold_header("/item");
    let first = {
        let http = fleet.http(0);
        tokio::spawn(async move {
            let none = bytes::Bytes::new();
            let _ = http.try_send(http::Method::GET, "/item", &[], none).await;
        })
    };
    gate.reached().await;
    fleet.origin.hold_no_more("/item");
    let second = {
        let http = fleet.http(1);
        tokio::spawn(async move { http.get("/item").await.text() })
    };
    eventually("the other waits for it", || async {
        match figure(&fleet.edges[1], "look_ups").await {
            2 => Ok(()),
            other => Err(other),
        }
    })
    .await;
    fleet.edges[0].process().kill9();
    first.await.unwrap();
    assert_eq!(second.await.unwrap(), "item");
    drop(gate);
    assert_eq!(fleet.origin.count("/item"), 2);
    // Once its time is over another one is told to fetch and to share.
    eventually("the other edge shares", || async {
        invalidate_everywhere(fleet.calls(), of_tags(&["*"])).await;
        fleet.http(1).get("/item").await;
        match figure(&fleet.edges[1], "shared").await {
            0 => Err("not yet"),
            _ => Ok(()),
        }
    })
    .await;
}
