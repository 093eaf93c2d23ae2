//! Backups over gRPC, and data folders that were put back.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tidegate_clock::{Clock, SystemClock};
use tidegate_control_plane::backup::{check, restore};
use tidegate_proto::v1;
use tidegate_proto::v1::EdgeOutcomeKind::{Applied, Pending};
use tonic::{Code, Status, Streaming};

use crate::rig::{LONG, Rig, SHORT, eventually, outcomes, serving_stale, short_leases, waiting};

async fn begin(rig: &Rig) -> Result<Streaming<v1::BackupResponse>, Status> {
    let answer = rig.admin().backup(v1::BackupRequest {}).await;
    answer.map(tonic::Response::into_inner)
}

async fn rest(mut stream: Streaming<v1::BackupResponse>) -> Result<Vec<u8>, Status> {
    let mut bytes = Vec::new();
    while let Some(piece) = stream.message().await? {
        bytes.extend_from_slice(&piece.chunk);
    }
    Ok(bytes)
}

fn put_back(bytes: &[u8], data: &Path) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a.backup");
    std::fs::write(&file, bytes).unwrap();
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    restore(&file, data, &clock, Duration::ZERO).unwrap();
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

/// Pushes more than the transport holds back for a reader who does not read.
async fn push_much(rig: &Rig) {
    for n in 0..6 {
        let entry = v1::Entry {
            url: format!("/{n}"),
            status: 200,
            body: Bytes::from(vec![n; 4_000_000]),
            ttl: Some(prost_types::Duration {
                seconds: 600,
                nanos: 0,
            }),
            ..v1::Entry::default()
        };
        let request = v1::PutEntryRequest {
            site: "s".into(),
            entry: Some(entry),
            read_as_of: rig.head().await.cursor,
        };
        rig.cache().put_entry(request).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_under_writes_is_whole_and_goes_on_as_another_history() {
    let rig = Rig::start().await;
    rig.put_site("s").await;
    let first = rig.invalidate("s", &["first"]).await;
    let taking = tokio::spawn(rest(begin(&rig).await.unwrap()));
    let mut last = 0;
    while !taking.is_finished() {
        last = rig.invalidate("s", &["later"]).await.revision;
    }
    let bytes = taking.await.unwrap().unwrap();
    let contents = check(&mut &bytes[..]).unwrap();
    assert!((first.revision..=last).contains(&contents.revision.0));
    rig.stop().await;

    let data = Arc::new(tempfile::tempdir().unwrap());
    put_back(&bytes, data.path());
    let rig = Rig::on(data, short_leases).await;
    let hello = rig
        .edge("looker")
        .subscribe(&first.cursor)
        .await
        .hello()
        .await;
    assert_eq!(hello.reason(), v1::ResetReason::UnknownEpoch);
    let mut edge = rig.edge("a");
    let refused = edge.try_beat(&first.cursor).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    // Everyone who is known has applied it; someone who is not may not have.
    let head = rig.head().await;
    edge.beat(&head.cursor).await;
    let call = tokio::spawn({
        let mut cache = rig.cache();
        async move { cache.invalidate(waiting("s", &["t"], LONG)).await }
    });
    loop {
        let head = rig.head().await;
        edge.beat(&head.cursor).await;
        if call.is_finished() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let answer = call.await.unwrap().unwrap().into_inner();
    assert_eq!(answer.status(), v1::CompletionStatus::Complete);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn there_is_one_backup_at_a_time_and_who_leaves_makes_room() {
    let rig = Rig::start().await;
    rig.put_site("s").await;
    push_much(&rig).await;
    let first = begin(&rig).await.unwrap();
    let second = begin(&rig).await.unwrap_err();
    assert_eq!(second.code(), Code::ResourceExhausted, "{second:?}");
    assert!(second.message().contains("one at a time"), "{second:?}");
    drop(first);
    let third = eventually("there is room for another", async || {
        match begin(&rig).await {
            Ok(stream) => Some(stream),
            Err(status) => {
                assert_eq!(status.code(), Code::ResourceExhausted);
                None
            }
        }
    })
    .await;
    let bytes = rest(third).await.unwrap();
    assert_eq!(check(&mut &bytes[..]).unwrap().blobs, 6);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_ends_a_backup_that_nobody_reads() {
    let rig = Rig::start().await;
    rig.put_site("s").await;
    push_much(&rig).await;
    let stream = begin(&rig).await.unwrap();
    rig.stop().await;
    let ended = rest(stream).await;
    let refused = match ended {
        Ok(bytes) => check(&mut &bytes[..]).is_err(),
        Err(_) => true,
    };
    assert!(refused, "what was cut off is taken for whole");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_was_put_back_without_a_word_is_noticed_by_what_edges_show() {
    let rig = Rig::with(short_leases).await;
    rig.put_site("s").await;
    let folder = rig.stop().await;
    let copy = Arc::new(tempfile::tempdir().unwrap());
    copy_all(folder.path(), copy.path());
    let rig = Rig::on(folder, short_leases).await;
    for _ in 0..10 {
        rig.invalidate("s", &["lost"]).await;
    }
    let lost = rig.head().await;
    rig.stop().await;

    let rig = Rig::on(copy, short_leases).await;
    let before = rig.head().await;
    assert!(before.revision < lost.revision);
    let mut follower = rig.edge("follower");
    let mut frames = follower.subscribe(&before.cursor).await;
    let epoch = frames.hello().await.epoch;
    assert!(follower.beat(&before.cursor).await.lease.is_some());
    // Neither a browser's cursor nor a person's nor a backend's is evidence.
    let read = v1::ReadLogRequest {
        site: "s".into(),
        cursor: lost.cursor.clone(),
        to_inclusive: lost.revision,
    };
    rig.edges().read_log(read).await.unwrap();
    let watch = v1::WatchEventsRequest {
        cursor: lost.cursor.clone(),
        ..v1::WatchEventsRequest::default()
    };
    rig.fleet().watch_events(watch).await.unwrap_err();
    let corrupt = format!("{}x", &lost.cursor[..lost.cursor.len() - 1]);
    let corrupt = rig.edge("corrupt").try_beat(&corrupt).await.unwrap_err();
    assert_eq!(corrupt.code(), Code::InvalidArgument);
    assert_eq!(follower.beat(&before.cursor).await.epoch, epoch);
    // Many edges show the same at once.
    let shown = (0..20).map(|n| {
        let (mut edge, cursor) = (rig.edge(&format!("e{n}")), lost.cursor.clone());
        async move { edge.try_beat(&cursor).await.unwrap_err().code() }
    });
    for code in futures_util::future::join_all(shown).await {
        assert_eq!(code, Code::FailedPrecondition);
    }
    // One history more, and one record for it.
    let after = rig.head().await;
    assert_eq!(after.revision, before.revision + 1);
    let go_away = loop {
        match frames.next().await {
            Some(v1::subscribe_response::Frame::GoAway(_)) => break true,
            Some(_) => {}
            None => break false,
        }
    };
    assert!(go_away);
    follower.try_beat(&before.cursor).await.unwrap_err();
    let mut frames = follower.subscribe(&before.cursor).await;
    let hello = frames.hello().await;
    assert_eq!(hello.reason(), v1::ResetReason::UnknownEpoch);
    assert_ne!(hello.epoch, epoch);
    let (_, end) = frames.snapshot().await;
    assert_eq!(end.revision, after.revision);
    // After a restart it is the same, and the wait begins anew.
    let folder = rig.stop().await;
    let rig = Rig::on(folder, |config| {
        short_leases(config);
        config.fleet.lease = LONG;
        config.limits.wait_timeout = Duration::from_secs(100);
    })
    .await;
    let resumed = rig
        .edge("looker")
        .subscribe(&end.cursor)
        .await
        .hello()
        .await;
    assert_eq!(resumed.mode(), v1::SubscribeMode::Resume);
    assert_eq!(resumed.epoch, hello.epoch);
    let answer = rig.cache().invalidate(waiting("s", &["t"], SHORT)).await;
    assert_eq!(
        answer.unwrap().into_inner().status(),
        v1::CompletionStatus::Partial
    );
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_an_empty_folder_nothing_is_complete_before_leases_of_before_are_over() {
    async fn invalidate(rig: &Rig, timeout: Duration) -> v1::CompletionStatus {
        let answer = rig.cache().invalidate(waiting("s", &["t"], timeout)).await;
        answer.unwrap().into_inner().status()
    }
    let long_leases = |config: &mut tidegate_control_plane::config::Config| {
        config.new_fleet = false;
        config.fleet.lease = LONG;
        config.limits.wait_timeout = Duration::from_secs(100);
    };
    let rig = Rig::with(long_leases).await;
    rig.put_site("s").await;
    assert_eq!(invalidate(&rig, SHORT).await, v1::CompletionStatus::Partial);
    // Everyone who is known has applied it; someone who is not may not have.
    let head = rig.head().await;
    rig.edge("a").beat(&head.cursor).await;
    assert_eq!(invalidate(&rig, SHORT).await, v1::CompletionStatus::Partial);
    // It is on disk, with the length of then, and no flag takes it back.
    let folder = rig.stop().await;
    let rig = Rig::on(folder, |config| {
        short_leases(config);
        config.new_fleet = true;
    })
    .await;
    assert_eq!(invalidate(&rig, SHORT).await, v1::CompletionStatus::Partial);
    rig.stop().await;

    let rig = Rig::with(|config| {
        short_leases(config);
        config.new_fleet = false;
    })
    .await;
    rig.put_site("s").await;
    assert_eq!(invalidate(&rig, LONG).await, v1::CompletionStatus::Complete);
    rig.stop().await;

    let rig = Rig::with(|config| {
        long_leases(config);
        config.new_fleet = true;
    })
    .await;
    rig.put_site("s").await;
    assert_eq!(
        invalidate(&rig, SHORT).await,
        v1::CompletionStatus::Complete
    );
    rig.stop().await;
}

#[tokio::test]
async fn a_bound_that_was_lowered_before_a_restart_is_waited_for_after_it() {
    let rig = Rig::with(short_leases).await;
    rig.configure("s", |config| config.fenced = Some(serving_stale()))
        .await;
    rig.put_site("plain").await;
    let head = rig.head().await;
    // It hears no more after this, and goes by what it knows.
    rig.edge("cut-off").beat(&head.cursor).await;
    rig.put_site("s").await;
    let folder = rig.stop().await;
    let rig = Rig::on(folder, short_leases).await;
    let answer = rig.invalidate_and_wait("plain", &["t"], LONG).await;
    assert_eq!(answer.status(), v1::CompletionStatus::Complete);
    let answer = rig.invalidate_and_wait("s", &["t"], SHORT).await;
    assert_eq!(answer.status(), v1::CompletionStatus::Partial);
    assert_eq!(outcomes(&answer.edges), [("cut-off", Pending)]);
    // It has come back and applied it.
    rig.edge("cut-off").beat(&answer.cursor).await;
    let mut cache = rig.cache();
    let call = tokio::spawn(async move { cache.invalidate(waiting("s", &["u"], LONG)).await });
    while !call.is_finished() {
        let head = rig.head().await;
        rig.edge("cut-off").beat(&head.cursor).await;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let answer = call.await.unwrap().unwrap().into_inner();
    assert_eq!(outcomes(&answer.edges), [("cut-off", Applied)]);
    rig.stop().await;
}
