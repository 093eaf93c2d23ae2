//! Invalidations by the clock, with real processes: they reach who serves, and each
//! time happens once, whatever happens to the control plane around it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tidegate_e2e::v1;
use tidegate_e2e::{Calls, eventually};

use crate::support::{LONG, Rig, SITE};

const CALLER: &str = "schedule:tick";
/// Kills of the control plane, each at another moment around the time that is due.
const KILLS: u64 = 8;

fn since_1970(time: &prost_types::Timestamp) -> Duration {
    let seconds = u64::try_from(time.seconds).unwrap();
    Duration::new(seconds, u32::try_from(time.nanos).unwrap())
}

async fn put(calls: &Calls, name: &str, tag: &str) -> v1::ScheduleRecord {
    let schedule = v1::Schedule {
        name: name.to_owned(),
        tags: vec![tag.to_owned()],
        when: Some(v1::schedule::When::Every(prost_types::Duration {
            seconds: 1,
            nanos: 0,
        })),
        ..v1::Schedule::default()
    };
    let request = v1::PutScheduleRequest {
        site: SITE.to_owned(),
        schedule: Some(schedule),
    };
    calls.cache().put_schedule(request).await.unwrap();
    record(calls).await
}

async fn record(calls: &Calls) -> v1::ScheduleRecord {
    let request = v1::ListSchedulesRequest {
        site: SITE.to_owned(),
        ..v1::ListSchedulesRequest::default()
    };
    let answer = calls.cache().list_schedules(request).await.unwrap();
    let mut schedules = answer.into_inner().schedules;
    assert_eq!(schedules.len(), 1);
    schedules.remove(0)
}

/// What the schedule has done, oldest first.
async fn fired(calls: &Calls) -> Vec<v1::InvalidationRecord> {
    let request = v1::ListInvalidationsRequest {
        site: SITE.to_owned(),
        page_size: 1_000,
        ..v1::ListInvalidationsRequest::default()
    };
    let answer = calls.cache().list_invalidations(request).await.unwrap();
    let mut records = answer.into_inner().invalidations;
    records.reverse();
    records.retain(|it| it.caller == CALLER);
    records
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schedule_lets_edges_fetch_anew_time_after_time() {
    let rig = Rig::start().await;
    let cli = rig.calls().cli().flag("--site", SITE);
    rig.fill("/news", "one", &["news"]).await;
    let words = ["schedule", "put", "tick", "news", "--every", "1s"];
    let put = cli.json(words).await;
    assert!(put["revision"].as_u64() > Some(0), "{put}");
    for body in ["two", "three"] {
        rig.origin.set(
            "/news",
            tidegate_e2e::Answer::ok(body.to_owned())
                .cache(LONG)
                .tags(&["news"]),
        );
        eventually(&format!("/news is {body}"), || async {
            let reply = rig.http().get("/news").await;
            if reply.text() == body {
                Ok(())
            } else {
                Err(reply)
            }
        })
        .await;
    }
    let listed = cli.json(["schedule", "list"]).await;
    assert_eq!(listed["schedules"][0]["name"], "tick");
    assert!(listed["schedules"][0]["last_revision"].as_u64() > Some(0));
    let table = cli.run(["schedule", "list"]).await;
    assert!(table.stdout.contains("every 1s"), "{table:?}");
    cli.json(["schedule", "delete", "tick"]).await;
    let before = fired(rig.calls()).await.len();
    let again = cli.run(["schedule", "delete", "tick"]).await;
    assert_eq!(again.code, 1, "{again:?}");
    assert_eq!(fired(rig.calls()).await.len(), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_time_happens_once_whenever_the_control_plane_is_killed() {
    let mut rig = Rig::start().await;
    let first = put(rig.calls(), "tick", "news").await;
    let start = since_1970(first.next_due.as_ref().unwrap());
    for kill in 0..KILLS {
        // From a tenth of a second before a time that is due to a little after it.
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let phase = Duration::from_nanos(u64::from(start.subsec_nanos()));
        let aim = Duration::from_secs(now.as_secs() + 2) + phase - Duration::from_millis(100)
            + Duration::from_millis(20) * u32::try_from(kill).unwrap();
        tokio::time::sleep(aim - now).await;
        rig.control.process().kill9();
        rig.control.restart().await;
        let known = eventually("the control plane answers again", || async {
            let request = v1::GetHeadRequest {};
            rig.calls().cache().get_head(request).await
        })
        .await;
        let known = known.into_inner().revision;
        eventually("the schedule goes on", || async {
            let last = fired(rig.calls()).await.last().map_or(0, |it| it.revision);
            if last > known { Ok(()) } else { Err(last) }
        })
        .await;
    }
    // A record is written within a second of the time it is for, or of the last one of
    // those that were missed: so the second it lies in, counted from the first, names
    // that time.
    let fired = fired(rig.calls()).await;
    let times: Vec<u64> = fired
        .iter()
        .map(|it| (since_1970(it.time.as_ref().unwrap()) - start).as_secs())
        .collect();
    assert!(
        times.windows(2).all(|two| two[0] < two[1]),
        "twice: {times:?}"
    );
    // Each kill leaves out at most the times that it took to start again.
    let record = record(rig.calls()).await;
    let last = since_1970(record.last_due.as_ref().unwrap()) - start;
    assert_eq!(last.subsec_nanos(), 0, "no drift");
    assert!(times.len() as u64 > KILLS, "{times:?}");
}
