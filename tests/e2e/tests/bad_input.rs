//! Wrong input: an error that names what to change, nothing half-done, and the process
//! goes on.

use std::fs;

use bytes::Bytes;
use http::Method;
use prost::Message;
use tidegate_e2e::v1;
use tidegate_e2e::{ControlPlane, HttpClient, Launch, Process};
use tonic::{Code, Request, Status};
use tonic_types::StatusExt as _;

use crate::support::{Rig, head, invalidate, of_tags, of_url};

/// The field that an answer blames, and the text about it.
fn blamed(status: &Status) -> (String, String) {
    assert_eq!(status.code(), Code::InvalidArgument, "{status}");
    let details = status.get_error_details();
    let request = details
        .bad_request()
        .unwrap_or_else(|| panic!("no details: {status}"));
    let field = request.field_violations.first().unwrap();
    (field.field.clone(), field.description.clone())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_invalidation_names_the_field_and_what_is_allowed() {
    let rig = Rig::start().await;
    let before = head(rig.calls()).await;
    let many: Vec<String> = (0..1_001).map(|number| format!("t:{number}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let mut cascaded = of_tags(&many[..501]);
    cascaded.cascade = true;
    let mut reason = of_tags(&["a"]);
    reason.reason = "x".repeat(1_025);
    let mut mode = of_tags(&["a"]);
    mode.mode = 77;
    for (request, field, allowed) in [
        (of_tags(&["a", &"x".repeat(257)]), "tags[1]", "256"),
        (of_tags(&["a b"]), "tags[0]", "space"),
        (of_tags(&["a,b"]), "tags[0]", "comma"),
        (of_tags(&[""]), "tags[0]", "1"),
        (of_tags(&many), "tags", "1000"),
        (cascaded, "tags", "1000"),
        (of_tags(&[]), "tags", "one"),
        (of_url("no-slash"), "urls[0]", "/"),
        (of_url("https://other.example/x"), "urls[0]", "host"),
        (reason, "reason", "1024"),
        (mode, "mode", "HARD"),
    ] {
        let what = format!("{field}: {:?}", request.tags.first());
        let status = rig
            .calls()
            .cache()
            .invalidate(request)
            .await
            .expect_err(&what);
        let (blamed, text) = blamed(&status);
        assert!(blamed.starts_with(field), "{what}: {blamed}: {text}");
        let text = text.replace(',', "").to_lowercase();
        assert!(text.contains(&allowed.to_lowercase()), "{what}: {text}");
    }
    let mut unknown = of_tags(&["a"]);
    unknown.site = "nowhere".to_owned();
    let status = rig.calls().cache().invalidate(unknown).await.unwrap_err();
    assert_eq!(status.code(), Code::NotFound);
    assert!(status.message().contains("nowhere"), "{status}");
    assert_eq!(head(rig.calls()).await, before, "nothing was done");
    let good = invalidate(rig.calls(), of_tags(&many[..1_000])).await;
    assert_eq!(good.revision, before.revision + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idempotency_key_for_other_content_is_refused() {
    let rig = Rig::start().await;
    let keyed = |tag: &str| v1::InvalidateRequest {
        idempotency_key: "order-7".to_owned(),
        ..of_tags(&[tag])
    };
    let first = invalidate(rig.calls(), keyed("a")).await;
    assert_eq!(
        invalidate(rig.calls(), keyed("a")).await,
        first,
        "one effect, one answer"
    );
    let status = rig
        .calls()
        .cache()
        .invalidate(keyed("b"))
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::AlreadyExists, "{status}");
    assert_eq!(head(rig.calls()).await.revision, first.revision);
}

#[tokio::test(flavor = "multi_thread")]
async fn oversized_calls_are_refused_and_the_connection_goes_on() {
    let rig = Rig::start().await;
    let cursor = head(rig.calls()).await.cursor;
    let entry = |size: usize| v1::PutEntryRequest {
        site: crate::support::SITE.to_owned(),
        entry: Some(v1::Entry {
            url: "/a".to_owned(),
            status: 200,
            body: vec![0; size].into(),
            ttl: Some(prost_types::Duration {
                seconds: 60,
                nanos: 0,
            }),
            ..v1::Entry::default()
        }),
        read_as_of: cursor.clone(),
    };
    let mut cache = rig.calls().cache();
    let status = cache.put_entry(entry(4_000_001)).await.unwrap_err();
    assert_eq!(blamed(&status).0, "entry.body");
    let status = cache.put_entry(entry(9 << 20)).await.unwrap_err();
    let expected = [Code::OutOfRange, Code::ResourceExhausted];
    assert!(expected.contains(&status.code()), "{status}");
    assert!(status.message().contains("large"), "{status}");
    let mut request = Request::new(of_tags(&["a"]));
    request
        .metadata_mut()
        .insert("x-large", "x".repeat(64 << 10).parse().unwrap());
    let status = cache.invalidate(request).await.unwrap_err();
    assert_ne!(status.code(), Code::Ok, "{status}");
    invalidate(rig.calls(), of_tags(&["a"])).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn oversized_requests_are_refused_and_the_edge_goes_on() {
    let rig = Rig::start().await;
    rig.set("/a", "a", &[]);
    let large = "x".repeat(40 << 10);
    for (path, fields, status) in [
        ("/a".to_owned(), vec![("x-large", large.as_str())], 431),
        (format!("/{large}"), vec![], 431),
        (format!("/{}", "x".repeat(9_000)), vec![], 414),
        ("/a%zz".to_owned(), vec![], 400),
        ("/a".to_owned(), vec![("host", "a b")], 400),
    ] {
        let http = rig.http();
        let sent = http.try_send(Method::GET, &path, &fields, Bytes::new());
        let reply = sent.await.expect("an answer, not a cut connection");
        assert_eq!(reply.status, status, "{path:.40}: {reply:?}");
        assert_eq!(rig.http().get("/a").await.text(), "a");
    }
}

/// Starts a program that must not start, and gives back its exit code and its complaint.
async fn refused(launch: &Launch) -> (Option<i32>, String) {
    let mut process = Process::start(launch);
    let code = process.ended().await.code();
    (code, process.log())
}

fn names_all(what: &str, text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{what}: {part:?} is not in {text}");
    }
}

fn control_plane(data: &std::path::Path) -> Launch {
    Launch::new("tidegate-control-plane")
        .flag("--data", data)
        .flag("--grpc-listen", "127.0.0.1:0")
        .flag("--admin-listen", "127.0.0.1:0")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_data_folder_in_use_is_refused_and_its_owner_goes_on() {
    let rig = Rig::start().await;
    let (code, said) = refused(&control_plane(rig.control.data())).await;
    assert_eq!(code, Some(1), "{said}");
    names_all(
        "in use",
        &said,
        &[rig.control.data().to_str().unwrap(), "in use", "choose"],
    );
    invalidate(rig.calls(), of_tags(&["a"])).await;
}

/// `tidegate.storage.v1.StoreMeta`, as far as it matters.
#[derive(Clone, PartialEq, Message)]
struct StoreMeta {
    #[prost(uint32, tag = "1")]
    schema: u32,
    #[prost(fixed64, tag = "2")]
    epoch: u64,
}

#[tokio::test(flavor = "multi_thread")]
async fn a_data_folder_of_a_newer_version_is_refused_and_left_as_it_is() {
    let mut control = ControlPlane::start().await;
    let (folder, before) = (control.data().to_owned(), head(control.calls()).await);
    control.process().sigterm();
    control.process().ended().await;
    let write_schema = |schema: u32| {
        let store = sled::open(folder.join("store")).unwrap();
        // Values begin with a byte that says that they are whole.
        let key = b"vmeta/store";
        let meta = StoreMeta::decode(&store.get(key).unwrap().unwrap()[1..]).unwrap();
        let meta = StoreMeta { schema, ..meta };
        store
            .insert(key, [&[0][..], &meta.encode_to_vec()].concat())
            .unwrap();
        store.flush().unwrap();
    };
    write_schema(2);
    let (code, said) = refused(&control_plane(&folder)).await;
    assert_eq!(code, Some(1), "{said}");
    names_all(
        "newer",
        &said,
        &[folder.to_str().unwrap(), "version 2", "newer"],
    );
    write_schema(1);
    control.restart().await;
    let after = tidegate_e2e::eventually("it answers", || async {
        control
            .calls()
            .cache()
            .get_head(v1::GetHeadRequest {})
            .await
    })
    .await;
    assert!(after.into_inner().revision > before.revision);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_command_line_ends_with_2_and_says_what_is_allowed() {
    let rig = Rig::start().await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "x").unwrap();
    let control = || control_plane(&folder.path().join("data"));
    let edge = || Launch::new("tidegate-edge").flag("--admin-listen", "127.0.0.1:0");
    let dev = || Launch::new("tidegate").argument("dev");
    for (launch, parts) in [
        (control().flag("--lease", "ten"), ["--lease", "ten", "10s"]),
        (
            control().flag("--lease", "1s"),
            ["--lease", "1s", "heartbeat"],
        ),
        (
            control().flag("--log-format", "xml"),
            ["--log-format", "xml", "json"],
        ),
        (
            control().variable("TIDEGATE_HEARTBEAT", "0s"),
            ["--heartbeat", "0s", "50ms to 1m"],
        ),
        (edge().flag("--cache-mib", "0"), ["--cache-mib", "0", "1"]),
        (edge().flag("--edge-id", "A B"), ["--edge-id", "A B", "a-z"]),
        (
            edge().flag("--listen", "0.0.0.0:0"),
            ["--listen", "0.0.0.0:0", "--insecure"],
        ),
        (
            edge().flag("--nonsense", "1"),
            ["--nonsense", "unexpected", "--help"],
        ),
        (
            dev().flag("--origin", "ftp://x"),
            ["--origin", "ftp://x", "http"],
        ),
        (
            dev().argument("/nonexistent"),
            ["DIR", "/nonexistent", "folder"],
        ),
        (dev().argument(&file), ["DIR", "file", "folder"]),
        (
            dev().flag("--grpc-listen", "0.0.0.0:0"),
            ["--grpc-listen", "0.0.0.0:0", "--insecure"],
        ),
    ] {
        let (code, said) = refused(&launch).await;
        assert_eq!(code, Some(2), "{launch:?}: {said}");
        names_all(&format!("{launch:?}"), &said, &parts);
    }
    // A second data flag is no better than none; the later public one counts.
    let public = control().flag("--insecure", "").argument("x");
    assert_eq!(refused(&public).await.0, Some(2));
    drop(rig);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_cache_that_cannot_be_is_named_with_its_flag() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().display().to_string();
    let edge = |folder: &str, mib: &str| {
        Launch::new("tidegate-edge")
            .flag("--listen", "127.0.0.1:0")
            .flag("--admin-listen", "127.0.0.1:0")
            .flag("--disk-cache-dir", folder)
            .flag("--disk-cache-mib", mib)
    };
    for (launch, parts) in [
        (
            edge("/dev/null", "64"),
            ["--disk-cache-dir", "/dev/null", "folder"],
        ),
        // More than there is.
        (
            edge(&path, "16000000"),
            ["--disk-cache-mib", &path, "no room"],
        ),
    ] {
        let (code, said) = refused(&launch).await;
        assert_eq!(code, Some(1), "{said}");
        names_all("the edge", &said, &parts);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_in_use_is_named_with_its_flag() {
    let rig = Rig::start().await;
    let taken = rig.http().base().trim_start_matches("http://").to_owned();
    let folder = tempfile::tempdir().unwrap();
    let control = Launch::new("tidegate-control-plane")
        .flag("--data", folder.path())
        .flag("--admin-listen", "127.0.0.1:0")
        .flag("--grpc-listen", &taken);
    let edge = Launch::new("tidegate-edge")
        .flag("--admin-listen", "127.0.0.1:0")
        .flag("--listen", &taken);
    let dev = Launch::new("tidegate")
        .argument("dev")
        .flag("--grpc-listen", "127.0.0.1:0")
        .flag("--admin-listen", "127.0.0.1:0")
        .flag("--listen", &taken);
    for (launch, flag) in [
        (control, "--grpc-listen"),
        (edge, "--listen"),
        (dev, "--listen"),
    ] {
        let (code, said) = refused(&launch).await;
        assert_eq!(code, Some(1), "{flag}: {said}");
        names_all(flag, &said, &[flag, &taken, "in use"]);
    }
    assert_eq!(
        HttpClient::new(rig.http().base()).get("/").await.status,
        421
    );
}
