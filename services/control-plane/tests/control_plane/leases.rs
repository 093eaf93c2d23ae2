//! Leases and completion, with edges that the tests speak for.

use std::time::Duration;

use tidegate_proto::v1;
use tidegate_proto::v1::EdgeOutcomeKind::{Applied, Fenced, Pending};
use tonic::Code;

use crate::rig::{LONG, Rig, SHORT, outcomes, serving_stale, short_leases, waiting};

#[tokio::test]
async fn complete_when_both_edges_have_applied_it() {
    let rig = Rig::start().await;
    rig.put_site("s").await;
    let head = rig.head().await;
    let (mut a, mut b) = (rig.edge("a"), rig.edge("b"));
    let mut frames = a.subscribe(&head.cursor).await;
    frames.hello().await;
    for edge in [&mut a, &mut b] {
        assert!(edge.beat(&head.cursor).await.lease.is_some());
    }
    let mut cache = rig.cache();
    let call = cache.invalidate(waiting("s", &["t"], LONG));
    let acknowledge = async {
        let batch = frames.batch().await;
        a.beat(&batch.cursor).await;
        b.beat(&batch.cursor).await;
    };
    let (answer, ()) = tokio::join!(call, acknowledge);
    let answer = answer.unwrap().into_inner();
    assert_eq!(answer.status(), v1::CompletionStatus::Complete);
    assert_eq!(outcomes(&answer.edges), [("a", Applied), ("b", Applied)]);
    // What is granted from now on demands it.
    let grant = a.beat(&answer.cursor).await;
    assert_eq!(grant.min_applied, answer.revision);
    rig.stop().await;
}

#[tokio::test]
async fn no_edge_known_is_complete_at_once() {
    let rig = Rig::start().await;
    rig.put_site("s").await;
    let answer = rig.invalidate_and_wait("s", &["t"], LONG).await;
    assert_eq!(answer.status(), v1::CompletionStatus::Complete);
    assert_eq!(answer.edges, []);
    rig.stop().await;
}

#[tokio::test]
async fn partial_when_the_time_is_up_and_complete_when_asked_again() {
    let rig = Rig::start().await;
    rig.put_site("s").await;
    let head = rig.head().await;
    let (mut a, mut b) = (rig.edge("a"), rig.edge("b"));
    a.beat(&head.cursor).await;
    b.beat(&head.cursor).await;
    let call = |timeout| v1::InvalidateRequest {
        idempotency_key: "k".into(),
        ..waiting("s", &["t"], timeout)
    };
    let first = rig.cache().invalidate(call(SHORT)).await.unwrap();
    let first = first.into_inner();
    assert_eq!(first.status(), v1::CompletionStatus::Partial);
    assert_eq!(outcomes(&first.edges), [("a", Pending), ("b", Pending)]);
    a.beat(&first.cursor).await;
    // The caller's own deadline bounds the wait, and the answer still arrives.
    let mut bounded = tonic::Request::new(call(LONG));
    bounded.set_timeout(Duration::from_secs(3));
    let second = rig.cache().invalidate(bounded).await.unwrap().into_inner();
    assert_eq!(second.status(), v1::CompletionStatus::Partial);
    assert_eq!(outcomes(&second.edges), [("a", Applied), ("b", Pending)]);
    b.beat(&first.cursor).await;
    let third = rig
        .cache()
        .invalidate(call(LONG))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(third.revision, first.revision);
    assert_eq!(third.status(), v1::CompletionStatus::Complete);
    rig.stop().await;
}

#[tokio::test]
async fn complete_when_a_silent_edge_has_lost_its_lease() {
    let rig = Rig::with(short_leases).await;
    rig.put_site("s").await;
    rig.leased_edge("a").await;
    let answer = rig.invalidate_and_wait("s", &["t"], LONG).await;
    assert_eq!(answer.status(), v1::CompletionStatus::Complete);
    assert_eq!(outcomes(&answer.edges), [("a", Fenced)]);
    rig.stop().await;
}

#[tokio::test]
async fn a_site_that_serves_stale_is_complete_only_after_its_bound() {
    let rig = Rig::with(short_leases).await;
    rig.configure("s", |config| config.fenced = Some(serving_stale()))
        .await;
    rig.put_site("plain").await;
    rig.leased_edge("a").await;
    // The lease is over when this is complete, and the bound is not.
    let answer = rig.invalidate_and_wait("plain", &["t"], LONG).await;
    assert_eq!(outcomes(&answer.edges), [("a", Fenced)]);
    let answer = rig.invalidate_and_wait("s", &["t"], SHORT).await;
    assert_eq!(answer.status(), v1::CompletionStatus::Partial);
    assert_eq!(outcomes(&answer.edges), [("a", Pending)]);
    // An edge that is cut off does not hear that the site changed its mind.
    rig.put_site("s").await;
    let answer = rig.invalidate_and_wait("s", &["t"], SHORT).await;
    assert_eq!(answer.status(), v1::CompletionStatus::Partial);
    rig.stop().await;
}

