//! Publishing a folder: what changed and nothing else, at once, or not at all.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};
use tempfile::TempDir;
use tidegate_e2e::{Calls, Cli, Edge, Events, HttpClient, eventually};

use crate::support::{HOST, Rig, SITE, head};

/// A folder of pages that look like pages.
fn folder(pages: &[&str], version: u32) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for page in pages {
        write(folder.path(), page, version);
    }
    folder
}

fn write(folder: &Path, page: &str, version: u32) {
    let path = folder.join(page);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, html(page, version)).unwrap();
}

fn html(page: &str, version: u32) -> String {
    let filler = "<p>The quick brown fox jumps over the lazy dog.</p>\n".repeat(50);
    format!("<!doctype html><title>{page}</title>\n<b>version {version}</b>\n{filler}")
}

/// The version a page shows.
async fn version(http: &HttpClient, url: &str) -> u32 {
    let text = http.get(url).await.text();
    let (_, rest) = text
        .split_once("<b>version ")
        .unwrap_or_else(|| panic!("{url}: {text}"));
    rest.split('<').next().unwrap().parse().unwrap()
}

fn cli(calls: &Calls) -> Cli {
    calls.cli().flag("--site", SITE)
}

/// Publishes, waits for all edges, and gives back the report.
async fn publish(calls: &Calls, folder: &Path) -> Value {
    let words = [
        "site",
        "publish",
        folder.to_str().unwrap(),
        "--fast",
        "--wait",
    ];
    let report = cli(calls).json(words).await;
    assert_eq!(report["activated"]["status"], "COMPLETE", "{report}");
    report
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unchanged_site_sends_no_blob_and_makes_no_revision() {
    let rig = Rig::start().await;
    let folder = folder(&["index.html", "a.html", "b/index.html"], 1);
    let first = publish(rig.calls(), folder.path()).await;
    assert_eq!(first["release"]["pages"], 3);
    assert_eq!(first["created"], true);
    assert!(first["blobs_sent"].as_u64() >= Some(3), "{first}");
    for url in ["/", "/a.html", "/b/"] {
        assert_eq!(version(&rig.http(), url).await, 1, "{url}");
    }
    let before = head(rig.calls()).await;
    let again = publish(rig.calls(), folder.path()).await;
    assert_eq!(again["blobs_sent"], 0, "{again}");
    assert_eq!(again["bytes_sent"], 0, "{again}");
    assert_eq!(again["created"], false);
    assert_eq!(again["activated"]["changed"], false);
    assert_eq!(head(rig.calls()).await, before, "nothing was written");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_changed_page_is_the_only_one_that_is_sent_and_told() {
    let rig = Rig::start().await;
    let folder = folder(&["index.html", "a.html", "b/index.html", "c d.html"], 1);
    publish(rig.calls(), folder.path()).await;
    let kept = rig.http().get("/a.html").await;
    let mut browser = Events::open(&rig.http(), "/_tidegate/events", None).await;
    browser.next_of("connected").await;
    // Changed, gone and new, one after the other.
    write(folder.path(), "b/index.html", 2);
    let changed = publish(rig.calls(), folder.path()).await;
    assert_eq!(changed["activated"]["changed_urls"], 1, "{changed}");
    assert_eq!(
        browser.next_of("invalidate").await.json(),
        json!(["url:/b/"])
    );
    assert_eq!(version(&rig.http(), "/b/").await, 2);
    assert_eq!(version(&rig.http(), "/").await, 1);
    fs::remove_file(folder.path().join("c d.html")).unwrap();
    publish(rig.calls(), folder.path()).await;
    assert_eq!(
        browser.next_of("invalidate").await.json(),
        json!(["url:/c%20d.html"])
    );
    assert_eq!(rig.http().get("/c%20d.html").await.status, 404);
    write(folder.path(), "new.html", 1);
    publish(rig.calls(), folder.path()).await;
    assert_eq!(
        browser.next_of("invalidate").await.json(),
        json!(["url:/new.html"])
    );
    // What did not change keeps its validators.
    let same = rig.http().get("/a.html").await;
    assert_eq!(same.field("etag"), kept.field("etag"));
    assert_eq!(same.field("last-modified"), kept.field("last-modified"));
    let fields = [("if-none-match", kept.field("etag"))];
    assert_eq!(rig.http().get_with("/a.html", &fields).await.status, 304);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_switch_of_releases_is_seen_whole_or_not_at_all() {
    let rig = Rig::start().await;
    let pages = ["index.html", "a.html", "b.html"];
    let folder = folder(&pages, 1);
    publish(rig.calls(), folder.path()).await;
    let stop = Arc::new(AtomicBool::new(false));
    let readers: Vec<_> = (0..4)
        .map(|_| {
            let (http, stop) = (rig.http(), stop.clone());
            tokio::spawn(async move {
                let mut seen = BTreeSet::new();
                while !stop.load(Ordering::Relaxed) {
                    let mut last = 0;
                    for url in ["/", "/a.html", "/b.html"] {
                        let now = version(&http, url).await;
                        assert!(now >= last, "{url} shows {now} after another showed {last}");
                        last = now;
                    }
                    seen.insert(last);
                }
                seen
            })
        })
        .collect();
    for version in 2..=5 {
        pages
            .iter()
            .for_each(|page| write(folder.path(), page, version));
        publish(rig.calls(), folder.path()).await;
        for url in ["/", "/a.html", "/b.html"] {
            assert_eq!(
                self::version(&rig.http(), url).await,
                version,
                "complete means served"
            );
        }
    }
    stop.store(true, Ordering::Relaxed);
    for reader in readers {
        let seen = reader.await.unwrap();
        assert!(
            seen.len() > 1,
            "no reader was there during a switch: {seen:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn releases_are_listed_activated_and_rolled_back() {
    let rig = Rig::start().await;
    let folder = folder(&["index.html"], 1);
    let first = publish(rig.calls(), folder.path()).await;
    write(folder.path(), "index.html", 2);
    let dir = folder.path().to_str().unwrap();
    let words = [
        "site",
        "publish",
        dir,
        "--fast",
        "--no-activate",
        "--label",
        "two",
    ];
    let second = cli(rig.calls()).json(words).await;
    assert_eq!(second["activated"], Value::Null);
    assert_eq!(
        version(&rig.http(), "/").await,
        1,
        "published is not served"
    );
    let list = cli(rig.calls()).json(["site", "releases"]).await;
    let listed: Vec<_> = list["releases"].as_array().unwrap().iter().collect();
    assert_eq!(listed.len(), 2);
    assert_eq!(
        (&listed[0]["label"], &listed[0]["active"]),
        (&json!("two"), &json!(false))
    );
    assert_eq!(listed[1]["active"], true);
    let id = |report: &Value| report["release"]["id"].as_str().unwrap().to_owned();
    cli(rig.calls())
        .json(["site", "activate", &id(&second), "--wait"])
        .await;
    assert_eq!(version(&rig.http(), "/").await, 2);
    cli(rig.calls()).json(["site", "rollback", "--wait"]).await;
    assert_eq!(version(&rig.http(), "/").await, 1);
    let list = cli(rig.calls()).json(["site", "releases"]).await;
    assert_eq!(list["releases"][1]["id"], id(&first));
    assert_eq!(list["releases"][1]["active"], true);
    let unknown = format!("sha256:{}", "0".repeat(64));
    let said = cli(rig.calls()).run(["site", "activate", &unknown]).await;
    assert_eq!(said.code, 1, "{said:?}");
    assert_eq!(version(&rig.http(), "/").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn encoded_pages_decode_to_the_file() {
    let rig = Rig::start().await;
    let folder = folder(&["index.html"], 1);
    publish(rig.calls(), folder.path()).await;
    for coding in ["identity", "gzip", "br", "zstd"] {
        let reply = rig
            .http()
            .get_with("/", &[("accept-encoding", coding)])
            .await;
        let expected = if coding == "identity" { "" } else { coding };
        assert_eq!(reply.field("content-encoding"), expected);
        assert!(
            reply
                .field("vary")
                .to_lowercase()
                .contains("accept-encoding")
        );
        assert!(reply.field("etag").starts_with('"'), "strong: {reply:?}");
        assert_eq!(
            crate::support::decoded(&reply),
            html("index.html", 1).as_bytes(),
            "{coding}"
        );
        let length: usize = reply.field("content-length").parse().unwrap();
        assert_eq!(length, reply.body.len());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_that_leaves_the_folder_is_skipped_with_a_warning() {
    let rig = Rig::start().await;
    let folder = folder(&["index.html"], 1);
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("secret.html"), "secret").unwrap();
    let link = |to: &Path, name: &str| {
        std::os::unix::fs::symlink(to, folder.path().join(name)).unwrap();
    };
    link(&outside.path().join("secret.html"), "out.html");
    link(outside.path(), "folder");
    link(Path::new("index.html"), "inside.html");
    let report = publish(rig.calls(), folder.path()).await;
    let warnings = report["warnings"].to_string();
    for name in ["out.html", "folder"] {
        assert!(warnings.contains(name), "{name} is not in {warnings}");
    }
    assert_eq!(
        report["warnings"].as_array().unwrap().len(),
        2,
        "{warnings}"
    );
    assert_eq!(rig.http().get("/out.html").await.status, 404);
    assert_eq!(rig.http().get("/folder/secret.html").await.status, 404);
    assert_eq!(version(&rig.http(), "/inside.html").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_outlive_the_control_plane_and_an_edge_that_starts_gets_them() {
    let mut rig = Rig::start().await;
    let folder = folder(&["index.html"], 1);
    publish(rig.calls(), folder.path()).await;
    assert_eq!(version(&rig.http(), "/").await, 1);
    rig.control.process().kill9();
    assert_eq!(version(&rig.http(), "/").await, 1);
    rig.control.restart().await;
    let late = Edge::start(rig.calls(), "edge-b").await;
    eventually("a new edge serves the page", || async {
        let reply = late.http(HOST).get("/").await;
        if reply.status == 200 {
            Ok(())
        } else {
            Err(reply)
        }
    })
    .await;
    assert_eq!(version(&late.http(HOST), "/").await, 1);
}
