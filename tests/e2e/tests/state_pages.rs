//! Pages with a hole for state: slices at once, state when the origin has it.

use std::fs;

use bytes::Bytes;
use http::Method;
use http_body_util::BodyExt as _;
use tempfile::TempDir;
use tidegate_e2e::{Answer, v1};

use crate::support::{Rig, SITE};

const BEFORE: &str = "<!doctype html><title>order</title><h1>Order</h1>\n";
const HOLE: &str = "<!-- state -->";
const AFTER: &str = "\n<p>Thank you.</p>\n";
const STATE: &str = r#"{"text":"</script><!--&","n":1}"#;

/// What stands in the hole: nothing in it can end the script.
fn embedded() -> String {
    let escaped = STATE
        .replace('<', "\\u003c")
        .replace('>', "\\u003e")
        .replace('&', "\\u0026");
    format!(r#"<script type="application/json" id="tidegate-state">{escaped}</script>"#)
}

fn state() -> Answer {
    Answer::ok(STATE).field("content-type", "application/json")
}

/// The page with its cuts, as both versions of `site.json` say them.
fn folder(version: u32) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let page = format!("{BEFORE}{HOLE}{AFTER}");
    fs::write(folder.path().join("order.html"), &page).unwrap();
    let (start, end) = (BEFORE.len(), BEFORE.len() + HOLE.len());
    let site = if version == 1 {
        serde_json::json!({"pages": {"/order.html": {
            "link": "</app.css>; rel=preload; as=style",
            "critical": {"start": 0, "end": start},
            "head": {"start": end, "end": page.len()},
        }}})
    } else {
        serde_json::json!({"version": 2, "pages": {"/order.html": {
            "link": ["</app.css>; rel=preload; as=style"],
            "state": {"start": start, "end": end},
        }}})
    };
    fs::write(folder.path().join("site.json"), site.to_string()).unwrap();
    folder
}

async fn rig(version: u32) -> Rig {
    let rig = Rig::start_with(
        |launch| launch,
        |site| {
            site.pages = Some(v1::PagesConfig {
                state_path: "/state{path}".to_owned(),
                ..v1::PagesConfig::default()
            });
        },
    )
    .await;
    let folder = folder(version);
    let cli = rig.calls().cli().flag("--site", SITE);
    let dir = folder.path().to_str().unwrap();
    cli.json(["site", "publish", dir, "--fast", "--wait"]).await;
    rig
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_slice_does_not_wait_for_the_state() {
    for version in [1, 2] {
        let rig = rig(version).await;
        rig.origin.set("/state/order.html", state());
        let gate = rig.origin.hold_header("/state/order.html");
        let http = rig.http();
        let page = http.begin(Method::GET, "/order.html", &[], Bytes::new());
        let response = tidegate_e2e::within("the head of the page", page)
            .await
            .unwrap();
        assert_eq!(response.status(), 200);
        let fields = response.headers();
        assert_eq!(fields["link"], "</app.css>; rel=preload; as=style");
        assert_eq!(fields["cache-control"], "no-store");
        assert!(!fields.contains_key("etag") && !fields.contains_key("content-length"));
        let mut body = response.into_body();
        let mut first = Vec::new();
        while first.len() < BEFORE.len() {
            let frame = tidegate_e2e::within("the first slice", body.frame()).await;
            first.extend(frame.unwrap().unwrap().into_data().unwrap());
        }
        assert_eq!(
            String::from_utf8(first).unwrap(),
            BEFORE,
            "version {version}"
        );
        gate.reached().await;
        gate.open();
        let rest = body.collect().await.unwrap().to_bytes();
        let rest = String::from_utf8(rest.to_vec()).unwrap();
        assert_eq!(rest, format!("{}{AFTER}", embedded()), "version {version}");
        rig.origin.hold_no_more("/state/order.html");

        let alone = rig
            .http()
            .get_with("/order.html", &[("x-app-state", "1")])
            .await;
        assert_eq!(alone.text(), STATE, "version {version}");
        assert_eq!(alone.field("content-type"), "application/json");
        assert_eq!(alone.field("cache-control"), "no-store");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_whose_state_breaks_is_aborted_and_never_looks_whole() {
    let rig = rig(2).await;
    for (what, broken) in [
        ("a failure", state().status(500)),
        (
            "no JSON",
            Answer::ok("{\"a\":").field("content-type", "application/json"),
        ),
    ] {
        // Late, so that the page has begun.
        rig.origin.set("/state/order.html", broken);
        let gate = rig.origin.hold_header("/state/order.html");
        let http = rig.http();
        let page = http.begin(Method::GET, "/order.html", &[], Bytes::new());
        let response = tidegate_e2e::within("the head of the page", page)
            .await
            .unwrap();
        assert_eq!(response.status(), 200, "{what}");
        gate.reached().await;
        gate.open();
        let whole = response.into_body().collect().await;
        assert!(whole.is_err(), "{what}: {whole:?}");
        rig.origin.hold_no_more("/state/order.html");
    }
    rig.origin.set("/state/order.html", state());
    let whole = rig.http().get("/order.html").await.text();
    assert_eq!(whole, format!("{BEFORE}{}{AFTER}", embedded()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_answer_that_fails_or_redirects_at_once_is_passed_on() {
    let rig = rig(2).await;
    let redirect = Answer::ok("").status(302).field("location", "/login");
    for (status, answer) in [(403, state().status(403)), (302, redirect)] {
        rig.origin.set("/state/order.html", answer);
        let reply = rig.http().get("/order.html").await;
        assert_eq!(reply.status.as_u16(), status);
        assert!(!reply.text().contains("<h1>"), "{reply:?}");
    }
}
