//! A repeated call has one effect and gets the first answer.

use std::time::Duration;

use tidegate_proto::v1;
use tonic::{Code, Status};

use crate::rig::{Rig, invalidation, refused_field, waiting};

fn keyed(request: v1::InvalidateRequest) -> v1::InvalidateRequest {
    v1::InvalidateRequest {
        idempotency_key: "key-1".into(),
        ..request
    }
}

async fn call(rig: &Rig, request: v1::InvalidateRequest) -> Result<v1::InvalidateResponse, Status> {
    let answer = rig.cache().invalidate(request).await?;
    Ok(answer.into_inner())
}

async fn count(rig: &Rig) -> usize {
    let request = v1::ListInvalidationsRequest {
        site: "s".into(),
        ..v1::ListInvalidationsRequest::default()
    };
    let trail = rig.cache().list_invalidations(request).await.unwrap();
    trail.into_inner().invalidations.len()
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_at_once_with_one_key_have_one_effect() {
    let rig = Rig::start().await;
    rig.put_site("s").await;
    let calls = (0..64).map(|_| {
        let mut cache = rig.cache();
        tokio::spawn(async move { cache.invalidate(keyed(invalidation("s", &["a"]))).await })
    });
    let mut revisions = Vec::new();
    for one in calls.collect::<Vec<_>>() {
        revisions.push(one.await.unwrap().unwrap().into_inner().revision);
    }
    revisions.dedup();
    assert_eq!(revisions.len(), 1, "{revisions:?}");
    assert_eq!(count(&rig).await, 1);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repetition_waits_anew_also_while_the_first_call_still_waits() {
    let rig = Rig::start().await;
    rig.put_site("s").await;
    let mut edge = rig.edge("a");
    let head = rig.head().await;
    edge.beat(&head.cursor).await;
    let long = Duration::from_secs(60);
    let waits = || {
        let mut cache = rig.cache();
        tokio::spawn(async move { cache.invalidate(keyed(waiting("s", &["t"], long))).await })
    };
    let first = waits();
    let mut log = rig.head().await;
    while log.revision == head.revision {
        log = rig.head().await;
    }
    // What is waited for, and how long, does not make it another call.
    let briefly = keyed(waiting("s", &["t"], Duration::from_millis(50)));
    let partial = call(&rig, briefly).await.unwrap();
    assert_eq!(partial.status(), v1::CompletionStatus::Partial);
    let accepted = call(&rig, keyed(invalidation("s", &["t"]))).await.unwrap();
    assert_eq!(accepted.status(), v1::CompletionStatus::Accepted);
    let second = waits();
    assert!(!first.is_finished() && !second.is_finished());
    edge.beat(&partial.cursor).await;
    for one in [first, second] {
        let answer = one.await.unwrap().unwrap().into_inner();
        assert_eq!(answer.status(), v1::CompletionStatus::Complete);
        assert_eq!(answer.revision, partial.revision);
    }
    assert_eq!(accepted.revision, partial.revision);
    assert_eq!(count(&rig).await, 1);
    rig.stop().await;
}

#[tokio::test]
async fn a_restart_forgets_no_key() {
    let rig = Rig::start().await;
    rig.put_site("s").await;
    let first = call(&rig, keyed(invalidation("s", &["a"]))).await.unwrap();
    let rig = rig.restart().await;
    let again = call(&rig, keyed(invalidation("s", &["a"]))).await.unwrap();
    assert_eq!(again.revision, first.revision);
    let other = call(&rig, keyed(invalidation("s", &["b"]))).await;
    assert_eq!(other.unwrap_err().code(), Code::AlreadyExists);
    assert_eq!(count(&rig).await, 1);
    rig.stop().await;
}

#[tokio::test]
async fn whatever_changes_what_happens_is_other_content() {
    let rig = Rig::start().await;
    rig.put_site("s").await;
    rig.put_site("t").await;
    let first = v1::InvalidateRequest {
        urls: vec!["/a".into(), "/b".into()],
        ..keyed(invalidation("s", &["a", "b"]))
    };
    let told = call(&rig, first.clone()).await.unwrap();
    type Change = fn(&mut v1::InvalidateRequest);
    let others: [Change; 8] = [
        |it| it.tags = vec!["a".into()],
        |it| it.tags = vec!["ab".into()],
        |it| it.urls = vec!["/a".into()],
        |it| {
            it.tags.push("/b".into());
            it.urls.pop();
        },
        |it| it.mode = v1::InvalidationMode::Soft.into(),
        |it| it.cascade = true,
        |it| it.reason = "another".into(),
        |it| {
            it.spread = Some(prost_types::Duration {
                seconds: 1,
                nanos: 0,
            });
        },
    ];
    for (number, change) in others.into_iter().enumerate() {
        let mut other = first.clone();
        change(&mut other);
        let refused = call(&rig, other).await.unwrap_err();
        assert_eq!(refused.code(), Code::AlreadyExists, "{number}");
    }
    let same: [Change; 4] = [
        |it| it.tags = vec!["b".into(), "a".into(), "b".into()],
        |it| it.mode = v1::InvalidationMode::Hard.into(),
        |it| it.spread = Some(prost_types::Duration::default()),
        |it| it.wait_for = v1::WaitFor::AllEdges.into(),
    ];
    for (number, change) in same.into_iter().enumerate() {
        let mut again = first.clone();
        change(&mut again);
        assert_eq!(
            call(&rig, again).await.unwrap().revision,
            told.revision,
            "{number}"
        );
    }
    let elsewhere = keyed(invalidation("t", &["other"]));
    assert!(call(&rig, elsewhere).await.unwrap().revision > told.revision);
    rig.stop().await;
}

#[tokio::test]
async fn keys_have_a_length_and_visible_characters() {
    let rig = Rig::start().await;
    rig.put_site("s").await;
    let with = |key: &str| v1::InvalidateRequest {
        idempotency_key: key.into(),
        ..invalidation("s", &["a"])
    };
    for key in ["k", &"k".repeat(128), "!~"] {
        let first = call(&rig, with(key)).await.unwrap().revision;
        assert_eq!(call(&rig, with(key)).await.unwrap().revision, first);
    }
    for key in ["k".repeat(129), "a b".into(), "é".into(), "a\n".into()] {
        assert_eq!(
            refused_field(call(&rig, with(&key)).await),
            "idempotency_key"
        );
    }
    let (one, two) = (with(""), with(""));
    let one = call(&rig, one).await.unwrap().revision;
    assert_ne!(
        call(&rig, two).await.unwrap().revision,
        one,
        "no key, no repetition"
    );
    rig.stop().await;
}

#[tokio::test]
async fn a_repetition_that_cannot_be_read_any_more_gets_the_first_answer() {
    let rig = Rig::start().await;
    rig.put_site("s").await;
    let request = |url: &str| v1::InvalidateRequest {
        urls: vec![url.into()],
        ..keyed(invalidation("s", &[]))
    };
    let url = "http://s.example/a";
    let first = call(&rig, request(url)).await.unwrap();
    rig.configure("s", |config| config.hosts = vec!["new.example".into()])
        .await;
    let again = call(&rig, request(url)).await.unwrap();
    assert_eq!(again.revision, first.revision);
    // Another call is refused as ever, and takes no key.
    assert_eq!(
        refused_field(call(&rig, request("http://s.example/b")).await),
        "urls[0]"
    );
    let free = v1::InvalidateRequest {
        idempotency_key: "key-2".into(),
        ..request(url)
    };
    assert_eq!(refused_field(call(&rig, free.clone()).await), "urls[0]");
    let read = v1::InvalidateRequest {
        urls: vec!["/a".into()],
        ..free
    };
    assert!(call(&rig, read).await.unwrap().revision > first.revision);
    rig.stop().await;
}
