//! Why a URL is served as it is, and what each edge did with an invalidation, as a
//! person asks for it.

use std::time::Duration;

use serde_json::Value;
use tidegate_e2e::{Answer, Calls, Edge, Reply, eventually, v1};

use crate::support::{
    HOST, LONG, Rig, SITE, cached, invalidate, invalidate_everywhere, of_tags, short_leases,
    short_margin, waiting,
};

/// Asks one edge through the command line.
async fn explain(calls: &Calls, words: &[&str]) -> Value {
    let all = [&["explain", "--site", SITE], words].concat();
    let said = calls.cli().json(all).await;
    let edges = said["edges"].as_array().unwrap();
    assert_eq!(edges.len(), 1, "{said}");
    edges[0]["answer"].clone()
}

/// What was done with a request, in the words of explanations.
fn did(reply: &Reply) -> &'static str {
    let said = reply.field("cache-status");
    match () {
        () if !reply.field("tidegate-release").is_empty() => "RELEASE",
        () if said.contains("; hit") && said.contains("ttl=-") => "STALE",
        () if said.contains("; hit") => "HIT",
        () if said.contains("fwd-status=304") => "REVALIDATE",
        () if said.contains("fwd=") && said.contains("stored") => "FETCH",
        () if said.contains("fwd=") => "PASS",
        () => "REFUSE",
    }
}

