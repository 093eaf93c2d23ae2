//! A browser that comes back.

use std::time::Duration;

use tidegate_domain::{Epoch, Revision, Term};

use super::{Bench, Ear, at, custom, invalidate, patterns, said};
use crate::events::{Limits, Replayed};

/// What a browser that comes back hears behind `connected`.
fn missed(ear: &mut Ear) -> Vec<(String, String)> {
    let mut told = ear.says();
    assert_eq!(told.remove(0).0, "connected");
    told
}

fn reset(reason: &str) -> Vec<(String, String)> {
    said(&[("reset", &format!("\"{reason}\""))])
}

#[tokio::test]
async fn what_was_missed_comes_in_order_and_then_what_happens() {
    let bench = Bench::new();
    for n in 11..=14 {
        bench.publish(invalidate(n, &[&format!("t{n}")]));
    }
    let mut ear = bench.resume("", &at(12).to_string()).await;
    let told = ear.hear();
    assert_eq!(
        told[0].id,
        at(12).to_string(),
        "not a position ahead of what it heard"
    );
    bench.publish(invalidate(15, &["t15"]));
    let ids: Vec<_> = told[1..].iter().map(|t| t.id.clone()).collect();
    assert_eq!(ids, [at(13), at(14)].map(|c| c.to_string()));
    assert_eq!(ear.says(), said(&[("invalidate", r#"["t15"]"#)]));
}

#[tokio::test]
async fn an_id_in_the_query_works_and_the_field_wins() {
    let bench = Bench::new();
    bench.publish(invalidate(11, &["a"]));
    bench.publish(invalidate(12, &["b"]));
    let old = format!("last_event_id={}", at(10));
    let mut ear = Ear::new(bench.get(&old, &[]).await);
    assert_eq!(missed(&mut ear).len(), 2);
    let mut ear = bench.resume(&old, &at(11).to_string()).await;
    assert_eq!(missed(&mut ear), said(&[("invalidate", r#"["b"]"#)]));
}

#[tokio::test]
async fn only_what_concerns_the_caller_is_replayed() {
    let bench = Bench::new();
    bench.publish(invalidate(11, &["item:1"]));
    bench.publish(custom(12, "secret", &["user:1"]));
    bench.publish(invalidate(13, &["*"]));
    let mut ear = bench.resume("interest=news", &at(10).to_string()).await;
    assert_eq!(missed(&mut ear), said(&[("invalidate", r#"["news"]"#)]));
}

#[tokio::test]
async fn much_that_was_missed_comes_as_one() {
    let limits = Limits {
        replay_events: 3,
        ..Limits::default()
    };
    let bench = Bench::with(|_| {}, limits);
    for n in 11..=14 {
        bench.publish(invalidate(n, &[&format!("t{n}")]));
    }
    let mut ear = bench.resume("", &at(10).to_string()).await;
    let all = r#"["t11","t12","t13","t14"]"#;
    assert_eq!(missed(&mut ear), said(&[("invalidate", all)]));
    assert_eq!(ear.last_id(), at(14).to_string());
}

#[tokio::test]
async fn an_unreadable_id_is_a_reset_and_not_a_refusal() {
    let bench = Bench::new();
    let mut damaged = at(10).to_string();
    damaged.replace_range(3..4, if &damaged[3..4] == "A" { "B" } else { "A" });
    for bad in ["x", "\u{e9}", &damaged, &"y".repeat(5_000)] {
        let mut ear = bench.resume("", bad).await;
        assert_eq!(missed(&mut ear), reset("unreadable-id"), "{bad}");
        assert_eq!(ear.last_id(), at(10).to_string());
    }
    let mut ear = Ear::new(bench.get("last_event_id=%zz", &[]).await);
    assert_eq!(missed(&mut ear), reset("unreadable-id"));
    let mut ear = bench.resume("", "").await;
    assert_eq!(missed(&mut ear), []);
}

#[tokio::test]
async fn another_history_is_a_reset() {
    let bench = Bench::new();
    bench.publish(invalidate(14, &["a"]));
    let mut other = at(12);
    other.epoch = Epoch(9);
    let mut ear = bench.resume("", &other.to_string()).await;
    assert_eq!(missed(&mut ear), reset("unknown-history"));
    let mut lost = at(12);
    lost.term = Term(9);
    let mut ear = bench.resume("", &lost.to_string()).await;
    assert_eq!(missed(&mut ear), reset("unknown-history"));
}

#[tokio::test(start_paused = true)]
async fn a_browser_ahead_of_this_edge_waits_until_it_has_caught_up() {
    let bench = Bench::new();
    let site = bench.site.clone();
    let waiting = tokio::spawn(async move {
        let id = at(12).to_string();
        super::call(&site, http::Method::GET, "", &[("last-event-id", &id)]).await
    });
    tokio::time::sleep(Duration::from_secs(1)).await;
    bench.publish(invalidate(11, &["t11"]));
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(!waiting.is_finished());
    // Applied, not yet published: what it heard elsewhere is not told again.
    bench.standing.advance(at(13));
    let mut ear = Ear::new(waiting.await.unwrap());
    assert_eq!(missed(&mut ear), []);
    bench.site.publish(invalidate(12, &["t12"]));
    bench.site.tick();
    assert_eq!(ear.says()[..], said(&[("heartbeat", "{}")])[..]);
    bench.site.publish(invalidate(13, &["t13"]));
    assert_eq!(ear.says(), said(&[("invalidate", r#"["t13"]"#)]));
}

#[tokio::test(start_paused = true)]
async fn a_browser_too_far_ahead_is_told_to_reset() {
    let bench = Bench::new();
    let mut ear = bench.resume("", &at(12).to_string()).await;
    assert_eq!(missed(&mut ear), reset("ahead-of-edge"));
    assert_eq!(ear.last_id(), at(10).to_string());
}

#[tokio::test]
async fn what_lies_before_this_edges_memory_is_read_from_the_log() {
    let bench = Bench::new();
    bench.publish(invalidate(11, &["t11"]));
    let older = [8, 9, 11].map(|n| invalidate(n, &[&format!("t{n}")]));
    *bench.log.answer.lock() = Some(Replayed::Events(older.to_vec()));
    let mut ear = bench.resume("", &at(7).to_string()).await;
    assert_eq!(
        missed(&mut ear),
        said(&[
            ("invalidate", r#"["t8"]"#),
            ("invalidate", r#"["t9"]"#),
            ("invalidate", r#"["t11"]"#),
        ])
    );
    assert_eq!(*bench.log.asked.lock(), [(at(7), Revision(11))]);
    bench.publish(invalidate(12, &["t12"]));
    assert_eq!(ear.says(), said(&[("invalidate", r#"["t12"]"#)]));
}

#[tokio::test]
async fn a_folded_log_comes_as_one_and_narrowed() {
    let bench = Bench::new();
    *bench.log.answer.lock() = Some(Replayed::Folded(patterns(&["item:1", "item:2", "x"])));
    let mut ear = bench.resume("interest=item:*", &at(7).to_string()).await;
    let items = r#"["item:1","item:2"]"#;
    assert_eq!(missed(&mut ear), said(&[("invalidate", items)]));
    assert_eq!(ear.last_id(), at(10).to_string());
}

#[tokio::test(start_paused = true)]
async fn a_history_that_is_gone_or_cannot_be_asked_is_a_reset() {
    let bench = Bench::new();
    *bench.log.answer.lock() = Some(Replayed::NotFound);
    let mut ear = bench.resume("", &at(7).to_string()).await;
    assert_eq!(missed(&mut ear), reset("below-floor"));
    *bench.log.answer.lock() = None;
    let mut ear = bench.resume("", &at(7).to_string()).await;
    assert_eq!(missed(&mut ear), reset("history-unavailable"));
}

#[tokio::test]
async fn an_evicted_event_is_asked_of_the_log() {
    let limits = Limits {
        ring_events: 2,
        ..Limits::default()
    };
    let bench = Bench::with(|_| {}, limits);
    for n in 11..=14 {
        bench.publish(invalidate(n, &[&format!("t{n}")]));
    }
    let mut ear = bench.resume("", &at(12).to_string()).await;
    assert_eq!(missed(&mut ear).len(), 2);
    assert!(bench.log.asked.lock().is_empty());
    *bench.log.answer.lock() = Some(Replayed::NotFound);
    let mut ear = bench.resume("", &at(11).to_string()).await;
    assert_eq!(missed(&mut ear), reset("below-floor"));
}
