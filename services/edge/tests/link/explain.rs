//! What an edge says it would do is what it then does.

use std::time::Duration;

use tidegate_proto::v1;
use tidegate_proto::v1::ExplainVerdict as Verdict;
use tidegate_proto::v1::subscribe_response::Frame;

use super::control::{LEASE, Subscribed, eventually, unleased};
use super::rig::{Got, HOST, Rig, SITE, hard, soft};

const FRESH: (&str, &str) = ("cache-control", "max-age=600");
const TAGGED: (&str, &str) = ("cache-tag", "item:1 news");
const ETAG: (&str, &str) = ("etag", "\"1\"");

async fn ask(rig: &mut Rig, stream: &Subscribed, query: v1::ExplainQuery) -> v1::ExplainAnswer {
    let query_id = 7 + rig.origin.asked("/a") as u64;
    let kind = Some(v1::query::Kind::Explain(query));
    stream
        .send(Frame::Query(v1::Query { query_id, kind }))
        .await;
    let answer = rig.control.answer().await;
    assert_eq!(answer.query_id, query_id);
    match answer.kind {
        Some(v1::answer_request::Kind::Explain(answer)) => answer,
        other => panic!("{other:?}"),
    }
}

async fn explain(
    rig: &mut Rig,
    stream: &Subscribed,
    url: &str,
    fields: &[(&str, &str)],
) -> v1::ExplainAnswer {
    let field = |(name, value): &(&str, &str)| v1::HeaderField {
        name: (*name).to_owned(),
        value: value.as_bytes().to_vec().into(),
    };
    let query = v1::ExplainQuery {
        site: SITE.into(),
        url: url.into(),
        host: HOST.into(),
        request_headers: fields.iter().map(field).collect(),
    };
    ask(rig, stream, query).await
}

fn did(got: &Got) -> Verdict {
    let said = got.cache_status();
    match () {
        () if got.is_hit() && said.contains("ttl=-") => Verdict::Stale,
        () if got.is_hit() => Verdict::Hit,
        () if said.contains("fwd-status=304") => Verdict::Revalidate,
        () if said.contains("fwd=") && said.contains("stored") => Verdict::Fetch,
        () if said.contains("fwd=") => Verdict::Pass,
        () => Verdict::Refuse,
    }
}

/// Explains, asks, and checks that both say the same.
async fn explained_and_asked(
    rig: &mut Rig,
    stream: &Subscribed,
    url: &str,
    fields: &[(&str, &str)],
    expected: (Verdict, &str),
) -> v1::ExplainAnswer {
    let answer = explain(rig, stream, url, fields).await;
    let (verdict, reason) = expected;
    assert!(answer.reason.contains(reason), "{url}: {}", answer.reason);
    assert_eq!(answer.verdict(), verdict, "{url}: {}", answer.reason);
    let got = rig.get(url, fields).await;
    assert_eq!(did(&got), verdict, "{url}: {}", got.cache_status());
    answer
}

#[tokio::test]
async fn what_is_explained_is_what_the_next_request_meets() {
    let (mut rig, stream) = Rig::serving().await;
    let r = &mut rig;
    let swr = ("cache-control", "max-age=600, stale-while-revalidate=600");
    r.origin.set("/a", &[swr, TAGGED, ETAG], "one");
    let missing = explained_and_asked(r, &stream, "/a", &[], (Verdict::Fetch, "not stored")).await;
    assert_eq!((missing.copy, missing.variants), (None, 0));
    let hit = explained_and_asked(r, &stream, "/a", &[], (Verdict::Hit, "fresh for 600 s")).await;
    let copy = hit.copy.unwrap();
    assert_eq!((copy.status, copy.size, copy.fill_revision), (200, 3, 5));
    assert_eq!(
        copy.tags,
        ["url:/a", "host:www.example.com", "item:1", "news"]
    );
    assert_eq!(copy.etag, "\"1\"");
    assert_eq!(copy.last_invalidation, None);
    assert_eq!((hit.variants, hit.applied), (1, 5));
    assert_eq!(hit.key, "www.example.com/a");
    assert!(hit.lease_left.is_some());

    r.clock.advance(Duration::from_secs(5));
    r.has_lease().await;
    let later = explained_and_asked(r, &stream, "/a", &[], (Verdict::Hit, "fresh for 595 s")).await;
    assert_eq!(later.copy.unwrap().stored_ago.unwrap().seconds, 5);

    r.apply(&stream, vec![soft("item:1")]).await;
    let why = "tag item:1 was soft-invalidated at revision 6, after its fetch began at revision 5";
    let stale = explained_and_asked(r, &stream, "/a", &[], (Verdict::Stale, why)).await;
    let last = stale.copy.unwrap().last_invalidation.unwrap();
    assert_eq!((last.revision, last.tag.as_str()), (6, "item:1"));
    assert_eq!(last.mode(), v1::InvalidationMode::Soft);
    assert!(last.after_fill);
    // It was refreshed behind that.
    eventually("the origin is asked", || r.origin.asked("/a") == 2).await;
    r.get("/a", &[]).await;

    r.apply(&stream, vec![hard("ne*")]).await;
    let why = "tag news was hard-invalidated at revision 7, after its fetch began at revision 6";
    explained_and_asked(r, &stream, "/a", &[], (Verdict::Revalidate, why)).await;
    let validated = explained_and_asked(r, &stream, "/a", &[], (Verdict::Hit, "fresh for")).await;
    let last = validated.copy.unwrap().last_invalidation.unwrap();
    assert_eq!((last.revision, last.after_fill), (7, false));

    r.apply(&stream, vec![hard("*")]).await;
    let why = "everything on the site was hard-invalidated at revision 8";
    explained_and_asked(r, &stream, "/a", &[], (Verdict::Revalidate, why)).await;

    r.control.answers_heartbeats(|_| Ok(unleased(1, 1_000)));
    r.control.beats(1).await;
    r.clock.advance(LEASE + Duration::from_secs(3));
    let alone = explained_and_asked(
        r,
        &stream,
        "/a",
        &[],
        (Verdict::Revalidate, "no lease since 3 s"),
    )
    .await;
    assert_eq!(alone.lease_left, None);
}

