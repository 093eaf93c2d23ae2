//! Schedules through gRPC.

use tidegate_proto::v1;
use tidegate_proto::v1::schedule::When;
use tidegate_proto::v1::subscribe_response::Frame;
use tonic::{Code, Status};

use crate::rig::{Rig, refused_field};

fn every(seconds: i64, nanos: i32) -> Option<When> {
    Some(When::Every(prost_types::Duration { seconds, nanos }))
}

fn cron(text: &str) -> Option<When> {
    Some(When::Cron(text.into()))
}

fn schedule(name: &str, when: Option<When>) -> v1::Schedule {
    v1::Schedule {
        name: name.into(),
        tags: vec!["news".into()],
        when,
        reason: "stock is counted".into(),
        ..v1::Schedule::default()
    }
}

async fn put(rig: &Rig, schedule: v1::Schedule) -> Result<u64, Status> {
    let request = v1::PutScheduleRequest {
        site: "s".into(),
        schedule: Some(schedule),
    };
    let answer = rig.cache().put_schedule(request).await?;
    Ok(answer.into_inner().revision)
}

async fn delete(rig: &Rig, name: &str) -> Result<u64, Status> {
    let request = v1::DeleteScheduleRequest {
        site: "s".into(),
        name: name.into(),
    };
    let answer = rig.cache().delete_schedule(request).await?;
    Ok(answer.into_inner().revision)
}

async fn list(rig: &Rig) -> Vec<v1::ScheduleRecord> {
    let request = v1::ListSchedulesRequest {
        site: "s".into(),
        ..v1::ListSchedulesRequest::default()
    };
    let answer = rig.cache().list_schedules(request).await.unwrap();
    answer.into_inner().schedules
}

#[tokio::test]
async fn a_schedule_reaches_edges_and_the_audit_trail() {
    let rig = Rig::start().await;
    rig.put_site("s").await;
    let mut edge = rig.edge("one");
    let mut frames = edge.subscribe("").await;
    frames.hello().await;
    frames.snapshot().await;
    let mut wanted = schedule("count", every(1, 0));
    wanted.urls = vec!["http://s.example/stock".into()];
    put(&rig, wanted).await.unwrap();
    let invalidated = loop {
        let Some(Frame::Batch(batch)) = frames.next().await else {
            panic!("no batch");
        };
        let found = batch.events.into_iter().find_map(|bytes| {
            let event: v1::Event = prost::Message::decode(bytes).unwrap();
            match event.kind {
                Some(v1::event::Kind::Invalidated(it)) => Some((event.revision, it)),
                _ => None,
            }
        });
        if let Some(found) = found {
            break found;
        }
    };
    let (revision, event) = invalidated;
    assert_eq!(event.patterns, ["news", "url:/stock"]);
    assert_eq!(event.cause(), v1::InvalidationCause::Schedule);
    assert_eq!(event.mode(), v1::InvalidationMode::Hard);
    let request = v1::ListInvalidationsRequest {
        site: "s".into(),
        ..v1::ListInvalidationsRequest::default()
    };
    let trail = rig.cache().list_invalidations(request).await.unwrap();
    let trail = trail.into_inner().invalidations;
    let record = trail.iter().find(|it| it.revision == revision).unwrap();
    assert_eq!(record.caller, "schedule:count");
    assert_eq!(record.reason, "stock is counted");
    assert_eq!(record.cause(), v1::InvalidationCause::Schedule);

    let listed = list(&rig).await;
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0].schedule.as_ref().unwrap().urls, ["/stock"]);
    assert!(listed[0].last_revision >= revision);
    assert!(listed[0].next_due.is_some() && listed[0].last_due.is_some());
    delete(&rig, "count").await.unwrap();
    assert!(list(&rig).await.is_empty());
    let gone = delete(&rig, "count").await.unwrap_err();
    assert_eq!(gone.code(), Code::NotFound);
    rig.stop().await;
}

#[tokio::test]
async fn a_schedule_survives_a_restart_and_goes_with_its_site() {
    let rig = Rig::start().await;
    rig.put_site("s").await;
    let first = put(&rig, schedule("a", cron("0 4 * * *"))).await.unwrap();
    let before = list(&rig).await;
    let rig = rig.restart().await;
    assert_eq!(list(&rig).await, before);
    let again = put(&rig, schedule("a", cron("0 4 * * *"))).await.unwrap();
    assert_eq!(again, first, "the same again changes nothing");
    let request = v1::DeleteSiteRequest { site: "s".into() };
    rig.sites().delete_site(request).await.unwrap();
    rig.put_site("s").await;
    assert!(list(&rig).await.is_empty());
    rig.stop().await;
}

#[tokio::test]
async fn a_schedule_that_breaks_a_rule_is_refused_with_its_field() {
    let rig = Rig::start().await;
    rig.put_site("s").await;
    let hourly = || schedule("a", every(3_600, 0));
    let with = |change: fn(&mut v1::Schedule)| {
        let mut schedule = hourly();
        change(&mut schedule);
        schedule
    };
    let cases = [
        ("schedule.name", schedule("No!", every(3_600, 0))),
        ("schedule.every", schedule("a", None)),
        ("schedule.every", schedule("a", every(0, 1_000_000))),
        ("schedule.every", schedule("a", every(-1, 0))),
        ("schedule.every", schedule("a", every(367 * 86_400, 0))),
        ("schedule.cron", schedule("a", cron("0 0 30 2 *"))),
        ("schedule.cron", schedule("a", cron("*/5 * * * * *"))),
        ("schedule.cron", schedule("a", cron("now and then"))),
        ("schedule.tags", with(|it| it.tags.clear())),
        ("schedule.tags[0]", with(|it| it.tags = vec!["a b".into()])),
        (
            "schedule.urls[0]",
            with(|it| it.urls = vec!["relative".into()]),
        ),
        (
            "schedule.urls[0]",
            with(|it| it.urls = vec!["http://other.example/".into()]),
        ),
        ("schedule.mode", with(|it| it.mode = 9)),
        (
            "schedule.spread",
            with(|it| {
                it.spread = Some(prost_types::Duration {
                    seconds: 3_601,
                    nanos: 0,
                });
            }),
        ),
        ("schedule.reason", with(|it| it.reason = "x".repeat(1_025))),
    ];
    for (field, schedule) in cases {
        let refused = put(&rig, schedule.clone()).await;
        assert_eq!(refused_field(refused), field, "{schedule:?}");
    }
    let none = v1::PutScheduleRequest {
        site: "s".into(),
        schedule: None,
    };
    let none = rig.cache().put_schedule(none).await;
    assert_eq!(refused_field(none), "schedule");
    assert_eq!(refused_field(delete(&rig, "No!").await), "name");
    let elsewhere = v1::PutScheduleRequest {
        site: "nowhere".into(),
        schedule: Some(hourly()),
    };
    let elsewhere = rig.cache().put_schedule(elsewhere).await.unwrap_err();
    assert_eq!(elsewhere.code(), Code::NotFound);
    for n in 0..100 {
        put(&rig, schedule(&format!("s{n}"), every(3_600, 0)))
            .await
            .unwrap();
    }
    let full = put(&rig, hourly()).await.unwrap_err();
    assert_eq!(full.code(), Code::ResourceExhausted);
    assert!(full.message().contains("100"), "{full:?}");
    rig.stop().await;
}