/// Explains, asks, and checks that both agree.
async fn agree(rig: &Rig, url: &str, language: &str, verdict: &str, reason: &str) -> Value {
    let field = format!("accept-language: {language}");
    let answer = explain(rig.calls(), &[url, "--header", &field]).await;
    let why = answer["reason"].as_str().unwrap();
    assert_eq!(answer["verdict"], verdict, "{url}: {answer}");
    assert!(why.contains(reason), "{url}: {answer}");
    let fields = [("accept-language", language)];
    let reply = rig.http().get_with(url, &fields).await;
    assert_eq!(did(&reply), verdict, "{url}: {answer}: {reply:?}");
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_explained_is_what_the_next_request_meets() {
    let rig = Rig::start().await;
    let item = |body: &'static str| {
        let answer = Answer::ok(body).tags(&["item:42"]).etag("one");
        answer.cache("max-age=600, stale-while-revalidate=600")
    };
    rig.origin.set("/item", item("one"));
    agree(&rig, "/item", "de", "FETCH", "not stored").await;
    cached(&rig.http(), &rig.origin, "/item", "one").await;
    let hit = agree(&rig, "/item", "de", "HIT", "fresh for").await;
    assert_eq!(hit["copy"]["status"], 200);
    let tags = hit["copy"]["tags"].as_array().unwrap();
    for tag in ["url:/item", "host:shop.example", "item:42"] {
        assert!(tags.iter().any(|it| it == tag), "{tag}: {hit}");
    }

    let soft = v1::InvalidateRequest {
        mode: v1::InvalidationMode::Soft.into(),
        ..of_tags(&["item:*"])
    };
    let revision = invalidate_everywhere(rig.calls(), soft).await.revision;
    let why = format!("tag item:42 was soft-invalidated at revision {revision}");
    agree(&rig, "/item", "de", "STALE", &why).await;
    eventually("the copy is refreshed", || async {
        let answer = explain(rig.calls(), &["/item"]).await;
        if answer["verdict"] == "HIT" {
            Ok(())
        } else {
            Err(answer)
        }
    })
    .await;

    let hard = of_tags(&["item:42"]);
    let revision = invalidate_everywhere(rig.calls(), hard).await.revision;
    let why = format!("tag item:42 was hard-invalidated at revision {revision}");
    let gone = agree(&rig, "/item", "de", "REVALIDATE", &why).await;
    assert_eq!(gone["copy"]["last_invalidation"]["revision"], revision);
    assert_eq!(gone["copy"]["last_invalidation"]["after_fill"], true);
    assert_eq!(gone["applied"], revision);

    // What differs by the language of the visitor.
    let german = Answer::ok("hallo")
        .cache(LONG)
        .field("vary", "accept-language");
    rig.origin.set("/hello", german);
    agree(&rig, "/hello", "de", "FETCH", "not stored").await;
    eventually("it is stored", || async {
        let answer = explain(rig.calls(), &["/hello", "--header", "accept-language: de"]).await;
        if answer["verdict"] == "HIT" {
            Ok(())
        } else {
            Err(answer)
        }
    })
    .await;
    let french = agree(&rig, "/hello", "fr", "FETCH", "accept-language").await;
    assert_eq!(french["variants"], 1);

    // What must not be shared.
    rig.origin
        .set("/mine", Answer::ok("mine").cache("private, no-store"));
    rig.http().get("/mine").await;
    agree(&rig, "/mine", "de", "PASS", "could not be shared").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_the_release_is_explained_as_one() {
    let rig = Rig::start().await;
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(
        folder.path().join("index.html"),
        "<!doctype html><title>a</title>",
    )
    .unwrap();
    let path = folder.path().to_str().unwrap();
    let publish = ["site", "publish", path, "--fast", "--wait", "--site", SITE];
    let published = rig.calls().cli().json(publish).await;
    rig.http().get("/").await;
    let page = agree(&rig, "/", "de", "RELEASE", "a page of the active release").await;
    assert_eq!(page["release"], published["release"]["id"]);
    // The same by its address alone.
    let url = format!("https://{HOST}/");
    let said = rig.calls().cli().json(["explain", &url]).await;
    assert_eq!(said["site"], SITE);
    assert_eq!(said["edges"][0]["answer"]["verdict"], "RELEASE");
}

/// One invalidation on the audit trail, through the command line.
async fn audited(calls: &Calls, revision: u64) -> Value {
    let revision = revision.to_string();
    let cli = calls.cli().flag("--site", SITE);
    cli.json(["audit", &revision]).await
}

/// What one edge did.
fn of<'a>(record: &'a Value, edge: &str) -> &'a Value {
    let mut edges = record["edges"].as_array().unwrap().iter();
    edges.find(|it| it["edge_id"] == edge).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_audit_trail_says_what_each_edge_did_and_who_did_not_answer_is_named() {
    let rig = Rig::start_with(short_leases, |_| {}).await;
    let mut other = Edge::start_with(rig.calls(), "edge-b", short_margin).await;
    rig.calls().settled(2).await;
    for url in ["/a", "/b"] {
        rig.fill(url, url, &["item:1"]).await;
    }
    cached(&other.http(HOST), &rig.origin, "/a", "/a").await;
    let both = invalidate_everywhere(rig.calls(), of_tags(&["item:1"])).await;
    other.process().pause();
    let asked = rig
        .calls()
        .cli()
        .flag("--site", SITE)
        .flag("--output", "json");
    let said = asked.run(["explain", "/a"]).await;
    assert_eq!(said.code, 3, "{said:?}");
    let said: Value = serde_json::from_str(&said.stdout).unwrap();
    assert_eq!(said["edges"][0]["answer"]["verdict"], "FETCH", "{said}");
    assert_eq!(said["edges"][1]["edge_id"], "edge-b", "{said}");
    assert_eq!(said["edges"][1]["answer"], Value::Null, "{said}");
    let request = waiting(of_tags(&["item:2"]), Duration::from_secs(20));
    let fenced = invalidate(rig.calls(), request).await;
    assert_eq!(fenced.status(), v1::CompletionStatus::Complete);

    // What an edge hit comes with a heartbeat.
    let record = eventually("both edges have told", || async {
        let record = audited(rig.calls(), both.revision).await;
        let told = |edge| of(&record, edge)["evicted"].is_u64();
        if told("edge-a") && told("edge-b") {
            Ok(record)
        } else {
            Err(record)
        }
    })
    .await;
    for (edge, evicted) in [("edge-a", 2), ("edge-b", 1)] {
        let effect = of(&record, edge);
        assert_eq!(effect["outcome"], "APPLIED", "{record}");
        assert_eq!(effect["evicted"], evicted, "{record}");
        assert!(effect["applied_at"].is_string(), "{record}");
    }
    let record = audited(rig.calls(), fenced.revision).await;
    let effect = of(&record, "edge-b");
    assert_eq!(effect["outcome"], "FENCED", "{record}");
    assert!(effect["fenced_at"].is_string(), "{record}");
    assert_eq!(of(&record, "edge-a")["outcome"], "APPLIED", "{record}");

    other.process().resume();
}