#[tokio::test]
async fn a_copy_that_the_origin_could_not_confirm_is_fetched_anew() {
    let (mut rig, stream) = Rig::serving().await;
    rig.origin.set("/a", &[FRESH, TAGGED], "one");
    rig.get("/a", &[]).await;
    rig.apply(&stream, vec![hard("url:/a")]).await;
    let expected = (
        Verdict::Fetch,
        "tag url:/a was hard-invalidated at revision 6",
    );
    explained_and_asked(&mut rig, &stream, "/a", &[], expected).await;
}

#[tokio::test]
async fn variants_fields_and_policies_count_as_they_do_for_requests() {
    let (mut rig, stream) = Rig::serving().await;
    let r = &mut rig;
    let vary = ("vary", "Accept-Language");
    r.origin.set("/a", &[FRESH, vary], "de");
    let (german, french) = ([("Accept-Language", "de")], [("Accept-Language", "fr")]);
    r.get("/a", &german).await;
    explained_and_asked(r, &stream, "/a", &german, (Verdict::Hit, "fresh")).await;
    let other = (Verdict::Fetch, "stored for other values of accept-language");
    let answer = explained_and_asked(r, &stream, "/a", &french, other).await;
    assert_eq!((answer.variants, answer.copy), (1, None));
    // The same URL, spelled otherwise.
    let spelled = explain(r, &stream, "/x/../a", &french).await;
    assert_eq!((spelled.verdict(), spelled.variants), (Verdict::Hit, 2));

    r.origin
        .set("/p", &[("cache-control", "no-store")], "private");
    r.get("/p", &[]).await;
    let lately = (Verdict::Pass, "could not be shared a moment ago");
    explained_and_asked(r, &stream, "/p", &[], lately).await;

    let only = [("Cache-Control", "only-if-cached")];
    let refused = (Verdict::Refuse, "only-if-cached");
    explained_and_asked(r, &stream, "/unknown", &only, refused).await;
    let fresher = [("Cache-Control", "no-cache"), german[0]];
    let answer = explain(r, &stream, "/a", &fresher).await;
    assert!(answer.reason.contains("fresher"), "{}", answer.reason);
    let ahead = [
        ("Tidegate-Min-Revision", &*super::rig::cursor(1, 99)),
        german[0],
    ];
    let answer = explain(r, &stream, "/a", &ahead).await;
    assert!(answer.reason.contains("not applied"), "{}", answer.reason);
}

#[tokio::test]
async fn what_a_site_chose_to_do_without_a_lease_is_explained() {
    let modes = [
        ("fail", Verdict::Refuse, "the site chose to fail"),
        (
            "serve-stale",
            Verdict::Hit,
            "the site serves its copies without one",
        ),
    ];
    for (mode, verdict, reason) in modes {
        let (mut rig, stream) = Rig::serving().await;
        let fenced = serde_json::json!({"fenced": {"mode": mode, "serve_stale_for": "60s"}});
        let config = v1::SiteChanged {
            config: Some(rig.site_with(&fenced)),
        };
        rig.apply(&stream, vec![v1::event::Kind::SiteChanged(config)])
            .await;
        rig.origin.set("/a", &[FRESH], "one");
        rig.get("/a", &[]).await;
        rig.control.answers_heartbeats(|_| Ok(unleased(1, 1_000)));
        rig.control.beats(1).await;
        rig.clock.advance(LEASE + Duration::from_secs(3));
        let answer = explained_and_asked(&mut rig, &stream, "/a", &[], (verdict, reason)).await;
        assert!(
            answer.reason.contains("no lease since 3 s"),
            "{}",
            answer.reason
        );
    }
}

