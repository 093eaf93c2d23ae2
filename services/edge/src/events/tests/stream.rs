//! A connection that is open.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Wake, Waker};
use std::time::Duration;

use tidegate_domain::{Mode, Revision};

use super::{Bench, at, custom, invalidate, preload, said, site_config};
use crate::events::{Kind, Limits, SiteEvent};

#[tokio::test]
async fn a_connection_hears_what_happens_after_it_opened() {
    let bench = Bench::new();
    bench.publish(invalidate(11, &["old"]));
    let response = bench.get("", &[]).await;
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    assert_eq!(response.headers()["cache-control"], "no-store");
    assert_eq!(response.headers()["x-accel-buffering"], "no");
    let mut ear = super::Ear::new(response);
    let connected = ear.hear();
    let id = at(11).to_string();
    assert_eq!(connected.len(), 1);
    assert_eq!(connected[0].event, "connected");
    assert_eq!(connected[0].id, id);
    assert_eq!(
        connected[0].data,
        format!(r#"{{"cursor":"{id}","heartbeat":15.0,"spread_ms":0}}"#)
    );
    bench.publish(invalidate(12, &["item:1", "news"]));
    bench.publish(preload(13, "/a?b", &[]));
    bench.publish(custom(14, "line 1\nline 2", &[]));
    assert_eq!(
        ear.says(),
        said(&[
            ("invalidate", r#"["item:1","news"]"#),
            ("preload", r#"["/a?b"]"#),
            ("price", "line 1\nline 2"),
        ])
    );
    assert_eq!(ear.last_id(), at(14).to_string());
    assert_eq!(ear.chunks, 2, "what is ready goes out as one");
}

#[tokio::test]
async fn detail_tells_revision_mode_spread_and_trace() {
    let bench = Bench::new();
    let mut ear = bench.listen("detail=1&interest=item:*").await;
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    bench.publish(SiteEvent {
        cursor: at(11),
        kind: Kind::Invalidate {
            patterns: super::patterns(&["*"]),
            mode: Mode::Soft,
            spread: Duration::from_millis(250),
        },
        traceparent: trace.into(),
    });
    bench.publish(custom(12, "a\nb", &[]));
    let (soft, price) = (at(11), at(12));
    assert_eq!(
        ear.says(),
        said(&[
            (
                "invalidate",
                &format!(
                    r#"{{"tags":["item:*"],"revision":"{soft}","mode":"soft","spread_ms":250,"trace":"{trace}"}}"#
                )
            ),
            (
                "price",
                &format!(r#"{{"data":"a\nb","revision":"{price}"}}"#)
            ),
        ])
    );
}

#[tokio::test]
async fn interests_and_audiences_decide_who_hears() {
    let bench = Bench::new();
    let mut items = bench.listen("interest=item:*").await;
    let mut user = bench.listen("interest=user%3A7&interest=news").await;
    let mut all = bench.listen("").await;
    bench.publish(invalidate(11, &["item:1"]));
    bench.publish(custom(12, "for 7", &["user:7"]));
    bench.publish(preload(13, "/news", &["news"]));
    bench.publish(custom(14, "for all", &[]));
    let for_all = ("price", "for all");
    let item = ("invalidate", r#"["item:1"]"#);
    assert_eq!(items.says(), said(&[item, for_all]));
    assert_eq!(
        user.says(),
        said(&[("price", "for 7"), ("preload", r#"["/news"]"#), for_all])
    );
    assert_eq!(all.says(), said(&[item, for_all]));
}

#[tokio::test]
async fn a_change_of_public_tags_counts_from_the_next_event() {
    let bench = Bench::with(|c| c.public_tags = vec!["item:*".into()], Limits::default());
    let mut ear = bench.listen("").await;
    let narrower = site_config(|c| c.public_tags = vec!["news".into()]);
    bench.site.update(&narrower.check().unwrap());
    bench.publish(invalidate(11, &["*"]));
    assert_eq!(ear.says(), said(&[("invalidate", r#"["news"]"#)]));
    assert_eq!(
        bench.listen("").await.hear(),
        [],
        "a later connection is in the same group"
    );
}

#[tokio::test]
async fn heartbeats_go_out_only_while_a_lease_is_held() {
    let bench = Bench::new();
    let mut ear = bench.listen("").await;
    bench.site.progress(at(15));
    bench.site.tick();
    assert_eq!(ear.says(), said(&[("heartbeat", "{}")]));
    assert_eq!(ear.last_id(), at(15).to_string());
    bench.clock.advance(Duration::from_secs(11));
    bench.site.tick();
    assert_eq!(ear.hear(), []);
    let now = tidegate_clock::Clock::boot(&*bench.clock);
    let lease = Duration::from_secs(10);
    bench
        .standing
        .grant(bench.standing.now().era, now + lease, Revision::ZERO);
    bench.site.tick();
    bench.site.tick();
    let beats = ear.says();
    assert_eq!(beats, said(&[("heartbeat", "{}")]), "two at once are one");
}

#[tokio::test]
async fn a_heartbeat_never_names_what_was_not_published() {
    let bench = Bench::new();
    let mut ear = bench.listen("").await;
    bench.standing.advance(at(12));
    bench.site.tick();
    ear.hear();
    assert_eq!(ear.last_id(), at(10).to_string());
    bench.site.publish(invalidate(12, &["a"]));
    assert_eq!(ear.says(), said(&[("invalidate", r#"["a"]"#)]));
}

#[tokio::test]
async fn a_heartbeat_behind_an_event_does_not_take_the_id_back() {
    let bench = Bench::new();
    let mut ear = bench.listen("").await;
    bench.site.tick();
    bench.publish(invalidate(11, &["a"]));
    assert_eq!(ear.says(), said(&[("invalidate", r#"["a"]"#)]));
    assert_eq!(ear.last_id(), at(11).to_string());
}

#[tokio::test]
async fn a_late_hint_is_told_and_moves_nobody() {
    let bench = Bench::new();
    bench.standing.advance(at(12));
    // Heard of revision 12 elsewhere, while this edge has published up to 10.
    let mut ahead = bench.resume("detail=1", &at(12).to_string()).await;
    ahead.hear();
    bench.site.publish_late(preload(9, "/a", &[]));
    let told = ahead.hear();
    let data = format!(r#"{{"urls":["/a"],"revision":"{}"}}"#, at(9));
    assert_eq!((told[0].event.as_str(), &told[0].data), ("preload", &data));
    assert_eq!(ahead.last_id(), at(12).to_string());
    bench.site.publish(invalidate(11, &["known"]));
    bench.site.publish(invalidate(13, &["new"]));
    let told = ahead.hear();
    assert_eq!(told.len(), 1);
    assert_eq!(told[0].id, at(13).to_string());
}

#[tokio::test]
async fn a_slow_reader_gets_its_backlog_as_one_and_holds_nobody_back() {
    let limits = Limits {
        group_frames: 4,
        ..Limits::default()
    };
    let bench = Bench::with(|_| {}, limits);
    let mut slow = bench.listen("").await;
    let mut quick = bench.listen("").await;
    for n in 11..=30 {
        let mut event = invalidate(n, &["a", &format!("t{n}")]);
        if let Kind::Invalidate { mode, .. } = &mut event.kind
            && n != 20
        {
            *mode = Mode::Soft;
        }
        bench.publish(event);
        assert_eq!(quick.hear().len(), 1);
    }
    let told = slow.hear();
    assert_eq!(told.len(), 1);
    assert_eq!(told[0].id, at(30).to_string());
    let tags: Vec<String> = serde_json::from_str(&told[0].data).unwrap();
    let mut expected: Vec<_> = (12..=30).map(|n| format!("t{n}")).collect();
    expected.splice(0..0, ["a".to_owned(), "t11".to_owned()]);
    assert_eq!(tags, expected);
    bench.publish(invalidate(31, &["next"]));
    assert_eq!(slow.says(), said(&[("invalidate", r#"["next"]"#)]));
}

#[tokio::test]
async fn a_fold_says_hard_if_one_was_and_keeps_own_types_in_order() {
    let limits = Limits {
        group_frames: 2,
        ..Limits::default()
    };
    let bench = Bench::with(|_| {}, limits);
    let mut slow = bench.listen("detail=1").await;
    let soft = |n, tag| {
        let mut event = invalidate(n, &[tag]);
        if let Kind::Invalidate { mode, .. } = &mut event.kind {
            *mode = Mode::Soft;
        }
        event
    };
    bench.publish(soft(11, "a"));
    bench.publish(invalidate(12, &["b"]));
    bench.publish(preload(13, "/dropped", &[]));
    bench.publish(custom(14, "kept", &[]));
    bench.publish(soft(15, "c"));
    bench.publish(soft(16, "d"));
    let told = slow.hear();
    let what: Vec<_> = told.iter().map(|t| (t.event.as_str(), &t.id)).collect();
    let ids = [at(12), at(14), at(16)].map(|c| c.to_string());
    assert_eq!(
        what,
        [
            ("invalidate", &ids[0]),
            ("price", &ids[1]),
            ("invalidate", &ids[2])
        ]
    );
    assert!(told[0].data.contains(r#"["a","b"]"#) && told[0].data.contains("hard"));
    assert!(told[2].data.contains(r#"["c","d"]"#) && told[2].data.contains("soft"));
}

#[tokio::test]
async fn a_reader_slower_than_the_sites_memory_is_told_to_reset() {
    let limits = Limits {
        group_frames: 2,
        ring_events: 8,
        ..Limits::default()
    };
    let bench = Bench::with(|_| {}, limits);
    let mut slow = bench.listen("").await;
    for n in 11..=30 {
        bench.publish(invalidate(n, &["a"]));
    }
    assert_eq!(slow.says(), said(&[("reset", r#""too-far-behind""#)]));
    assert_eq!(slow.last_id(), at(30).to_string());
    bench.publish(invalidate(31, &["b"]));
    assert_eq!(slow.says(), said(&[("invalidate", r#"["b"]"#)]));
}

#[tokio::test]
async fn a_backlog_too_large_to_tell_becomes_a_reset() {
    let limits = Limits {
        group_frames: 2,
        replay_bytes: 1_000,
        ..Limits::default()
    };
    let bench = Bench::with(|_| {}, limits);
    let mut slow = bench.listen("").await;
    for n in 11..=20 {
        bench.publish(custom(n, &"x".repeat(300), &[]));
    }
    assert_eq!(slow.says(), said(&[("reset", r#""too-far-behind""#)]));
}

#[tokio::test]
async fn frames_nobody_took_for_a_whole_tick_are_folded() {
    let bench = Bench::new();
    let mut slow = bench.listen("").await;
    bench.publish(invalidate(11, &["a"]));
    bench.publish(invalidate(12, &["b"]));
    bench.site.tick();
    bench.site.tick();
    let told = slow.says();
    assert_eq!(told[0], said(&[("invalidate", r#"["a","b"]"#)])[0]);
}

#[tokio::test]
async fn a_reset_reaches_everyone_and_begins_another_history() {
    let bench = Bench::new();
    let mut ear = bench.listen("").await;
    bench.publish(invalidate(11, &["a"]));
    let mut other = at(3);
    other.epoch = tidegate_domain::Epoch(2);
    bench.site.reset(other, "unknown-epoch");
    let mut event = invalidate(4, &["b"]);
    event.cursor.epoch = other.epoch;
    bench.site.publish(event);
    assert_eq!(
        ear.says(),
        said(&[
            ("invalidate", r#"["a"]"#),
            ("reset", r#""unknown-epoch""#),
            ("invalidate", r#"["b"]"#),
        ])
    );
    let mut slow = bench.listen("").await;
    bench.site.reset(at(2), "again");
    for n in 3..=90 {
        bench.site.publish(invalidate(n, &["c"]));
    }
    let told = slow.says();
    assert_eq!(told, said(&[("reset", r#""too-far-behind""#)]));
}

#[tokio::test]
async fn an_event_out_of_order_becomes_a_reset() {
    let bench = Bench::new();
    let mut ear = bench.listen("").await;
    bench.site.publish(invalidate(12, &["a"]));
    bench.site.publish(invalidate(12, &["b"]));
    assert_eq!(
        ear.says(),
        said(&[("invalidate", r#"["a"]"#), ("reset", r#""out-of-order""#)])
    );
}

#[tokio::test]
async fn a_drain_asks_to_reconnect_and_then_ends() {
    let bench = Bench::new();
    let mut ear = bench.listen("").await;
    bench.publish(invalidate(11, &["a"]));
    bench.site.close_all(Duration::from_secs(3));
    assert_eq!(
        ear.says(),
        said(&[
            ("invalidate", r#"["a"]"#),
            ("reconnect", r#"{"spread_ms":3000}"#)
        ])
    );
    assert!(ear.is_over);
    let refused = bench.get("", &[]).await;
    assert_eq!(refused.status(), 503);
    drop(ear);
    assert_eq!(bench.site.connections(), 0);
}

#[tokio::test]
async fn a_connection_ends_between_80_and_100_percent_of_a_lifetime() {
    let bench = Bench::new();
    let mut ears = Vec::new();
    for _ in 0..50 {
        ears.push(bench.listen("").await);
    }
    let over = |ears: &mut Vec<super::Ear>| {
        ears.iter_mut().for_each(|e| drop(e.hear()));
        ears.iter().filter(|e| e.is_over).count()
    };
    bench.clock.advance(Duration::from_secs(3_600 * 79 / 100));
    bench.site.tick();
    assert_eq!(over(&mut ears), 0);
    bench.clock.advance(Duration::from_secs(3_600 * 11 / 100));
    bench.site.tick();
    assert!((1..50).contains(&over(&mut ears)), "they leave apart");
    bench.clock.advance(Duration::from_secs(3_600 * 10 / 100));
    bench.site.tick();
    assert_eq!(over(&mut ears), 50);
}

struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[tokio::test]
async fn only_those_who_hear_an_event_are_woken() {
    let bench = Bench::new();
    let mut items = bench.listen("interest=item:*").await;
    let mut news = bench.listen("interest=news").await;
    let wakes = [(); 2].map(|()| Arc::new(Count(AtomicUsize::new(0))));
    let [a, b] = wakes.clone().map(Waker::from);
    items.hear_with(&a);
    news.hear_with(&b);
    bench.publish(invalidate(11, &["item:1"]));
    let counts = wakes.each_ref().map(|w| w.0.load(Ordering::SeqCst));
    assert_eq!(counts, [1, 0]);
    // A life that ends wakes its connection even without a lease to beat with.
    bench.clock.advance(Duration::from_secs(3_600));
    bench.site.tick();
    assert_eq!(wakes[1].0.load(Ordering::SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn one_timer_beats_for_all_and_follows_the_configuration() {
    let bench = Bench::new();
    let mut ear = bench.listen("").await;
    let timer = tokio::spawn(bench.site.beats());
    tokio::time::sleep(Duration::from_secs(14)).await;
    assert_eq!(ear.hear(), []);
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(ear.says(), said(&[("heartbeat", "{}")]));
    let faster = site_config(|c| c.heartbeat = Duration::from_secs(2));
    bench.site.update(&faster.check().unwrap());
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(ear.says(), said(&[("heartbeat", "{}")]));
    bench.site.close_all(Duration::ZERO);
    timer.await.unwrap();
}

#[test]
fn a_connection_is_a_few_hundred_bytes() {
    let size = size_of::<crate::events::EventsBody>();
    assert!(size <= 192, "{size}");
}
