//! What edges say of a URL.

use std::time::Duration;

use tidegate_proto::v1;
use tidegate_proto::v1::subscribe_response::Frame;
use tonic::{Code, Status};

use crate::rig::{FakeEdge, Frames, Rig, refused_field};

const LONG: Duration = Duration::from_secs(60);

fn question(site: &str, url: &str) -> v1::ExplainUrlRequest {
    v1::ExplainUrlRequest {
        site: site.into(),
        url: url.into(),
        ..v1::ExplainUrlRequest::default()
    }
}

async fn ask(rig: &Rig, request: v1::ExplainUrlRequest) -> Result<v1::ExplainUrlResponse, Status> {
    Ok(rig.fleet().explain_url(request).await?.into_inner())
}

/// Answers the next question on a stream, and tells what was asked.
async fn answer(
    instance: &str,
    edge: &mut FakeEdge,
    frames: &mut Frames,
    answer: v1::ExplainAnswer,
) -> v1::ExplainQuery {
    let Some(Frame::Query(query)) = frames.next().await else {
        panic!("no question");
    };
    let Some(v1::query::Kind::Explain(asked)) = query.kind else {
        panic!("another question");
    };
    let request = v1::AnswerRequest {
        instance_id: instance.into(),
        query_id: query.query_id,
        kind: Some(v1::answer_request::Kind::Explain(answer)),
    };
    edge.client().answer(request).await.unwrap();
    asked
}

#[tokio::test]
async fn every_edge_is_asked_by_the_url_as_it_is_looked_up_and_the_last_invalidation_is_named() {
    let rig = Rig::with(|config| config.fleet.query_timeout = Duration::from_millis(700)).await;
    rig.configure("s", |config| {
        config.key = Some(v1::KeyPolicy {
            query_sort: true,
            ..v1::KeyPolicy::default()
        });
    })
    .await;
    rig.put_site("other").await;
    let of_copy = rig.invalidate("s", &["item:*"]).await;
    rig.invalidate("s", &["unrelated"]).await;
    rig.invalidate("other", &["item:1"]).await;
    let head = rig.head().await;
    let (mut a, mut silent, mut elsewhere) = (rig.edge("a"), rig.edge("b"), rig.edge("c"));
    elsewhere.sites = vec!["other".into()];
    let mut frames = a.subscribe(&head.cursor).await;
    let mut unread = silent.subscribe(&head.cursor).await;
    let mut others = elsewhere.subscribe("").await;
    frames.hello().await;
    unread.hello().await;
    others.snapshot_after_hello().await;
    let said = v1::ExplainAnswer {
        verdict: v1::ExplainVerdict::Hit.into(),
        copy: Some(v1::StoredCopy {
            tags: vec!["item:1".into()],
            ..v1::StoredCopy::default()
        }),
        ..v1::ExplainAnswer::default()
    };
    let request = question("", "https://S.example:8443/x?b=1&a=2");
    let (explained, asked) = tokio::join!(
        ask(&rig, request),
        answer("a", &mut a, &mut frames, said.clone())
    );
    let explained = explained.unwrap();
    assert_eq!(
        (asked.url.as_str(), asked.host.as_str()),
        ("/x?a=2&b=1", "s.example")
    );
    assert_eq!((asked.site.as_str(), explained.site.as_str()), ("s", "s"));
    assert_eq!(explained.url, "/x?a=2&b=1");
    let edges: Vec<_> = explained
        .edges
        .iter()
        .map(|e| (e.instance_id.as_str(), &e.answer))
        .collect();
    assert_eq!(edges, [("a", &Some(said)), ("b", &None)]);
    let last = explained.last_invalidation.unwrap();
    assert_eq!(last.revision, of_copy.revision, "by a tag of the copy");
    assert_eq!(explained.head, head.revision);
    assert_eq!(rig.head().await.revision, head.revision, "nothing changed");
    rig.stop().await;
}

#[tokio::test]
async fn one_edge_can_be_asked_alone_and_the_url_itself_was_invalidated() {
    let rig = Rig::with(|config| config.fleet.query_timeout = LONG).await;
    rig.put_site("s").await;
    let request = v1::InvalidateRequest {
        site: "s".into(),
        urls: vec!["/x".into()],
        ..v1::InvalidateRequest::default()
    };
    let done = rig.cache().invalidate(request).await.unwrap().into_inner();
    let head = rig.head().await;
    let (mut a, mut b) = (rig.edge("a"), rig.edge("b"));
    let mut frames = a.subscribe(&head.cursor).await;
    let mut unasked = b.subscribe(&head.cursor).await;
    frames.hello().await;
    unasked.hello().await;
    let request = v1::ExplainUrlRequest {
        edge_id: "edge-a".into(),
        ..question("s", "/x")
    };
    let fetch = v1::ExplainAnswer {
        verdict: v1::ExplainVerdict::Fetch.into(),
        ..v1::ExplainAnswer::default()
    };
    let (explained, asked) =
        tokio::join!(ask(&rig, request), answer("a", &mut a, &mut frames, fetch));
    let explained = explained.unwrap();
    assert_eq!(asked.host, "s.example", "a host of the site");
    assert_eq!(explained.edges.len(), 1);
    let last = explained.last_invalidation.unwrap();
    assert_eq!(
        (last.revision, last.patterns),
        (done.revision, vec!["url:/x".to_owned()])
    );
    rig.stop().await;
}

#[tokio::test]
async fn what_is_not_there_or_breaks_a_rule_is_named() {
    let rig = Rig::start().await;
    rig.put_site("s").await;
    rig.leased_edge("a").await;
    let of_edge = |edge: &str| v1::ExplainUrlRequest {
        edge_id: edge.into(),
        ..question("s", "/x")
    };
    for (request, named) in [
        (question("none", "/x"), "\"none\""),
        (
            question("", "http://elsewhere.example/x"),
            "\"elsewhere.example\"",
        ),
        (of_edge("nobody"), "\"nobody\""),
        (of_edge("edge-a"), "no open stream"),
    ] {
        let refused = ask(&rig, request).await.unwrap_err();
        assert_eq!(refused.code(), Code::NotFound, "{refused:?}");
        assert!(refused.message().contains(named), "{refused:?}");
    }
    let field = v1::HeaderField {
        name: "accept".into(),
        value: "*/*".into(),
    };
    let many = v1::ExplainUrlRequest {
        request_headers: vec![field; 17],
        ..question("s", "/x")
    };
    for (request, field) in [
        (question("s", "x"), "url"),
        (question("s", "http://elsewhere.example/x"), "url"),
        (question("", "http://a b/x"), "url"),
        (question("s", &format!("/{}", "x".repeat(8 << 10))), "url"),
        (question("", "/x"), "site"),
        (question("S", "/x"), "site"),
        (of_edge("!"), "edge_id"),
        (many, "request_headers"),
    ] {
        assert_eq!(refused_field(ask(&rig, request).await), field);
    }
    let nobody = ask(&rig, question("s", "/x")).await.unwrap();
    assert!(nobody.edges.is_empty() && nobody.last_invalidation.is_none());
    rig.stop().await;
}