#[tokio::test]
async fn what_cannot_be_explained_says_why() {
    let (mut rig, stream) = Rig::serving().await;
    let query = v1::ExplainQuery {
        site: SITE.into(),
        url: "/a".into(),
        host: HOST.into(),
        request_headers: Vec::new(),
    };
    let field = v1::HeaderField {
        name: "a b".into(),
        value: "x".into(),
    };
    let cases = [
        (
            v1::ExplainQuery {
                site: "other".into(),
                ..query.clone()
            },
            "other",
        ),
        (
            v1::ExplainQuery {
                host: "b.example".into(),
                ..query.clone()
            },
            "b.example",
        ),
        (
            v1::ExplainQuery {
                host: String::new(),
                ..query.clone()
            },
            "host",
        ),
        (
            v1::ExplainQuery {
                url: "relative".into(),
                ..query.clone()
            },
            "url",
        ),
        (
            v1::ExplainQuery {
                url: "/_tidegate/events".into(),
                ..query.clone()
            },
            "by itself",
        ),
        (
            v1::ExplainQuery {
                request_headers: vec![field.clone()],
                ..query.clone()
            },
            "request_headers",
        ),
        (
            v1::ExplainQuery {
                request_headers: vec![field; 17],
                ..query
            },
            "at most 16",
        ),
    ];
    for (query, named) in cases {
        let answer = ask(&mut rig, &stream, query).await;
        assert_eq!(answer.verdict(), Verdict::Refuse);
        assert!(answer.reason.contains(named), "{}", answer.reason);
        assert_eq!(answer.applied, 5);
    }
}

#[tokio::test]
async fn to_explain_counts_as_nothing() {
    let (mut rig, stream) = Rig::serving().await;
    rig.origin.set("/a", &[FRESH], "one");
    rig.get("/a", &[]).await;
    rig.control.beats(1).await;
    let stats = |rig: &Rig| rig.control.beaten().last().unwrap().stats.clone().unwrap();
    let before = stats(&rig);
    for url in ["/a", "/b"] {
        explain(&mut rig, &stream, url, &[]).await;
    }
    rig.control.beats(1).await;
    assert_eq!(stats(&rig), before);
    assert_eq!((rig.origin.asked("/a"), rig.origin.asked("/b")), (1, 0));
}

#[tokio::test]
async fn what_the_origin_says_to_one_visitor_alone_is_explained_as_what_it_is() {
    let (mut rig, stream) = Rig::serving().await;
    let r = &mut rig;
    let known = [("Authorization", "Basic eA==")];
    let dated = ("last-modified", "Thu, 01 Jan 1970 00:00:01 GMT");
    r.origin.set("/dated", &[FRESH, TAGGED, dated], "one");
    r.origin.set("/tagged", &[FRESH, TAGGED, ETAG], "one");
    for url in ["/dated", "/tagged"] {
        r.get(url, &[]).await;
    }
    r.apply(&stream, vec![soft("item:1")]).await;
    // By its date others would be told what holds for this visitor.
    let answer = explain(r, &stream, "/dated", &known).await;
    assert_eq!(answer.verdict(), Verdict::Fetch, "{}", answer.reason);
    assert!(answer.reason.contains("alone"), "{}", answer.reason);
    let got = r.get("/dated", &known).await;
    // All of it came, and is not stored.
    assert_eq!(did(&got), Verdict::Pass, "{}", got.cache_status());
    for (url, fields) in [("/tagged", &known[..]), ("/dated", &[])] {
        let confirmed = (Verdict::Revalidate, "soft-invalidated at revision 6");
        let answer = explained_and_asked(r, &stream, url, fields, confirmed).await;
        assert!(!answer.reason.contains("alone"), "{}", answer.reason);
    }

    let swr = ("cache-control", "max-age=600, stale-while-revalidate=600");
    r.origin.set("/stale", &[swr, TAGGED, ETAG], "one");
    r.get("/stale", &[]).await;
    r.apply(&stream, vec![soft("item:1")]).await;
    let stale = (Verdict::Stale, "this request does not refresh it");
    explained_and_asked(r, &stream, "/stale", &known, stale).await;
    assert_eq!(r.origin.asked("/stale"), 1);
    let stale = (Verdict::Stale, "soft-invalidated at revision 7");
    let answer = explained_and_asked(r, &stream, "/stale", &[], stale).await;
    assert!(!answer.reason.contains("alone"), "{}", answer.reason);
    eventually("the origin is asked", || r.origin.asked("/stale") == 2).await;
}
