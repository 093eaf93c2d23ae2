//! What was acknowledged is there after `kill -9`, and it was on the disk before it
//! was acknowledged.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tidegate_e2e::v1;
use tidegate_e2e::{Calls, ControlPlane, Origin, eventually, within};

use crate::support::{Rig, SITE, head, invalidate, list_edges, of_tags, put_site, site_of};

const CALLERS: usize = 64;
const KILLS: usize = 10;

/// Calls Invalidate again and again with tags of its own until that fails, and gives
/// back what was acknowledged.
async fn call_until_it_fails(
    calls: Calls,
    name: String,
    acknowledged: Arc<AtomicUsize>,
) -> Vec<(u64, String)> {
    let mut mine = Vec::new();
    loop {
        let tag = format!("{name}-{}", mine.len());
        match calls.cache().invalidate(of_tags(&[&tag])).await {
            Ok(answer) => mine.push((answer.into_inner().revision, tag)),
            Err(_) => return mine,
        }
        acknowledged.fetch_add(1, Ordering::Relaxed);
    }
}

/// Everything in the log after `cursor`: patterns by revision, up to `last`.
async fn replay(calls: &Calls, cursor: String, last: u64) -> BTreeMap<u64, Vec<String>> {
    let request = v1::WatchEventsRequest {
        site: String::new(),
        cursor,
    };
    let stream = calls.fleet().watch_events(request).await.unwrap();
    let mut stream = stream.into_inner();
    let mut found = BTreeMap::new();
    while found.last_key_value().map(|(revision, _)| *revision) != Some(last) {
        let message = within("an event", stream.message()).await;
        let event = message.unwrap().unwrap().event.unwrap();
        let patterns = match event.kind {
            Some(v1::event::Kind::Invalidated(it)) => it.patterns,
            _ => Vec::new(),
        };
        let twice = found.insert(event.revision, patterns);
        assert_eq!(twice, None, "revision {} came twice", event.revision);
    }
    found
}

