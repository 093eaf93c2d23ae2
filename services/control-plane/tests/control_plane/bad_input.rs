//! What cannot be right, sent through gRPC ten times: it is refused by name, logged
//! once, and nothing is lost by it.
//!
//! A lease that cannot be right is the edge's to refuse: its own tests show that.

#[path = "../../src/log_kept.rs"]
mod log_kept;

use std::sync::Arc;
use std::time::Duration;

use log_kept::Kept;
use tidegate_clock::{Clock, SystemClock};
use tidegate_control_plane::backup::restore;
use tidegate_domain::{Cursor, Revision};
use tidegate_proto::v1;
use tidegate_proto::v1::EdgeOutcomeKind::{Applied, Fenced};
use tidegate_proto::v1::schedule::When;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;
use tracing::subscriber::DefaultGuard;

use crate::rig::{FakeEdge, Frames, LONG, Rig, eventually, outcomes, waiting};

/// A control plane with one site and one edge that does everything right.
struct Scene {
    rig: Rig,
    good: FakeEdge,
    frames: Frames,
    logged: Kept,
    _keeping: DefaultGuard,
}

impl Scene {
    async fn begin() -> Self {
        let (logged, keeping) = Kept::begin();
        let rig = Rig::start().await;
        rig.put_site("s").await;
        let head = rig.head().await.cursor;
        let mut good = rig.edge("good");
        let mut frames = good.subscribe(&head).await;
        frames.hello().await;
        assert!(good.beat(&head).await.lease.is_some());
        Self {
            rig,
            good,
            frames,
            logged,
            _keeping: keeping,
        }
    }

    fn logged_once(&self, parts: &[&str]) {
        assert_eq!(self.logged.count(parts), 1, "{parts:?}");
    }

    /// Nothing was written, the edge keeps its stream and its lease, and what is
    /// invalidated is final once it alone has applied it.
    async fn goes_on_after(mut self, head: &v1::GetHeadResponse) {
        assert_eq!(self.rig.head().await, *head, "nothing was written");
        assert!(self.good.beat(&head.cursor).await.lease.is_some());
        let mut cache = self.rig.cache();
        let call = cache.invalidate(waiting("s", &["t"], LONG));
        let acknowledge = async {
            let batch = self.frames.batch().await;
            self.good.beat(&batch.cursor).await
        };
        let (answer, grant) = tokio::join!(call, acknowledge);
        let answer = answer.unwrap().into_inner();
        assert_eq!(answer.status(), v1::CompletionStatus::Complete);
        for (instance, outcome) in outcomes(&answer.edges) {
            // Who was refused holds no lease.
            let expected = if instance == "good" { Applied } else { Fenced };
            assert_eq!(outcome, expected, "{instance}");
        }
        assert_eq!(answer.revision, head.revision + 1);
        assert!(grant.lease.is_some());
        self.rig.stop().await;
    }
}

/// Sends what is refused ten times, in the same way each time.
async fn refused<T: std::fmt::Debug>(mut send: impl AsyncFnMut() -> Result<T, Status>) -> Status {
    let first = send().await.unwrap_err();
    for _ in 1..10 {
        let again = send().await.unwrap_err();
        assert_eq!(
            (again.code(), again.message()),
            (first.code(), first.message())
        );
    }
    first
}

/// The code, and in the details the field, what it held and what is allowed.
fn names(status: &Status, code: Code, field: &str, value: &str, allowed: &str) {
    assert_eq!(status.code(), code, "{status:?}");
    let details = status.get_error_details();
    let violation = &details.bad_request().unwrap().field_violations[0];
    assert_eq!(violation.field, field);
    for part in [value, "allowed: ", allowed] {
        assert!(
            violation.description.contains(part),
            "{part}: {violation:?}"
        );
    }
}

fn at(cursor: &str, revision: u64) -> String {
    let cursor: Cursor = cursor.parse().unwrap();
    let moved = Cursor {
        revision: Revision(revision),
        ..cursor
    };
    moved.to_string()
}

#[tokio::test]
async fn an_edge_that_acknowledges_revisions_it_cannot_have() {
    let scene = Scene::begin().await;
    let head = scene.rig.head().await;
    for (instance, revision) in [("ahead", head.revision + 1), ("far", u64::MAX)] {
        let (mut edge, cursor) = (scene.rig.edge(instance), at(&head.cursor, revision));
        let status = refused(async || edge.try_beat(&cursor).await).await;
        let allowed = "up to the newest durable";
        names(
            &status,
            Code::FailedPrecondition,
            "cursor",
            &cursor,
            allowed,
        );
        let instance = format!("instance={instance}");
        scene.logged_once(&["ERROR", &instance, "what this log does not have"]);
        // Taken at its word, it would have begun with nothing.
        let hello = edge.subscribe(&cursor).await.hello().await;
        assert_eq!(hello.reason(), v1::ResetReason::AheadOfHead);
    }
    scene.goes_on_after(&head).await;
}

