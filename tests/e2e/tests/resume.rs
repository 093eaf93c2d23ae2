//! An edge that was away serves nothing that was invalidated meanwhile, whether it can
//! continue or has to begin anew.

use tidegate_e2e::v1::{self, subscribe_response::Frame};
use tidegate_e2e::{Answer, Calls, Edge, Events, Launch, Link, eventually, within};

use crate::support::{
    HOST, LONG, Rig, cached, head, invalidate, of_tags, of_url, short_leases, short_margin,
};

/// The ten, and how each names what it is about.
const PAGES: [&str; 10] = [
    "/r/tag-0",
    "/r/tag-1",
    "/r/tag-2",
    "/r/tag-3",
    "/r/url-4",
    "/r/url-5?q=1",
    "/r/url-6",
    "/r/pattern-7",
    "/r/pattern-8",
    "/r/pattern-9",
];

fn tag_of(url: &str) -> String {
    format!("page:{url}:x").replace('?', "-")
}

fn request_for(url: &str) -> v1::InvalidateRequest {
    let tag = tag_of(url);
    if url.contains("tag") {
        of_tags(&[&tag])
    } else if url.contains("url") {
        of_url(url)
    } else {
        of_tags(&[&tag.replace("/r/", "*")])
    }
}

async fn all_cached(rig: &Rig, edge: &Edge) {
    for url in PAGES {
        rig.set(url, "old", &[&tag_of(url)]);
        cached(&edge.http(HOST), &rig.origin, url, "old").await;
    }
}

async fn all_invalidated(rig: &Rig) {
    for url in PAGES {
        rig.set(url, "new", &[&tag_of(url)]);
        invalidate(rig.calls(), request_for(url)).await;
    }
}