async fn audited(calls: &Calls) -> BTreeMap<u64, Vec<String>> {
    let mut found = BTreeMap::new();
    let mut page_token = String::new();
    loop {
        let request = v1::ListInvalidationsRequest {
            site: SITE.to_owned(),
            page_size: 1_000,
            page_token,
        };
        let page = calls.cache().list_invalidations(request).await.unwrap();
        let page = page.into_inner();
        found.extend(
            page.invalidations
                .into_iter()
                .map(|it| (it.revision, it.patterns)),
        );
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return found;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_acknowledged_invalidation_survives_ten_kills_under_64_callers() {
    let mut rig = Rig::start().await;
    let before = head(rig.calls()).await;
    let mut acknowledged = Vec::new();
    for kill in 0..KILLS {
        let count = Arc::new(AtomicUsize::new(0));
        let callers: Vec<_> = (0..CALLERS)
            .map(|caller| {
                let name = format!("k{kill}-c{caller}");
                tokio::spawn(call_until_it_fails(
                    rig.calls().clone(),
                    name,
                    count.clone(),
                ))
            })
            .collect();
        eventually("calls are being acknowledged", || {
            let count = count.load(Ordering::Relaxed);
            let enough = count >= 2 * CALLERS;
            std::future::ready(if enough { Ok(()) } else { Err(count) })
        })
        .await;
        rig.control.process().kill9();
        for caller in callers {
            acknowledged.extend(caller.await.unwrap());
        }
        rig.control.restart().await;
        eventually("the control plane answers again", || async {
            rig.calls().cache().get_head(v1::GetHeadRequest {}).await
        })
        .await;
    }
    assert!(acknowledged.len() >= KILLS * 2 * CALLERS);
    let after = head(rig.calls()).await;
    let log = replay(rig.calls(), before.cursor, after.revision).await;
    let revisions: Vec<u64> = log.keys().copied().collect();
    let contiguous: Vec<u64> = (before.revision + 1..=after.revision).collect();
    assert_eq!(revisions, contiguous);
    let audit = audited(rig.calls()).await;
    for (revision, tag) in &acknowledged {
        let expected = vec![tag.clone()];
        assert_eq!(log.get(revision), Some(&expected), "log at {revision}");
        assert_eq!(audit.get(revision), Some(&expected), "audit at {revision}");
    }
    rig.calls().settled(1).await;
    let edges = list_edges(rig.calls()).await;
    let applied: Vec<u64> = edges.edges.iter().map(|edge| edge.applied).collect();
    assert_eq!(applied, [edges.head]);
    assert!(edges.head >= after.revision);
}

/// Calls Invalidate once, with a key of its own; says whether that was acknowledged.
async fn call_once(calls: &Calls, key: &str) -> Result<u64, tonic::Status> {
    let request = v1::InvalidateRequest {
        idempotency_key: key.to_owned(),
        ..of_tags(&[key])
    };
    let answer = calls.cache().invalidate(request).await?;
    Ok(answer.into_inner().revision)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_a_kill_cut_off_has_one_effect_when_it_is_repeated() {
    let mut rig = Rig::start().await;
    for kill in 0..3 {
        let count = Arc::new(AtomicUsize::new(0));
        let callers = (0..CALLERS).map(|caller| {
            let (calls, count) = (rig.calls().clone(), count.clone());
            tokio::spawn(async move {
                let mut made = Vec::new();
                loop {
                    let key = format!("k{kill}-c{caller}-{}", made.len());
                    let told = call_once(&calls, &key).await.ok();
                    made.push((key, told));
                    if told.is_none() {
                        return made;
                    }
                    count.fetch_add(1, Ordering::Relaxed);
                }
            })
        });
        let callers: Vec<_> = callers.collect();
        eventually("calls are being acknowledged", || {
            let count = count.load(Ordering::Relaxed);
            std::future::ready(if count >= CALLERS { Ok(()) } else { Err(count) })
        })
        .await;
        rig.control.process().kill9();
        let mut made = Vec::new();
        for caller in callers {
            made.extend(caller.await.unwrap());
        }
        rig.control.restart().await;
        eventually("the control plane answers again", || async {
            rig.calls().cache().get_head(v1::GetHeadRequest {}).await
        })
        .await;
        // Those that were acknowledged, and those of which nobody knows.
        let mut revisions = BTreeMap::new();
        for (key, told) in made {
            let again = call_once(rig.calls(), &key).await.unwrap();
            assert!(
                told.is_none_or(|told| told == again),
                "{key}: {told:?}, {again}"
            );
            assert_eq!(revisions.insert(again, key), None);
        }
        let audit = audited(rig.calls()).await;
        let prefix = format!("k{kill}-");
        let effects: BTreeMap<u64, String> = audit
            .into_iter()
            .map(|(revision, mut patterns)| (revision, patterns.remove(0)))
            .filter(|(_, tag)| tag.starts_with(&prefix))
            .collect();
        assert_eq!(effects, revisions, "one effect for each key");
    }
}

/// Why processes cannot be traced here, if they cannot.
fn no_strace() -> Option<String> {
    let tried = std::process::Command::new("strace")
        .args(["-f", "-o", "/dev/null", "true"])
        .output();
    match tried {
        Err(error) => Some(error.to_string()),
        Ok(output) if !output.status.success() => {
            Some(String::from_utf8_lossy(&output.stderr).trim().to_owned())
        }
        Ok(_) => None,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_leaves_only_after_fdatasync_needs_strace() {
    if let Some(why) = no_strace() {
        eprintln!("skipped: an_answer_leaves_only_after_fdatasync_needs_strace: {why}");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let trace = folder.path().join("trace");
    let mut control = ControlPlane::start_with(|launch| {
        let calls = "trace=fdatasync,fsync,pwrite64,write,writev,sendto,sendmsg";
        let trace = trace.to_str().unwrap();
        launch.under([
            "strace", "-f", "-y", "-ttt", "-s", "1000000", "-e", calls, "-o", trace,
        ])
    })
    .await;
    let origin = Origin::start().await;
    put_site(control.calls(), site_of(&origin)).await;
    let mut cursors = HashMap::new();
    for one in 0..5 {
        let tag = format!("alone:{one}:");
        cursors.insert(
            invalidate(control.calls(), of_tags(&[&tag])).await.cursor,
            tag,
        );
    }
    let together: Vec<_> = (0..32)
        .map(|one| {
            let (calls, tag) = (control.calls().clone(), format!("together:{one}:"));
            tokio::spawn(async move { (invalidate(&calls, of_tags(&[&tag])).await.cursor, tag) })
        })
        .collect();
    for one in together {
        let (cursor, tag) = one.await.unwrap();
        cursors.insert(cursor, tag);
    }
    control.process().sigterm();
    control.process().ended().await;
    let store = control.data().join("store/db");
    let trace = std::fs::read_to_string(&trace).unwrap();
    let calls = parse(&trace);
    assert_eq!(cursors.len(), 37, "each answer has a position of its own");
    for (cursor, tag) in &cursors {
        synced_before_answered(&calls, &store, tag, cursor);
    }
}

/// A system call: the lines of the trace on which it began and ended.
#[derive(Debug)]
struct SystemCall<'a> {
    name: &'a str,
    text: &'a str,
    began: usize,
    ended: usize,
}

impl SystemCall<'_> {
    fn is_on(&self, file: &Path) -> bool {
        let file = format!("<{}>", file.display());
        let target = self.text.split([',', ')']).next().unwrap_or_default();
        target.contains(&file)
    }
}

/// Reads what `strace -f` wrote. It sees the calls of all threads one after the other,
/// so the order of lines is the order of events.
fn parse(trace: &str) -> Vec<SystemCall<'_>> {
    let mut calls: Vec<SystemCall<'_>> = Vec::new();
    let mut open: HashMap<&str, usize> = HashMap::new();
    for (line, text) in trace.lines().enumerate() {
        let Some((thread, rest)) = text.split_once(' ') else {
            continue;
        };
        let Some((_time, rest)) = rest.trim_start().split_once(' ') else {
            continue;
        };
        if rest.starts_with("<...") {
            if let Some(begun) = open.remove(thread) {
                calls[begun].ended = line;
            }
            continue;
        }
        let Some((name, text)) = rest.split_once('(') else {
            continue;
        };
        let ended = if text.ends_with("<unfinished ...>") {
            open.insert(thread, calls.len());
            usize::MAX
        } else {
            line
        };
        calls.push(SystemCall {
            name,
            text,
            began: line,
            ended,
        });
    }
    calls
}

fn synced_before_answered(calls: &[SystemCall<'_>], store: &Path, tag: &str, cursor: &str) {
    let written = calls
        .iter()
        .find(|it| it.name == "pwrite64" && it.is_on(store) && it.text.contains(tag))
        .unwrap_or_else(|| panic!("{tag} was never written to {}", store.display()));
    let answered = calls
        .iter()
        .find(|it| it.name != "pwrite64" && it.text.contains(cursor))
        .unwrap_or_else(|| panic!("the answer {cursor} was never sent"));
    assert!(
        written.ended < answered.began,
        "{tag}: answered before it was written"
    );
    let synced = calls.iter().any(|it| {
        it.name == "fdatasync"
            && it.is_on(store)
            && it.began > written.ended
            && it.ended < answered.began
    });
    assert!(
        synced,
        "{tag}: written on line {}, answered on line {}, and no fdatasync between",
        written.began, answered.began
    );
}
