//! `tidegate dev` and the commands beside it, as people use them.

use std::fs;

use serde_json::{Value, json};
use tidegate_e2e::v1;
use tidegate_e2e::{Answer, Cli, Dev, Events, Launch, Origin, Process, eventually};

use crate::support::{LONG, cached, head};

fn page(text: &str) -> String {
    format!("<!doctype html><title>{text}</title><p>{text}</p>")
}

/// Runs the command and reads one JSON document.
async fn said(dev: &Dev, words: &[&str]) -> Value {
    dev.calls().cli().json(words).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sample_site_is_served_and_a_signal_ends_it_with_0() {
    let mut dev = Dev::start().await;
    for host in ["localhost", "anything.example:1234", "127.0.0.1"] {
        let index = dev.http().host(host).get("/").await;
        assert_eq!(index.status, 200, "{host}");
        assert!(index.text().contains("<html"), "{}", index.text());
    }
    let item = dev.http().get("/api/items/42").await;
    assert_eq!(item.status, 200);
    let order = dev.http().get("/order.html").await.text();
    assert!(order.contains("id=\"tidegate-state\""), "{order}");
    let client = dev.http().get("/_tidegate/client.js").await;
    assert_eq!(client.status, 200);
    assert!(
        client.field("content-type").contains("javascript"),
        "{client:?}"
    );
    for path in ["/livez", "/readyz", "/metrics"] {
        assert_eq!(dev.admin().get(path).await.status, 200, "{path}");
    }
    assert_eq!(dev.process().rest_of_stdout(), Vec::<String>::new());
    dev.process().sigterm();
    assert_eq!(dev.process().ended().await.code(), Some(0));
    assert_eq!(
        dev.process().rest_of_stdout(),
        Vec::<String>::new(),
        "one line and no more"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn one_invalidation_reaches_the_edge_and_the_open_page_of_the_sample() {
    let dev = Dev::start().await;
    let mut browser = Events::open(&dev.http(), "/_tidegate/events?interest=item:42", None).await;
    browser.next_of("connected").await;
    let version = async || {
        let text = dev.http().get("/api/items/42").await.text();
        serde_json::from_str::<Value>(&text).unwrap()["version"].clone()
    };
    assert_eq!(version().await, 1);
    let changed = dev
        .http()
        .send(http::Method::POST, "/api/items/42/changes", &[], "")
        .await;
    assert_eq!(changed.status, 200);
    assert_eq!(version().await, 1, "nobody has said that it changed");
    let answer = said(
        &dev,
        &["invalidate", "item:42", "--wait", "--reason", "sale"],
    )
    .await;
    assert_eq!(answer["status"], "COMPLETE");
    assert_eq!(version().await, 2);
    assert_eq!(
        browser.next_of("invalidate").await.json(),
        json!(["item:42"])
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_with_an_origin_behind_it_is_served_and_followed() {
    let origin = Origin::start().await;
    origin.set("/api", Answer::ok("from the origin").cache(LONG));
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("index.html"), page("one")).unwrap();
    let dev = Dev::start_with(|launch| {
        launch
            .argument(folder.path())
            .flag("--origin", origin.url())
    })
    .await;
    assert_eq!(dev.http().get("/").await.text(), page("one"));
    cached(&dev.http(), &origin, "/api", "from the origin").await;
    assert_eq!(dev.http().get("/nothing").await.text(), "not found");
    fs::write(folder.path().join("index.html"), page("two and more")).unwrap();
    eventually("the changed folder is published", || async {
        let text = dev.http().get("/").await.text();
        if text == page("two and more") {
            Ok(())
        } else {
            Err(text)
        }
    })
    .await;
    // A folder that cannot be published changes nothing.
    fs::write(folder.path().join("site.json"), "{").unwrap();
    fs::write(folder.path().join("index.html"), page("three")).unwrap();
    eventually("the refusal is logged", || {
        let log = dev.log();
        std::future::ready(if log.contains("site.json") {
            Ok(())
        } else {
            Err(log)
        })
    })
    .await;
    assert_eq!(dev.http().get("/").await.text(), page("two and more"));
    fs::remove_file(folder.path().join("site.json")).unwrap();
    eventually("the mended folder is published", || async {
        let text = dev.http().get("/").await.text();
        if text == page("three") {
            Ok(())
        } else {
            Err(text)
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_alone_answers_404_for_the_rest() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("index.html"), page("one")).unwrap();
    fs::write(folder.path().join("404.html"), page("lost")).unwrap();
    let dev = Dev::start_with(|launch| launch.argument(folder.path())).await;
    let lost = dev.http().get("/nothing").await;
    assert_eq!((lost.status.as_u16(), lost.text()), (404, page("lost")));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_kept_in_a_data_folder_is_there_after_a_restart() {
    let data = tempfile::tempdir().unwrap();
    let origin = Origin::start().await;
    let start = async || {
        Dev::start_with(|launch| {
            launch
                .flag("--data", data.path())
                .flag("--origin", origin.url())
        })
        .await
    };
    let mut dev = start().await;
    said(&dev, &["invalidate", "kept", "--reason", "first"]).await;
    let before = head(dev.calls()).await;
    dev.process().sigterm();
    assert_eq!(dev.process().ended().await.code(), Some(0));
    let dev = start().await;
    assert!(head(dev.calls()).await.revision > before.revision);
    let audit = said(&dev, &["audit"]).await;
    assert_eq!(audit["invalidations"][0]["patterns"], json!(["kept"]));
    assert_eq!(audit["invalidations"][0]["reason"], "first");
}

#[tokio::test(flavor = "multi_thread")]
async fn invalidate_says_what_happened_by_its_exit_code() {
    let dev = Dev::start().await;
    let cli = dev.calls().cli();
    for (words, code) in [
        (vec!["invalidate", "item:*", "--url", "/a?b=1", "--soft"], 0),
        (vec!["invalidate", "item:1", "--wait"], 0),
        (vec!["invalidate"], 2),
        (vec!["invalidate", "a b"], 2),
        (
            vec!["invalidate", "x", "--wait-timeout", "soon", "--wait"],
            2,
        ),
        (vec!["--site", "nowhere", "invalidate", "x"], 1),
    ] {
        let said = cli.run(&words).await;
        assert_eq!(said.code, code, "{words:?}: {said:?}");
        assert_eq!(said.stderr.is_empty(), code == 0, "{words:?}: {said:?}");
    }
    let said = Cli::new("http://127.0.0.1:1")
        .run(["invalidate", "x"])
        .await;
    assert_eq!(said.code, 1, "{said:?}");
    assert!(said.stderr.contains("--control"), "{said:?}");
    let json = dev.calls().cli().json(["invalidate", "item:1"]).await;
    assert_eq!(json["status"], "ACCEPTED");
    assert!(
        json["revision"].is_u64() && json["cursor"].is_string(),
        "{json}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn people_watch_list_and_look_back() {
    let origin = Origin::start().await;
    origin.set("/next", Answer::ok("next").cache(LONG));
    let dev = Dev::start_with(|launch| launch.flag("--origin", origin.url())).await;
    let from = head(dev.calls()).await.cursor;
    let mut watch = Process::start(
        &Launch::new("tidegate")
            .flag("--control", dev.calls().address())
            .flag("--output", "json")
            .argument("watch")
            .flag("--from", &from),
    );
    let mut browser = Events::open(&dev.http(), "/_tidegate/events?interest=item:1", None).await;
    browser.next_of("connected").await;
    said(&dev, &["invalidate", "item:1", "--reason", "sale"]).await;
    said(
        &dev,
        &[
            "publish-event",
            "price",
            "{\"a\":1}",
            "--audience",
            "item:1",
        ],
    )
    .await;
    said(&dev, &["preload", "/next"]).await;
    for (kind, field, expected) in [
        ("invalidated", "patterns", json!(["item:1"])),
        ("published", "data", json!("{\"a\":1}")),
        ("preloaded", "urls", json!(["/next"])),
    ] {
        let line: Value = serde_json::from_str(&watch.line().await).unwrap();
        assert_eq!(line["event"]["kind"], kind, "{line}");
        assert_eq!(line["event"][kind][field], expected, "{line}");
    }
    watch.sigterm();
    assert_eq!(watch.ended().await.code(), Some(0));
    browser.next_of("invalidate").await;
    assert_eq!(browser.next_of("price").await.json(), json!({"a": 1}));
    assert_eq!(browser.next_of("preload").await.json(), json!(["/next"]));
    let audit = said(&dev, &["audit"]).await;
    assert_eq!(audit["invalidations"][0]["reason"], "sale");
    assert_eq!(audit["invalidations"][0]["cause"], "CALL");
    let edges = said(&dev, &["edges"]).await;
    let edge = &edges["edges"][0];
    assert_eq!(
        (&edge["edge_id"], &edge["connected"]),
        (&json!("dev"), &json!(true))
    );
    let table = dev.calls().cli().run(["edges"]).await;
    assert!(table.stdout.contains("dev") && table.code == 0, "{table:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_site_is_made_from_a_file() {
    let dev = Dev::start().await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("news.yaml");
    let name = file.to_str().unwrap();
    let cli = dev.calls().cli().flag("--site", "news");
    fs::write(&file, "hosts: [news.example]\ncache:\n  default_ttl: 10s\n").unwrap();
    cli.json(["site", "apply", name]).await;
    let request = v1::GetSiteRequest {
        site: "news".to_owned(),
    };
    let site = dev
        .calls()
        .sites()
        .get_site(request)
        .await
        .unwrap()
        .into_inner();
    let config = site.site.unwrap().config.unwrap();
    assert_eq!(config.hosts, ["news.example"]);
    assert_eq!(config.cache.unwrap().default_ttl.unwrap().seconds, 10);
    let before = head(dev.calls()).await;
    cli.json(["site", "apply", name]).await;
    assert_eq!(
        head(dev.calls()).await,
        before,
        "the same again changes nothing"
    );
    for (text, part) in [
        ("hosts: [a b]\n", "hosts[0]"),
        ("hosts: [a.example]\nhots: 1\n", "hots"),
        ("hosts: [\n", "line"),
    ] {
        fs::write(&file, text).unwrap();
        let said = cli.run(["site", "apply", name]).await;
        assert_eq!(said.code, 1, "{said:?}");
        assert!(
            said.stderr.contains(part) && said.stderr.contains(name),
            "{said:?}"
        );
    }
    assert_eq!(head(dev.calls()).await, before);
}
