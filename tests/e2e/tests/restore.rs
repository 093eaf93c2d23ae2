//! A backup that is put back, and a data folder that is put back without a word: edges
//! that have seen more begin anew, and nothing older than what they have seen is served.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tidegate_e2e::v1::{self, subscribe_response::Frame};
use tidegate_e2e::{Answer, Calls, Edge, Events, Launch, Process, eventually, within};

use crate::support::{
    HOST, LONG, Rig, cached, invalidate, invalidate_everywhere, of_tags, short_leases,
    short_margin, waiting,
};

/// The history that a control plane is.
async fn epoch(calls: &Calls) -> u64 {
    let request = v1::SubscribeRequest {
        edge_id: "looker".to_owned(),
        instance_id: "looker-1".to_owned(),
        ..v1::SubscribeRequest::default()
    };
    let frames = calls.edge().subscribe(request).await.unwrap();
    let frame = within("a frame", frames.into_inner().message()).await;
    match frame.unwrap().and_then(|it| it.frame) {
        Some(Frame::Hello(hello)) => hello.epoch,
        other => panic!("no hello but {other:?}"),
    }
}

fn empty(folder: &Path) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            std::fs::remove_dir_all(path).unwrap();
        } else {
            std::fs::remove_file(path).unwrap();
        }
    }
}