#[tokio::test]
async fn an_edge_that_acknowledges_what_no_stream_of_it_went_up_to() {
    let mut scene = Scene::begin().await;
    let head = scene.rig.head().await;
    let mut idle = scene.rig.edge("idle");
    let mut frames = idle.subscribe(&head.cursor).await;
    frames.hello().await;
    drop(frames);
    eventually("its stream is closed", async || {
        let request = v1::ListEdgesRequest::default();
        let edges = scene.rig.fleet().list_edges(request).await.unwrap();
        let edges = edges.into_inner().edges;
        let closed = |e: &v1::Edge| e.instance_id == "idle" && !e.connected;
        edges.iter().any(closed).then_some(())
    })
    .await;
    let newer = scene.rig.invalidate("s", &["t"]).await;
    scene.frames.batch().await;
    scene.good.beat(&newer.cursor).await;
    let status = refused(async || idle.try_beat(&newer.cursor).await).await;
    let allowed = "a stream of this instance";
    names(
        &status,
        Code::FailedPrecondition,
        "cursor",
        &newer.cursor,
        allowed,
    );
    scene.logged_once(&["ERROR", "instance=idle", "what it was never sent"]);
    let head = scene.rig.head().await;
    scene.goes_on_after(&head).await;
}

#[tokio::test]
async fn an_edge_under_the_instance_id_of_another() {
    let scene = Scene::begin().await;
    let head = scene.rig.head().await;
    let mut thief = scene.rig.edge("good");
    let allowed = "no other edge has";
    let status = refused(async || {
        let other = |beat: &mut v1::HeartbeatRequest| beat.edge_id = "thief".into();
        thief.send(&head.cursor, other).await
    })
    .await;
    names(
        &status,
        Code::FailedPrecondition,
        "instance_id",
        "good",
        allowed,
    );
    let status = refused(async || {
        let request = v1::SubscribeRequest {
            edge_id: "thief".into(),
            instance_id: "good".into(),
            cursor: head.cursor.clone(),
            ..v1::SubscribeRequest::default()
        };
        let stream = scene.rig.edges().subscribe(request).await;
        stream.map(|_| ())
    })
    .await;
    names(
        &status,
        Code::FailedPrecondition,
        "instance_id",
        "good",
        allowed,
    );
    scene.logged_once(&["ERROR", "edge=thief", "uses the instance id of another"]);
    scene.goes_on_after(&head).await;
}

#[tokio::test]
async fn an_edge_of_a_history_that_nobody_knows() {
    let scene = Scene::begin().await;
    let head = scene.rig.head().await;
    let elsewhere = Rig::start().await;
    let foreign = elsewhere.head().await.cursor;
    elsewhere.stop().await;
    let mut edge = scene.rig.edge("stranger");
    let status = refused(async || edge.try_beat(&foreign).await).await;
    let allowed = "that this history gave";
    names(
        &status,
        Code::FailedPrecondition,
        "cursor",
        &foreign,
        allowed,
    );
    scene.logged_once(&["instance=stranger", "follows another history"]);
    // Its stream begins with a reset, as often as it comes.
    for _ in 0..10 {
        let mut frames = edge.subscribe(&foreign).await;
        assert_eq!(frames.hello().await.reason(), v1::ResetReason::UnknownEpoch);
        assert_eq!(frames.snapshot().await.1.revision, head.revision);
    }
    scene.logged_once(&["instance=stranger", "begins anew", "UNKNOWN_EPOCH"]);
    // Another thing that it does wrong is news.
    let ahead = at(&head.cursor, head.revision + 1);
    refused(async || edge.try_beat(&ahead).await).await;
    scene.logged_once(&["instance=stranger", "what this log does not have"]);
    // So is the same, once it was right.
    edge.beat(&head.cursor).await;
    refused(async || edge.try_beat(&foreign).await).await;
    let again = scene.logged.count(&["stranger", "follows another history"]);
    assert_eq!(again, 2);
    edge.send(&head.cursor, |beat| beat.leaving = true)
        .await
        .unwrap();
    scene.goes_on_after(&head).await;
}

