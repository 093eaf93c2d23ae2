//! Invalidations, hints and events.

use std::time::Duration;

use tidegate_proto::v1;
use tidegate_proto::v1::cache_service_client::CacheServiceClient;
use tonic::Code;
use tonic::transport::Channel;

use crate::rig::{Rig, invalidation, refused_field};

#[tokio::test]
async fn an_invalidation_is_durable_in_order_and_on_the_audit_trail() {
    let rig = Rig::start().await;
    let site = rig.put_site("s").await;
    let request = v1::InvalidateRequest {
        urls: vec!["/a".into()],
        cascade: true,
        reason: "a new price".into(),
        ..invalidation("s", &["item:1"])
    };
    let answer = rig.cache().invalidate(request).await.unwrap().into_inner();
    assert_eq!(answer.revision, site + 1);
    assert_eq!(answer.status(), v1::CompletionStatus::Accepted);
    assert_eq!(rig.head().await.cursor, answer.cursor);
    rig.invalidate("s", &["item:2"]).await;

    let request = v1::ListInvalidationsRequest {
        site: "s".into(),
        ..v1::ListInvalidationsRequest::default()
    };
    let trail = rig.cache().list_invalidations(request).await.unwrap();
    let trail = trail.into_inner().invalidations;
    assert_eq!(trail.len(), 2);
    assert_eq!(trail[0].patterns, ["item:2"]);
    assert_eq!(trail[1].patterns, ["item:1", "item:1:*", "url:/a"]);
    assert_eq!(trail[1].reason, "a new price");
    assert_eq!(trail[1].caller, "anonymous@127.0.0.1");
    assert_eq!(trail[1].cause(), v1::InvalidationCause::Call);
    rig.stop().await;
}

#[tokio::test]
async fn a_repeated_call_has_one_effect_also_after_a_restart() {
    let rig = Rig::start().await;
    rig.put_site("s").await;
    let request = |tag: &str| v1::InvalidateRequest {
        idempotency_key: "key-1".into(),
        ..invalidation("s", &[tag])
    };
    let first = rig.cache().invalidate(request("a")).await.unwrap();
    let first = first.into_inner().revision;
    let again = rig.cache().invalidate(request("a")).await.unwrap();
    assert_eq!(again.into_inner().revision, first);
    let other = rig.cache().invalidate(request("b")).await.unwrap_err();
    assert_eq!(other.code(), Code::AlreadyExists);
    assert!(other.message().contains("idempotency_key"), "{other:?}");
    let rig = rig.restart().await;
    let again = rig.cache().invalidate(request("a")).await.unwrap();
    assert_eq!(again.into_inner().revision, first);
    rig.stop().await;
}

#[tokio::test]
async fn a_repeated_call_is_the_same_when_the_site_reads_its_urls_otherwise_by_then() {
    let rig = Rig::start().await;
    rig.put_site("s").await;
    let request = || v1::InvalidateRequest {
        urls: vec!["/a?b=1&a=2".into()],
        idempotency_key: "key-1".into(),
        ..invalidation("s", &[])
    };
    let first = rig.cache().invalidate(request()).await.unwrap();
    let sorted = |config: &mut v1::SiteConfig| {
        config.key = Some(v1::KeyPolicy {
            query_sort: true,
            ..v1::KeyPolicy::default()
        });
    };
    rig.configure("s", sorted).await;
    let again = rig.cache().invalidate(request()).await.unwrap();
    assert_eq!(again.into_inner().revision, first.into_inner().revision);
    rig.stop().await;
}

#[tokio::test]
async fn a_call_repeated_from_another_address_has_one_effect() {
    let rig = Rig::start().await;
    rig.put_site("s").await;
    let request = || v1::InvalidateRequest {
        idempotency_key: "key-1".into(),
        ..invalidation("s", &["a"])
    };
    let first = rig.cache().invalidate(request()).await.unwrap();
    let moved = Channel::from_shared(format!("http://{}", rig.addresses.grpc)).unwrap();
    let moved = moved.local_address(Some([127, 0, 0, 2].into()));
    let mut moved = CacheServiceClient::new(moved.connect().await.unwrap());
    let again = moved.invalidate(request()).await.unwrap();
    assert_eq!(again.into_inner().revision, first.into_inner().revision);
    let other = moved.invalidate(invalidation("s", &["b"])).await.unwrap();
    let request = v1::ListInvalidationsRequest {
        site: "s".into(),
        ..v1::ListInvalidationsRequest::default()
    };
    let trail = rig.cache().list_invalidations(request).await.unwrap();
    let trail = trail.into_inner().invalidations;
    assert_eq!(trail[0].revision, other.into_inner().revision);
    assert_eq!(trail[0].caller, "anonymous@127.0.0.2");
    drop(moved);
    rig.stop().await;
}