fn copy_all(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_all(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// Invalidates what nobody holds, again and again, until it is told to stop.
fn busy(calls: &Calls) -> (Arc<AtomicBool>, tokio::task::JoinHandle<u64>) {
    let stop = Arc::new(AtomicBool::new(false));
    let (stopping, calls) = (stop.clone(), calls.clone());
    let writing = tokio::spawn(async move {
        let mut last = 0;
        while !stopping.load(Ordering::Relaxed) {
            last = invalidate(&calls, of_tags(&["noise"])).await.revision;
        }
        last
    });
    (stop, writing)
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_restore_nothing_is_served_that_was_invalidated_after_the_backup() {
    let mut rig = Rig::start_with(short_leases, |_| {}).await;
    rig.fill("/item", "old", &["item"]).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a.backup");
    let file = file.to_str().unwrap();
    let data = rig.control.data().to_owned();
    let data = data.to_str().unwrap();
    let cli = rig.calls().cli();

    let (stop, writing) = busy(rig.calls());
    let taken = cli.json(["control-plane", "backup", file]).await;
    stop.store(true, Ordering::Relaxed);
    let last = writing.await.unwrap();
    let revision = taken["revision"].as_u64().unwrap();
    assert!((1..=last).contains(&revision), "{taken}");

    // The edge sees more than the backup holds.
    rig.set("/item", "new", &["item"]);
    invalidate_everywhere(rig.calls(), of_tags(&["item"])).await;
    cached(&rig.http(), &rig.origin, "/item", "new").await;
    rig.origin
        .set("/between", Answer::ok("between").cache(LONG).etag("b"));
    cached(&rig.http(), &rig.origin, "/between", "between").await;
    let mut browser = Events::open(&rig.http(), "/_tidegate/events", None).await;
    browser.next_of("connected").await;
    let before = epoch(rig.calls()).await;

    let restore = [
        "control-plane",
        "restore",
        "--data",
        data,
        "--longest-lease",
        "1h",
        file,
    ];
    let said = cli.run(restore).await;
    assert_eq!(said.code, 1, "{said:?}");
    for part in [data, "in use", "Nothing was written"] {
        assert!(said.stderr.contains(part), "{part} is not in {said:?}");
    }
    rig.control.process().kill9();
    let said = cli.run(restore).await;
    assert_eq!(said.code, 1, "{said:?}");
    for part in [data, "not empty"] {
        assert!(said.stderr.contains(part), "{part} is not in {said:?}");
    }
    empty(Path::new(data));
    let restored = cli.json(restore).await;
    assert_eq!(restored["revision"], revision);
    assert!(restored["head"].as_u64().unwrap() > revision);

    let asked = rig.origin.count("/between");
    rig.control.restart().await;
    browser.next_of("reset").await;
    rig.calls().settled(1).await;
    assert_ne!(epoch(rig.calls()).await, before);
    assert_eq!(rig.http().get("/item").await.text(), "new");
    assert_eq!(rig.http().get("/between").await.text(), "between");
    assert_eq!(
        rig.origin.count("/between"),
        asked + 1,
        "it was asked about"
    );
    // Confirmed, it is good again.
    cached(&rig.http(), &rig.origin, "/between", "between").await;

    // The one edge that is known applies it at once; others may hold a lease for an hour.
    let request = waiting(of_tags(&["item"]), Duration::from_secs(3));
    let answer = invalidate(rig.calls(), request).await;
    assert_eq!(answer.status(), v1::CompletionStatus::Partial, "{answer:?}");
    let known = answer.edges.iter().find(|edge| edge.edge_id == "edge-a");
    let outcome = known.map(v1::EdgeOutcome::outcome);
    assert_eq!(outcome, Some(v1::EdgeOutcomeKind::Applied), "{answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_data_folder_that_was_put_back_becomes_one_other_history_and_nothing_old_is_served() {
    let mut rig = Rig::start_with(short_leases, |_| {}).await;
    let b = Edge::start_with(rig.calls(), "edge-b", short_margin).await;
    rig.calls().settled(2).await;
    rig.fill("/item", "old", &["item"]).await;
    cached(&b.http(HOST), &rig.origin, "/item", "old").await;

    rig.control.process().sigterm();
    assert_eq!(rig.control.process().ended().await.code(), Some(0));
    let copy = tempfile::tempdir().unwrap();
    copy_all(rig.control.data(), copy.path());
    rig.control.restart().await;
    rig.calls().settled(2).await;
    let before = epoch(rig.calls()).await;
    rig.set("/item", "new", &["item"]);
    invalidate_everywhere(rig.calls(), of_tags(&["item"])).await;
    cached(&rig.http(), &rig.origin, "/item", "new").await;
    cached(&b.http(HOST), &rig.origin, "/item", "new").await;
    let mut browser = Events::open(&rig.http(), "/_tidegate/events", None).await;
    browser.next_of("connected").await;

    rig.control.process().kill9();
    empty(rig.control.data());
    copy_all(copy.path(), rig.control.data());
    rig.control.restart().await;
    browser.next_of("reset").await;
    eventually("both edges follow the other history", || async {
        let now = epoch(rig.calls()).await;
        if now == before { Err(now) } else { Ok(()) }
    })
    .await;
    rig.calls().settled(2).await;
    for http in [rig.http(), b.http(HOST)] {
        assert_eq!(http.get("/item").await.text(), "new");
    }
    let after = epoch(rig.calls()).await;
    let log = rig.control.process().log();
    assert_eq!(log.matches("another history has begun").count(), 1, "{log}");
    assert_eq!(log.matches("what this log has lost").count(), 1, "{log}");

    // It is a history like any other: it completes, and survives a restart.
    rig.set("/item", "newer", &["item"]);
    invalidate_everywhere(rig.calls(), of_tags(&["item"])).await;
    for http in [rig.http(), b.http(HOST)] {
        assert_eq!(http.get("/item").await.text(), "newer");
    }
    rig.control.restart().await;
    rig.calls().settled(2).await;
    assert_eq!(epoch(rig.calls()).await, after);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_control_plane_on_a_data_folder_is_refused_by_the_name_of_the_folder() {
    let rig = Rig::start().await;
    let data = rig.control.data();
    let launch = Launch::new("tidegate-control-plane")
        .flag("--data", data)
        .flag("--grpc-listen", "127.0.0.1:0")
        .flag("--admin-listen", "127.0.0.1:0");
    let mut second = Process::start(&launch);
    assert_eq!(second.ended().await.code(), Some(1));
    let log = second.log();
    for part in [data.to_str().unwrap(), "in use by another process"] {
        assert!(log.contains(part), "{part} is not in {log}");
    }
    // The first one has not noticed.
    invalidate_everywhere(rig.calls(), of_tags(&["item"])).await;
}
