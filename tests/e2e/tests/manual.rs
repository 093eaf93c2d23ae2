//! A real site: the PostgreSQL manual, about 1,170 pages of HTML.

use std::fs;
use std::path::{Path, PathBuf};

use futures_util::{StreamExt as _, stream};
use serde_json::json;
use tidegate_e2e::Events;

use crate::support::{Rig, SITE, decoded, head};

/// Files by their path in the folder.
fn files(folder: &Path, prefix: &str, found: &mut Vec<(String, PathBuf)>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        let name = format!("{prefix}{name}");
        if path.is_dir() {
            files(&path, &format!("{name}/"), found);
        } else {
            found.push((name, path));
        }
    }
}

fn url_of(file: &str) -> String {
    match file.strip_suffix("index.html") {
        Some(folder) if folder.is_empty() || folder.ends_with('/') => format!("/{folder}"),
        _ => format!("/{file}"),
    }
}

fn copy(from: &Path, to: &Path) {
    let mut all = Vec::new();
    files(from, "", &mut all);
    for (name, path) in all {
        let target = to.join(name);
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        fs::copy(path, target).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_site_is_served_byte_for_byte_and_one_page_changes_alone_needs_manual() {
    let Some(manual) = std::env::var_os("TIDEGATE_TEST_SITE") else {
        eprintln!(
            "skipped: a_real_site_is_served_byte_for_byte_and_one_page_changes_alone_needs_manual: \
             TIDEGATE_TEST_SITE names no folder"
        );
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    copy(Path::new(&manual), folder.path());
    let mut all = Vec::new();
    files(folder.path(), "", &mut all);
    all.sort();
    assert!(all.len() > 1_000, "{} files", all.len());
    let cache = tempfile::tempdir().unwrap();
    let rig = Rig::start().await;
    let dir = folder.path().to_str().unwrap();
    let cache = cache.path().to_str().unwrap();
    let words = ["site", "publish", dir, "--fast", "--cache", cache, "--wait"];
    let cli = rig.calls().cli().flag("--site", SITE).patient();
    let report = cli.json(words).await;
    assert_eq!(report["activated"]["status"], "COMPLETE", "{report}");

    let http = rig.http();
    stream::iter(all.iter().enumerate())
        .for_each_concurrent(8, async |(number, (name, path))| {
            let expected = fs::read(path).unwrap();
            let reply = http.get(&url_of(name)).await;
            assert_eq!(reply.status, 200, "{name}");
            assert_eq!(reply.field("content-encoding"), "", "{name}");
            assert!(reply.body == expected, "{name} differs");
            // Each coding for a tenth of them.
            if number % 10 == 0 {
                for coding in ["gzip", "br", "zstd"] {
                    let fields = [("accept-encoding", coding)];
                    let reply = http.get_with(&url_of(name), &fields).await;
                    assert!(decoded(&reply) == expected, "{name} differs in {coding}");
                }
            }
        })
        .await;

    let before = head(rig.calls()).await;
    let again = cli.json(words).await;
    assert_eq!(
        (&again["blobs_sent"], &again["activated"]["changed"]),
        (&json!(0), &json!(false))
    );
    assert_eq!(head(rig.calls()).await, before);

    let mut browser = Events::open(&http, "/_tidegate/events", None).await;
    browser.next_of("connected").await;
    let page = folder.path().join("sql-select.html");
    let mut text = fs::read_to_string(&page).unwrap();
    text = text.replace("</body>", "<p>Changed.</p></body>");
    fs::write(&page, &text).unwrap();
    let changed = cli.json(words).await;
    assert_eq!(changed["activated"]["changed_urls"], 1, "{changed}");
    let heard = browser.next_of("invalidate").await.json();
    assert_eq!(heard, json!(["url:/sql-select.html"]));
    assert_eq!(http.get("/sql-select.html").await.text(), text);
    let other = fs::read(folder.path().join("sql-insert.html")).unwrap();
    assert!(http.get("/sql-insert.html").await.body == other);
}