#[tokio::test]
async fn what_breaks_a_rule_is_named_and_changes_nothing() {
    let rig = Rig::start().await;
    rig.put_site("s").await;
    let head = rig.head().await.revision;
    let good = || invalidation("s", &["t"]);
    let many: Vec<_> = (0..1_001).map(|n| format!("t{n}")).collect();
    let duration = |seconds| Some(prost_types::Duration { seconds, nanos: 0 });
    let cases = [
        (
            "tags",
            v1::InvalidateRequest {
                tags: many,
                ..good()
            },
        ),
        ("tags[0]", invalidation("s", &["a b"])),
        ("tags[0]", invalidation("s", &[&"x".repeat(257)])),
        ("tags", invalidation("s", &[])),
        ("site", invalidation("S", &["t"])),
        (
            "urls[0]",
            v1::InvalidateRequest {
                urls: vec!["x".into()],
                ..good()
            },
        ),
        ("mode", v1::InvalidateRequest { mode: 9, ..good() }),
        (
            "wait_for",
            v1::InvalidateRequest {
                wait_for: 9,
                ..good()
            },
        ),
        (
            "wait_timeout",
            v1::InvalidateRequest {
                wait_timeout: duration(601),
                ..good()
            },
        ),
        (
            "spread",
            v1::InvalidateRequest {
                spread: duration(3_601),
                ..good()
            },
        ),
        (
            "reason",
            v1::InvalidateRequest {
                reason: "x".repeat(1_025),
                ..good()
            },
        ),
        (
            "idempotency_key",
            v1::InvalidateRequest {
                idempotency_key: "a b".into(),
                ..good()
            },
        ),
    ];
    for (field, request) in cases {
        let refused = rig.cache().invalidate(request).await;
        assert_eq!(refused_field(refused), field);
    }
    let unknown = rig.cache().invalidate(invalidation("none", &["t"])).await;
    let unknown = unknown.unwrap_err();
    assert_eq!(unknown.code(), Code::NotFound);
    assert!(unknown.message().contains("\"none\""), "{unknown:?}");
    assert_eq!(rig.head().await.revision, head);
    rig.stop().await;
}

#[tokio::test]
async fn a_preview_counts_and_changes_nothing() {
    let rig = Rig::with(|config| config.fleet.query_timeout = Duration::from_secs(60)).await;
    rig.put_site("s").await;
    let head = rig.head().await;
    let mut edge = rig.edge("a");
    let mut frames = edge.subscribe(&head.cursor).await;
    frames.hello().await;
    let preview = async {
        let request = v1::PreviewInvalidationRequest {
            site: "s".into(),
            tags: vec!["t".into()],
            cascade: true,
            ..v1::PreviewInvalidationRequest::default()
        };
        let mut cache = rig.cache();
        cache
            .preview_invalidation(request)
            .await
            .unwrap()
            .into_inner()
    };
    let answer = async {
        let Some(v1::subscribe_response::Frame::Query(query)) = frames.next().await else {
            panic!("no question");
        };
        let Some(v1::query::Kind::Preview(preview)) = query.kind else {
            panic!("no preview");
        };
        assert_eq!(preview.patterns, ["t", "t:*"]);
        let request = v1::AnswerRequest {
            instance_id: "a".into(),
            query_id: query.query_id,
            kind: Some(v1::answer_request::Kind::Preview(v1::PreviewAnswer {
                tags: 2,
                responses: 3,
            })),
        };
        edge.client().answer(request).await.unwrap();
    };
    let (preview, ()) = tokio::join!(preview, answer);
    assert_eq!(preview.patterns, ["t", "t:*"]);
    assert_eq!(preview.edges.len(), 1);
    assert!(preview.edges[0].answered);
    assert_eq!((preview.edges[0].tags, preview.edges[0].responses), (2, 3));
    assert_eq!(rig.head().await.revision, head.revision);
    rig.stop().await;
}