#[tokio::test]
async fn a_corrupt_cursor() {
    let scene = Scene::begin().await;
    let head = scene.rig.head().await;
    let cut = head.cursor[..head.cursor.len() - 1].to_owned();
    let last = if head.cursor.ends_with('A') { 'B' } else { 'A' };
    let allowed = "unchanged and whole";
    let is_named = |status: &Status, field: &str, cursor: &str| {
        names(status, Code::InvalidArgument, field, cursor, allowed);
    };
    for cursor in ["nonsense", &cut, &format!("{cut}{last}")] {
        let mut edge = scene.rig.edge("corrupt");
        let status = refused(async || edge.try_beat(cursor).await).await;
        is_named(&status, "cursor", cursor);
        let request = v1::SubscribeRequest {
            edge_id: "edge-corrupt".into(),
            instance_id: "corrupt".into(),
            cursor: cursor.into(),
            ..v1::SubscribeRequest::default()
        };
        let mut edges = scene.rig.edges();
        let status = refused(async || edges.subscribe(request.clone()).await.map(|_| ())).await;
        is_named(&status, "cursor", cursor);
        // Of those who show the answer to someone.
        let read = v1::ReadLogRequest {
            site: "s".into(),
            cursor: cursor.into(),
            ..v1::ReadLogRequest::default()
        };
        let status = refused(async || edges.read_log(read.clone()).await).await;
        is_named(&status, "cursor", cursor);
        let watch = v1::WatchEventsRequest {
            cursor: cursor.into(),
            ..v1::WatchEventsRequest::default()
        };
        let mut fleet = scene.rig.fleet();
        let status = refused(async || fleet.watch_events(watch.clone()).await.map(|_| ())).await;
        is_named(&status, "cursor", cursor);
        let push = v1::PutEntryRequest {
            site: "s".into(),
            read_as_of: cursor.into(),
            entry: Some(v1::Entry::default()),
        };
        let mut cache = scene.rig.cache();
        let status = refused(async || cache.put_entry(push.clone()).await).await;
        is_named(&status, "read_as_of", cursor);
    }
    for call in ["Heartbeat", "Subscribe"] {
        scene.logged_once(&["instance=\"corrupt\"", call, "cannot be read", allowed]);
    }
    scene.goes_on_after(&head).await;
}

#[tokio::test]
async fn a_schedule_that_never_fires_or_fires_all_the_time() {
    let scene = Scene::begin().await;
    let head = scene.rig.head().await;
    let every_millisecond = When::Every(prost_types::Duration {
        seconds: 0,
        nanos: 1_000_000,
    });
    let never = When::Cron("0 0 30 2 *".into());
    for (when, field, value, allowed) in [
        (
            every_millisecond,
            "schedule.every",
            "1ms",
            "1 s to 366 days",
        ),
        (never, "schedule.cron", "0 0 30 2 *", "again and again"),
    ] {
        let request = v1::PutScheduleRequest {
            site: "s".into(),
            schedule: Some(v1::Schedule {
                name: "count".into(),
                tags: vec!["stock".into()],
                when: Some(when),
                ..v1::Schedule::default()
            }),
        };
        let mut cache = scene.rig.cache();
        let status = refused(async || cache.put_schedule(request.clone()).await).await;
        names(&status, Code::InvalidArgument, field, value, allowed);
        scene.logged_once(&["schedule=\"count\"", "is refused", field, value]);
    }
    let request = v1::ListSchedulesRequest {
        site: "s".into(),
        ..v1::ListSchedulesRequest::default()
    };
    let kept = scene.rig.cache().list_schedules(request).await.unwrap();
    assert!(kept.into_inner().schedules.is_empty());
    scene.goes_on_after(&head).await;
}

#[tokio::test]
async fn a_backup_that_was_cut_short() {
    let scene = Scene::begin().await;
    let head = scene.rig.head().await;
    let stream = scene.rig.admin().backup(v1::BackupRequest {}).await;
    let (mut stream, mut bytes) = (stream.unwrap().into_inner(), Vec::new());
    while let Some(piece) = stream.message().await.unwrap() {
        bytes.extend_from_slice(&piece.chunk);
    }
    let data = Arc::new(tempfile::tempdir().unwrap());
    let file = data.path().with_extension("backup");
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let put_back = |length: usize| {
        std::fs::write(&file, &bytes[..length]).unwrap();
        restore(&file, data.path(), &clock, Duration::ZERO)
    };
    for length in [1, bytes.len() / 2, bytes.len() - 1] {
        for _ in 0..10 {
            let error = put_back(length).unwrap_err().to_string();
            for part in [file.to_str().unwrap(), "cut short", "take it again"] {
                assert!(error.contains(part), "{part} is not in {error}");
            }
        }
        let left = std::fs::read_dir(data.path()).unwrap().count();
        assert_eq!(left, 0, "the folder stays as it was");
    }
    // Whoever called is told; no log says it a second time.
    assert_eq!(scene.logged.count(&["cut short"]), 0);
    put_back(bytes.len()).unwrap();
    std::fs::remove_file(&file).unwrap();
    let restored = Rig::on(data, |_| {}).await;
    let request = v1::GetSiteRequest { site: "s".into() };
    assert!(restored.sites().get_site(request).await.is_ok());
    restored.stop().await;
    scene.goes_on_after(&head).await;
}
