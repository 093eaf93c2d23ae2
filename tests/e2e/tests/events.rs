//! What browsers hear, and that they miss nothing when they come back somewhere else.

use std::time::Duration;

use serde_json::json;
use tidegate_e2e::v1;
use tidegate_e2e::{
    Calls, ControlPlane, Edge, Events, HttpClient, Origin, ServerSentEvent, eventually, within,
};

use crate::support::{
    HOST, Rig, SITE, invalidate, of_tags, put_site, short_leases, short_margin, site_of,
};

const EVENTS: &str = "/_tidegate/events";

async fn listen(http: &HttpClient, query: &str) -> Events {
    let mut events = Events::open(http, &format!("{EVENTS}?{query}"), None).await;
    assert_eq!(events.status, 200);
    events.next_of("connected").await;
    events
}

async fn publish(calls: &Calls, event_type: &str, data: &str, audience: &[&str]) {
    let request = v1::PublishEventRequest {
        site: SITE.to_owned(),
        r#type: event_type.to_owned(),
        data: data.to_owned(),
        audience: audience.iter().map(ToString::to_string).collect(),
    };
    calls.cache().publish_event(request).await.unwrap();
}

/// The tags that come before a custom event `mark`, in the order in which they come.
async fn tags_before_the_mark(events: &mut Events) -> Vec<String> {
    let mut tags = Vec::new();
    loop {
        let event = within("an event", events.next()).await.unwrap();
        let event = event.expect("the stream goes on");
        match event.event.as_str() {
            "mark" => return tags,
            "invalidate" => {
                let more: Vec<String> = serde_json::from_value(event.json()).unwrap();
                tags.extend(more);
            }
            "connected" | "heartbeat" => {}
            _ => panic!("{event:?} after {tags:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_hears_each_kind_of_event() {
    let rig = Rig::start_with(
        |launch| launch,
        |site| {
            let heartbeat = Duration::from_secs(1).try_into().unwrap();
            site.events.as_mut().unwrap().heartbeat = Some(heartbeat);
        },
    )
    .await;
    let mut events = Events::open(&rig.http(), EVENTS, None).await;
    let connected = events.next_of("connected").await;
    assert_eq!(connected.json()["heartbeat"], 1.0);
    assert_eq!(connected.json()["cursor"], connected.id.as_str());
    assert_eq!(events.headers["content-type"], "text/event-stream");
    assert_eq!(events.headers["cache-control"], "no-store");

    let answer = invalidate(rig.calls(), of_tags(&["item:1", "list"])).await;
    let heard = events.next_of("invalidate").await;
    assert_eq!(heard.json(), json!(["item:1", "list"]));
    assert_eq!(heard.id, answer.cursor, "the id is the position");

    // A hint is told once its URLs are warm.
    rig.set("/next", "next", &[]);
    let hint = v1::PreloadHintRequest {
        site: SITE.to_owned(),
        urls: vec!["/next".to_owned()],
        audience: Vec::new(),
    };
    rig.calls().cache().preload_hint(hint).await.unwrap();
    assert_eq!(events.next_of("preload").await.json(), json!(["/next"]));
    assert_eq!(rig.origin.count("/next"), 1);
    assert_eq!(rig.http().get("/next").await.text(), "next");
    assert_eq!(rig.origin.count("/next"), 1, "it was warm");

    publish(rig.calls(), "price", "line 1\nline 2", &[]).await;
    assert_eq!(events.next_of("price").await.data, "line 1\nline 2");
    events.next_of("heartbeat").await;

    let mut full = listen(&rig.http(), "detail=1").await;
    invalidate(rig.calls(), of_tags(&["item:2"])).await;
    let heard = full.next_of("invalidate").await.json();
    assert_eq!(heard["tags"], json!(["item:2"]));
    assert_eq!(heard["mode"], "hard");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_hears_what_it_is_interested_in_and_may_hear() {
    let rig = Rig::start_with(
        |launch| launch,
        |site| {
            site.events.as_mut().unwrap().public_tags = vec!["item:*".into(), "news".into()];
        },
    )
    .await;
    let mut one = listen(&rig.http(), "interest=item:1*&interest=news").await;
    let mut two = listen(&rig.http(), "interest=item:2").await;
    let mut none = listen(&rig.http(), "interest=secret").await;
    for tag in ["item:1", "item:2", "secret", "news", "item:12", "it*:7"] {
        invalidate(rig.calls(), of_tags(&[tag])).await;
    }
    publish(rig.calls(), "to-item-2", "x", &["item:2"]).await;
    publish(rig.calls(), "mark", "x", &[]).await;
    // Of a pattern, as much as this browser is interested in.
    let heard = ["item:1", "news", "item:12", "item:1*:7"];
    assert_eq!(tags_before_the_mark(&mut one).await, heard);
    assert_eq!(two.next_of("to-item-2").await.data, "x");
    none.next_of("mark").await;
    let mut all = listen(&rig.http(), "").await;
    invalidate(rig.calls(), of_tags(&["secret", "item:3"])).await;
    publish(rig.calls(), "mark", "x", &[]).await;
    // Nobody learns of a tag that is not public.
    assert_eq!(tags_before_the_mark(&mut all).await, ["item:3"]);
    let refused = rig.http().get(&format!("{EVENTS}?interest=a%20b")).await;
    assert_eq!(refused.status, 400);
    assert!(refused.text().contains("interest[0]"), "{}", refused.text());
}

struct Pair {
    control: ControlPlane,
    a: Edge,
    _origin: Origin,
}

impl Pair {
    async fn start() -> Self {
        let origin = Origin::start().await;
        let control = ControlPlane::start().await;
        put_site(control.calls(), site_of(&origin)).await;
        let a = Edge::start(control.calls(), "edge-a").await;
        control.calls().settled(1).await;
        Self {
            control,
            a,
            _origin: origin,
        }
    }

    async fn edge_b(&self) -> Edge {
        let b = Edge::start(self.control.calls(), "edge-b").await;
        self.control.calls().settled(2).await;
        b
    }

    /// What a browser heard last at edge a.
    async fn left_at(&self) -> ServerSentEvent {
        let mut events = listen(&self.a.http(HOST), "interest=item:*").await;
        invalidate(self.control.calls(), of_tags(&["item:0"])).await;
        events.next_of("invalidate").await
    }

    /// Ten invalidations that nobody hears, the last of which is of no interest.
    async fn missed(&self) -> Vec<String> {
        let mut missed = Vec::new();
        for number in 1..10 {
            let tag = format!("item:{number}");
            invalidate(self.control.calls(), of_tags(&[&tag])).await;
            missed.push(tag);
        }
        invalidate(self.control.calls(), of_tags(&["other"])).await;
        missed
    }

    /// What a browser that comes back to `edge` hears of the past.
    async fn replayed(&self, edge: &Edge, last: &str) -> Vec<String> {
        let path = format!("{EVENTS}?interest=item:*&interest=mark");
        let mut events = Events::open(&edge.http(HOST), &path, Some(last)).await;
        events.next_of("connected").await;
        publish(self.control.calls(), "mark", "x", &["mark"]).await;
        tags_before_the_mark(&mut events).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_that_comes_back_to_another_edge_hears_what_it_missed_once_and_in_order() {
    let pair = Pair::start().await;
    let b = pair.edge_b().await;
    let last = pair.left_at().await;
    let missed = pair.missed().await;
    for edge in [&b, &pair.a] {
        assert_eq!(pair.replayed(edge, &last.id).await, missed);
    }
    // The same by the query, for clients that cannot set fields.
    let path = format!("{EVENTS}?interest=item:*&last_event_id={}", last.id);
    let mut events = Events::open(&b.http(HOST), &path, None).await;
    publish(pair.control.calls(), "mark", "x", &[]).await;
    assert_eq!(tags_before_the_mark(&mut events).await, missed);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edge_that_started_later_replays_what_it_never_saw() {
    let pair = Pair::start().await;
    let last = pair.left_at().await;
    let missed = pair.missed().await;
    let b = pair.edge_b().await;
    assert_eq!(pair.replayed(&b, &last.id).await, missed);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_that_cannot_be_read_or_is_of_another_history_resets() {
    let pair = Pair::start().await;
    let last = pair.left_at().await;
    let other = Pair::start().await;
    let mut cut_short = last.id.clone();
    cut_short.pop();
    let foreign = other.left_at().await.id;
    for id in ["corrupt", &cut_short, &foreign] {
        let mut events = Events::open(&pair.a.http(HOST), EVENTS, Some(id)).await;
        assert_eq!(events.status, 200, "{id}");
        let reset = events.next_of("reset").await;
        assert_ne!(reset.id, "", "{id}: it may continue from there");
        invalidate(pair.control.calls(), of_tags(&["item:1"])).await;
        assert_eq!(events.next_of("invalidate").await.json(), json!(["item:1"]));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_allowed_origins_may_read() {
    let rig = Rig::start_with(
        |launch| launch,
        |site| {
            let allowed = vec!["https://app.example".to_owned()];
            site.events.as_mut().unwrap().allowed_origins = allowed;
        },
    )
    .await;
    const ALLOW: &str = "access-control-allow-origin";
    rig.set("/data", "x", &[]);
    for (origin, expected) in [
        ("https://app.example", "https://app.example"),
        ("https://app.example:8443", ""),
        ("http://app.example", ""),
        ("https://evil.example", ""),
        ("null", ""),
    ] {
        let http = rig.http().field("origin", origin);
        let events = Events::open(&http, EVENTS, None).await;
        let allowed = events
            .headers
            .get(ALLOW)
            .map_or("", |it| it.to_str().unwrap());
        assert_eq!(allowed, expected, "{origin}");
        assert_eq!(http.get("/data").await.field(ALLOW), expected, "{origin}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn heartbeats_stop_while_the_edge_holds_no_lease() {
    let mut rig = Rig::start_with(short_leases, |site| {
        let heartbeat = Duration::from_secs(1).try_into().unwrap();
        site.events.as_mut().unwrap().heartbeat = Some(heartbeat);
    })
    .await;
    rig.fill("/a", "a", &["a"]).await;
    let mut events = listen(&rig.http(), "").await;
    events.next_of("heartbeat").await;
    rig.control.process().kill9();
    eventually("the edge asks the origin each time", || async {
        let before = rig.origin.count("/a");
        rig.http().get("/a").await;
        let asked = rig.origin.count("/a") - before;
        if asked == 1 { Ok(()) } else { Err(asked) }
    })
    .await;
    // Two and a half intervals without one: this is the silence that is tested.
    let silence = async {
        while tokio::time::timeout(Duration::from_millis(2_500), events.next())
            .await
            .is_ok()
        {}
    };
    within("silence", silence).await;
    rig.control.restart().await;
    events.next_of("heartbeat").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drained_edge_sends_its_browsers_elsewhere() {
    let origin = Origin::start().await;
    let control = ControlPlane::start().await;
    put_site(control.calls(), site_of(&origin)).await;
    let mut edge = Edge::start_with(control.calls(), "edge-a", short_margin).await;
    let mut events = listen(&edge.http(HOST), "").await;
    edge.process().sigterm();
    let reconnect = events.next_of("reconnect").await;
    assert!(reconnect.json()["spread_ms"].is_u64(), "{reconnect:?}");
    assert_eq!(
        events.next().await.unwrap(),
        None,
        "the stream ends cleanly"
    );
    assert_eq!(edge.process().ended().await.code(), Some(0));
}