async fn none_is_stale(edge: &Edge) {
    for url in PAGES {
        assert_eq!(edge.http(HOST).get(url).await.text(), "new", "{url}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edge_that_was_stopped_and_started_again_serves_nothing_stale() {
    let mut rig = Rig::start_with(short_leases, |_| {}).await;
    for kill in [false, true] {
        // What the run before has left is made new.
        invalidate(rig.calls(), of_tags(&["*"])).await;
        rig.calls().settled(1).await;
        all_cached(&rig, &rig.edge).await;
        if kill {
            rig.edge.process().kill9();
        } else {
            rig.edge.process().sigterm();
            assert_eq!(rig.edge.process().ended().await.code(), Some(0));
        }
        all_invalidated(&rig).await;
        rig.edge.restart().await;
        none_is_stale(&rig.edge).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edge_that_stood_still_continues_and_serves_nothing_stale() {
    let mut rig = Rig::start().await;
    all_cached(&rig, &rig.edge).await;
    let mut browser = Events::open(&rig.http(), "/_tidegate/events", None).await;
    browser.next_of("connected").await;
    rig.edge.process().pause();
    all_invalidated(&rig).await;
    rig.edge.process().resume();
    rig.calls().settled(1).await;
    none_is_stale(&rig.edge).await;
    // It was told each of them, and nothing else.
    assert_eq!(heard(&mut browser, PAGES.len()).await.len(), PAGES.len());
}

/// So many invalidated tags, none of which is a reset.
async fn heard(browser: &mut Events, count: usize) -> Vec<String> {
    let mut tags = Vec::new();
    while tags.len() < count {
        let event = within("an event", browser.next()).await.unwrap();
        let event = event.expect("the stream goes on");
        assert_ne!(event.event, "reset", "{event:?} after {tags:?}");
        if event.event == "invalidate" {
            let more: Vec<String> = serde_json::from_value(event.json()).unwrap();
            tags.extend(more);
        }
    }
    tags
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edge_whose_link_was_cut_continues_and_serves_nothing_stale() {
    let rig = Rig::start().await;
    let link = Link::to(rig.calls().address()).await;
    let b = Edge::start_with(&Calls::to(link.url()), "edge-b", short_margin).await;
    rig.calls().settled(2).await;
    all_cached(&rig, &b).await;
    let mut browser = Events::open(&b.http(HOST), "/_tidegate/events", None).await;
    browser.next_of("connected").await;
    link.cut();
    all_invalidated(&rig).await;
    link.mend();
    rig.calls().settled(2).await;
    none_is_stale(&b).await;
    heard(&mut browser, PAGES.len()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edge_that_is_behind_does_not_answer_from_its_cache_who_asks_for_more() {
    let rig = Rig::start().await;
    let link = Link::to(rig.calls().address()).await;
    let impatient = |launch: Launch| short_margin(launch).flag("--min-revision-wait", "100ms");
    let b = Edge::start_with(&Calls::to(link.url()), "edge-b", impatient).await;
    rig.calls().settled(2).await;
    rig.set("/item", "old", &["item:1"]);
    cached(&b.http(HOST), &rig.origin, "/item", "old").await;
    link.cut();
    rig.set("/item", "new", &["item:1"]);
    let answer = invalidate(rig.calls(), of_tags(&["item:1"])).await;
    // Its lease still runs, and it cannot know.
    let fields = [("tidegate-min-revision", answer.cursor.as_str())];
    assert_eq!(b.http(HOST).get_with("/item", &fields).await.text(), "new");
    link.mend();
    rig.calls().settled(2).await;
    assert_eq!(b.http(HOST).get_with("/item", &fields).await.text(), "new");
    assert_eq!(b.http(HOST).get("/item").await.text(), "new");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edge_continues_after_a_restart_of_the_control_plane_without_a_reset() {
    let mut rig = Rig::start().await;
    all_cached(&rig, &rig.edge).await;
    let mut browser = Events::open(&rig.http(), "/_tidegate/events", None).await;
    browser.next_of("connected").await;
    for graceful in [true, false] {
        if graceful {
            rig.control.process().sigterm();
            assert_eq!(rig.control.process().ended().await.code(), Some(0));
        }
        rig.control.restart().await;
        rig.calls().settled(1).await;
        // Nothing was invalidated: what it holds is as good as before.
        let url = PAGES[0];
        cached(&rig.http(), &rig.origin, url, "old").await;
        let tag = format!("mark:{graceful}");
        invalidate(rig.calls(), of_tags(&[&tag])).await;
        assert_eq!(heard(&mut browser, 1).await, [tag]);
    }
    all_invalidated(&rig).await;
    rig.calls().settled(1).await;
    none_is_stale(&rig.edge).await;
}

/// The revision up to which the log has forgotten.
async fn floor(calls: &Calls) -> u64 {
    let request = v1::SubscribeRequest {
        edge_id: "looker".to_owned(),
        instance_id: "looker-1".to_owned(),
        ..v1::SubscribeRequest::default()
    };
    let frames = calls.edge().subscribe(request).await.unwrap();
    let frame = within("a frame", frames.into_inner().message()).await;
    match frame.unwrap().and_then(|it| it.frame) {
        Some(Frame::Hello(hello)) => hello.floor,
        other => panic!("no hello but {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edge_below_the_floor_of_the_log_begins_anew_and_so_do_its_browsers() {
    let few = |launch: Launch| short_leases(launch).flag("--retain-records", "5");
    let mut rig = Rig::start_with(few, |_| {}).await;
    all_cached(&rig, &rig.edge).await;
    // Not named by any of the ten: it too has to be asked for again.
    rig.origin
        .set("/other", Answer::ok("same").cache(LONG).etag("same"));
    cached(&rig.http(), &rig.origin, "/other", "same").await;
    let mut browser = Events::open(&rig.http(), "/_tidegate/events", None).await;
    browser.next_of("connected").await;
    let left_at = head(rig.calls()).await.revision;
    rig.edge.process().pause();
    // Ends its stream, so that nothing waits for it in a socket.
    rig.control.restart().await;
    eventually("the control plane answers again", || async {
        rig.calls().cache().get_head(v1::GetHeadRequest {}).await
    })
    .await;
    all_invalidated(&rig).await;
    eventually("the log has forgotten where the edge was", || async {
        let floor = floor(rig.calls()).await;
        if floor > left_at { Ok(()) } else { Err(floor) }
    })
    .await;
    let asked_before = rig.origin.count("/other");
    rig.edge.process().resume();
    let reset = browser.next_of("reset").await;
    assert_eq!(reset.json(), "below-floor");
    none_is_stale(&rig.edge).await;
    assert_eq!(rig.http().get("/other").await.text(), "same");
    assert_eq!(rig.origin.count("/other"), asked_before + 1);
    // Confirmed by its ETag, it is good again.
    rig.calls().settled(1).await;
    cached(&rig.http(), &rig.origin, "/other", "same").await;
    // The stream goes on from there.
    invalidate(rig.calls(), of_tags(&["after"])).await;
    assert_eq!(
        browser.next_of("invalidate").await.json(),
        serde_json::json!(["after"])
    );
}