#[tokio::test]
async fn a_bound_that_was_refused_is_not_waited_for() {
    let rig = Rig::with(short_leases).await;
    rig.put_site("s").await;
    rig.put_site("other").await;
    let refused = v1::PutSiteRequest {
        site: "s".into(),
        config: Some(v1::SiteConfig {
            hosts: vec!["other.example".into()],
            fenced: Some(serving_stale()),
            ..v1::SiteConfig::default()
        }),
    };
    let refused = rig.sites().put_site(refused).await.unwrap_err();
    assert_eq!(refused.code(), Code::AlreadyExists);
    rig.leased_edge("a").await;
    let answer = rig.invalidate_and_wait("s", &["t"], LONG).await;
    assert_eq!(answer.status(), v1::CompletionStatus::Complete);
    assert_eq!(outcomes(&answer.edges), [("a", Fenced)]);
    rig.stop().await;
}

#[tokio::test]
async fn a_release_is_pending_at_an_edge_that_lost_its_lease() {
    let rig = Rig::with(short_leases).await;
    rig.put_site("s").await;
    rig.leased_edge("a").await;
    let answer = rig.invalidate_and_wait("s", &["t"], LONG).await;
    assert_eq!(outcomes(&answer.edges), [("a", Fenced)]);
    let activated = crate::releases::publish_and_activate(&rig, SHORT).await;
    assert_eq!(activated.status(), v1::CompletionStatus::Partial);
    assert_eq!(outcomes(&activated.edges), [("a", Pending)]);
    rig.stop().await;
}

#[tokio::test]
async fn a_new_run_waits_for_those_who_may_hold_a_lease() {
    let rig = Rig::start().await;
    rig.put_site("s").await;
    let head = rig.head().await;
    assert!(rig.edge("a").beat(&head.cursor).await.lease.is_some());
    assert!(rig.edge("b").beat(&head.cursor).await.lease.is_some());
    rig.edge("b")
        .send(&head.cursor, |beat| beat.leaving = true)
        .await
        .unwrap();
    let rig = rig.restart().await;
    let call = |timeout| v1::InvalidateRequest {
        idempotency_key: "k".into(),
        ..waiting("s", &["t"], timeout)
    };
    let answer = rig.cache().invalidate(call(SHORT)).await.unwrap();
    let answer = answer.into_inner();
    assert_eq!(answer.status(), v1::CompletionStatus::Partial);
    assert_eq!(outcomes(&answer.edges), [("a", Pending)], "b gave its back");
    rig.edge("a").beat(&answer.cursor).await;
    let answer = rig.cache().invalidate(call(LONG)).await.unwrap();
    let answer = answer.into_inner();
    assert_eq!(answer.status(), v1::CompletionStatus::Complete);
    assert_eq!(outcomes(&answer.edges), [("a", Applied)]);
    rig.stop().await;
}

#[tokio::test]
async fn acknowledgements_that_cannot_be_are_refused() {
    let rig = Rig::start().await;
    let elsewhere = Rig::start().await;
    let foreign = elsewhere.head().await.cursor;
    let mut edge = rig.edge("a");
    let refused = edge.try_beat(&foreign).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert!(refused.message().contains("another history"), "{refused:?}");
    let head = rig.head().await.cursor;
    edge.beat(&head).await;
    let stranger = edge
        .send(&head, |beat| beat.edge_id = "other".into())
        .await
        .unwrap_err();
    assert_eq!(stranger.code(), Code::FailedPrecondition);
    assert!(stranger.message().contains("edge-a"), "{stranger:?}");
    elsewhere.stop().await;
    rig.stop().await;
}

#[tokio::test]
async fn edges_are_listed_page_by_page() {
    let rig = Rig::start().await;
    let head = rig.head().await.cursor;
    for instance in ["a", "b", "c"] {
        rig.edge(instance).beat(&head).await;
    }
    let mut seen = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = v1::ListEdgesRequest {
            page_size: 2,
            page_token,
        };
        let page = rig.fleet().list_edges(request).await.unwrap().into_inner();
        seen.extend(page.edges);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    let names: Vec<_> = seen.iter().map(|e| e.instance_id.as_str()).collect();
    assert_eq!(names, ["a", "b", "c"]);
    assert!(seen.iter().all(|e| e.lease_left.is_some() && e.lag == 0));
    rig.stop().await;
}