#[tokio::test]
async fn hints_and_events_are_checked() {
    let rig = Rig::start().await;
    rig.put_site("s").await;
    let hint = |urls: Vec<String>| v1::PreloadHintRequest {
        site: "s".into(),
        urls,
        audience: Vec::new(),
    };
    rig.cache()
        .preload_hint(hint(vec!["/a".into()]))
        .await
        .unwrap();
    for urls in [vec![], vec!["/a".to_owned(); 101]] {
        let refused = rig.cache().preload_hint(hint(urls)).await;
        assert_eq!(refused_field(refused), "urls");
    }
    let event = |kind: &str, data: String| v1::PublishEventRequest {
        site: "s".into(),
        r#type: kind.into(),
        data,
        audience: Vec::new(),
    };
    rig.cache()
        .publish_event(event("price", "1".into()))
        .await
        .unwrap();
    let refused = rig
        .cache()
        .publish_event(event("reset", String::new()))
        .await;
    assert_eq!(refused_field(refused), "type");
    let refused = rig
        .cache()
        .publish_event(event("price", "x".repeat(16_385)))
        .await;
    assert_eq!(refused_field(refused), "data");
    rig.stop().await;
}

#[tokio::test]
async fn calls_that_are_not_built_say_so() {
    let rig = Rig::start().await;
    let request = v1::ListTokensRequest::default();
    let answer = rig.admin().list_tokens(request).await.unwrap_err();
    assert_eq!(answer.code(), Code::Unimplemented);
    assert!(answer.message().contains("ListTokens"), "{answer:?}");
    rig.stop().await;
}

#[tokio::test]
async fn people_can_watch_what_happens() {
    let rig = Rig::start().await;
    rig.put_site("s").await;
    rig.put_site("other").await;
    let from = rig.head().await.cursor;
    rig.invalidate("other", &["x"]).await;
    rig.invalidate("s", &["a"]).await;
    let watch = |cursor: &str| v1::WatchEventsRequest {
        site: "s".into(),
        cursor: cursor.into(),
    };
    let mut events = rig
        .fleet()
        .watch_events(watch(&from))
        .await
        .unwrap()
        .into_inner();
    let seen = events.message().await.unwrap().unwrap();
    assert!(matches!(
        seen.event.unwrap().kind,
        Some(v1::event::Kind::Invalidated(i)) if i.patterns == ["a"]
    ));
    rig.invalidate("s", &["b"]).await;
    let seen = events.message().await.unwrap().unwrap();
    assert_eq!(seen.cursor, rig.head().await.cursor);
    let refused = rig.fleet().watch_events(watch("nonsense")).await;
    assert_eq!(refused_field(refused.map(|_| ())), "cursor");

    let elsewhere = Rig::start().await;
    elsewhere.put_site("s").await;
    let foreign = elsewhere.head().await.cursor;
    let refused = rig.fleet().watch_events(watch(&foreign)).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert!(refused.message().contains("another history"), "{refused:?}");
    elsewhere.stop().await;
    rig.stop().await;
}

#[tokio::test]
async fn a_trail_of_large_invalidations_comes_in_pages_that_every_client_takes() {
    const CALLS: usize = 20;
    let rig = Rig::start().await;
    rig.put_site("s").await;
    let from = rig.head().await;
    // Some 250 KB each, 5 MB together.
    let tags: Vec<_> = (0..1_000).map(|n| format!("{n:0>250}")).collect();
    let tags: Vec<_> = tags.iter().map(String::as_str).collect();
    for _ in 0..CALLS {
        rig.invalidate("s", &tags).await;
    }
    let (mut listed, mut pages, mut page_token) = (0, 0, String::new());
    loop {
        let request = v1::ListInvalidationsRequest {
            site: "s".into(),
            page_size: 1_000,
            page_token,
        };
        // This client takes 4 MiB.
        let page = rig.cache().list_invalidations(request).await.unwrap();
        let page = page.into_inner();
        listed += page.invalidations.len();
        pages += 1;
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    assert_eq!((listed, pages > 1), (CALLS, true));
    let request = v1::ReadLogRequest {
        site: "s".into(),
        cursor: from.cursor,
        to_inclusive: rig.head().await.revision,
    };
    let read = rig.edges().read_log(request).await.unwrap().into_inner();
    assert!(read.found && read.events.is_empty());
    assert_eq!(read.folded_patterns.len(), tags.len());
    rig.stop().await;
}
