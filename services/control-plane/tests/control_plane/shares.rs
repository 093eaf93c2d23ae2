//! Responses that edges share.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tidegate_clock::ManualClock;
use tidegate_proto::v1;
use tonic::{Code, Status};

use crate::rig::{Rig, refused_field};

fn field(name: &str, value: &'static str) -> v1::HeaderField {
    v1::HeaderField {
        name: name.into(),
        value: Bytes::from_static(value.as_bytes()),
    }
}

fn share(url: &str, fill_cursor: &str) -> v1::StoreEntryRequest {
    v1::StoreEntryRequest {
        site: "s".into(),
        entry: Some(v1::Entry {
            url: url.into(),
            status: 200,
            headers: vec![field("Cache-Control", "max-age=60")],
            body: Bytes::from_static(b"shared"),
            tags: vec!["item:1".into()],
            ttl: Some(prost_types::Duration {
                seconds: 60,
                nanos: 0,
            }),
            vary: vec![field("Host", "s.example")],
        }),
        fill_cursor: fill_cursor.into(),
        age: None,
        instance_id: String::new(),
        key: Vec::new(),
        turn: 0,
    }
}

async fn store(rig: &Rig, request: v1::StoreEntryRequest) -> Result<bool, Status> {
    let answer = rig.edges().store_entry(request).await?;
    Ok(answer.into_inner().stored)
}

/// Looks as an edge does that has applied what is durable by now.
async fn look(rig: &Rig, url: &str, host: &'static str) -> v1::LookupEntryResponse {
    look_at(rig, url, &rig.head().await.cursor, |shared| {
        shared.key = vec![field("host", host)];
    })
    .await
}

async fn look_at(
    rig: &Rig,
    url: &str,
    cursor: &str,
    edit: impl FnOnce(&mut v1::SharedQuestion),
) -> v1::LookupEntryResponse {
    let mut shared = v1::SharedQuestion {
        instance_id: "one".into(),
        cursor: cursor.into(),
        key: vec![field("host", "s.example")],
        may_fill: false,
        wait: None,
        turn: 1,
    };
    edit(&mut shared);
    let request = v1::LookupEntryRequest {
        site: "s".into(),
        url: url.into(),
        // The host as a client sends it stands back behind the key.
        request_headers: vec![field("host", "S.Example:8443")],
        shared: Some(shared),
    };
    rig.edges()
        .lookup_entry(request)
        .await
        .unwrap()
        .into_inner()
}

#[tokio::test]
async fn what_one_edge_shares_another_finds_until_it_is_invalidated() {
    let rig = Rig::start().await;
    rig.put_site("s").await;
    rig.configure("s", |config| config.hosts.push("t.example".into()))
        .await;
    let mut edge = rig.edge("one");
    let mut frames = edge.subscribe("").await;
    frames.hello().await;
    let (sites, _) = frames.snapshot().await;
    assert!(!sites[0].has_entries);
    let began = rig.head().await;
    for size in [10, 4_097, 4_000_000] {
        let mut request = share(&format!("/{size}"), &began.cursor);
        request.entry.as_mut().unwrap().body = vec![b'x'; size].into();
        assert!(store(&rig, request).await.unwrap());
        let found = look(&rig, &format!("/{size}"), "s.example").await;
        assert_eq!(found.entry.unwrap().body.len(), size);
        assert!(found.validated_as_of > began.revision);
        assert!(found.fresh_for.unwrap().seconds >= 50);
    }
    let told = frames.batch().await;
    assert_eq!(told.events.len(), 1, "{told:?}");
    let told: v1::Event = prost::Message::decode(told.events[0].clone()).unwrap();
    let Some(v1::event::Kind::Invalidated(told)) = told.kind else {
        panic!("{told:?}");
    };
    assert!(told.patterns.is_empty(), "{told:?}");
    assert_eq!(told.cause(), v1::InvalidationCause::Entry);
    let other_host = look(&rig, "/10", "t.example").await;
    assert_eq!(other_host.entry, None, "it is of one host");
    rig.invalidate("s", &["item:*"]).await;
    assert_eq!(look(&rig, "/10", "s.example").await.entry, None);
    let again = store(&rig, share("/10", &began.cursor)).await;
    assert!(!again.unwrap(), "its fetch began before the invalidation");
    let now = rig.head().await.cursor;
    assert!(store(&rig, share("/10", &now)).await.unwrap());
    let rig = rig.restart().await;
    assert!(look(&rig, "/10", "s.example").await.entry.is_some());
    let mut snapshot = rig.edge("two").subscribe("").await;
    snapshot.hello().await;
    assert!(snapshot.snapshot().await.0[0].has_entries);
    rig.stop().await;
}

#[tokio::test]
async fn a_share_that_breaks_a_rule_is_refused_with_its_field() {
    let rig = Rig::start().await;
    rig.put_site("s").await;
    let now = rig.head().await.cursor;
    let with = |change: fn(&mut v1::Entry)| {
        let mut request = share("/a", &now);
        change(request.entry.as_mut().unwrap());
        request
    };
    let cases = [
        (
            "entry.headers[0].value",
            with(|it| it.headers = vec![field("cache-control", "private")]),
        ),
        (
            "entry.headers[0].value",
            with(|it| it.headers = vec![field("cache-control", "no-store")]),
        ),
        (
            "entry.headers[0].name",
            with(|it| it.headers = vec![field("set-cookie", "a=b")]),
        ),
        ("entry.tags[0]", with(|it| it.tags = vec!["a b".into()])),
        ("entry.tags", with(|it| it.tags = vec!["a".into(); 65])),
        ("entry.status", with(|it| it.status = 206)),
        ("entry.vary", with(|it| it.vary.clear())),
        ("entry.ttl", with(|it| it.ttl = None)),
        ("entry.url", with(|it| it.url = "a".into())),
        ("entry.body", with(|it| it.body = vec![0; 4_000_001].into())),
        ("fill_cursor", share("/a", "nonsense")),
        ("fill_cursor", share("/a", "")),
    ];
    for (name, request) in cases {
        assert_eq!(refused_field(store(&rig, request).await), name);
    }
    let none = v1::StoreEntryRequest {
        entry: None,
        ..share("/a", &now)
    };
    assert_eq!(refused_field(store(&rig, none).await), "entry");
    let nowhere = v1::StoreEntryRequest {
        site: "nowhere".into(),
        ..share("/a", &now)
    };
    let nowhere = store(&rig, nowhere).await.unwrap_err();
    assert_eq!(nowhere.code(), Code::NotFound);
    assert_eq!(look(&rig, "/a", "s.example").await.entry, None);
    rig.stop().await;
}

#[tokio::test]
async fn shares_beyond_their_pace_are_not_stored_and_take_no_place_in_the_order() {
    let (clock, folder) = (Arc::new(ManualClock::default()), tempfile::tempdir());
    let rig = Rig::by(clock.clone(), Arc::new(folder.unwrap()), |_| {}).await;
    rig.put_site("s").await;
    let began = rig.head().await;
    for number in 0..60 {
        let stored = store(&rig, share(&format!("/{number}"), &began.cursor)).await;
        assert_eq!(stored.unwrap(), number < 50, "{number}");
    }
    assert_eq!(rig.head().await.revision, began.revision + 50);
    let told = || async {
        let now = rig.head().await.cursor;
        let ask = |shared: &mut v1::SharedQuestion| shared.may_fill = true;
        look_at(&rig, "/more", &now, ask).await.fill()
    };
    assert_eq!(told().await, v1::FillState::Unspecified, "it is of no use");
    clock.advance(Duration::from_secs(1));
    assert_eq!(told().await, v1::FillState::Yours);
    let stored = store(&rig, share("/later", &began.cursor)).await;
    assert!(stored.unwrap());
    rig.stop().await;
}

#[tokio::test]
async fn a_look_up_that_does_not_ask_for_shares_finds_none() {
    let rig = Rig::start().await;
    rig.put_site("s").await;
    let began = rig.head().await;
    assert!(store(&rig, share("/a", &began.cursor)).await.unwrap());
    let request = v1::LookupEntryRequest {
        site: "s".into(),
        url: "/a".into(),
        request_headers: vec![field("host", "s.example")],
        shared: None,
    };
    let found = rig.edges().lookup_entry(request).await.unwrap();
    assert_eq!(found.into_inner().entry, None);
    assert!(look(&rig, "/a", "s.example").await.shared);
    rig.stop().await;
}

#[tokio::test]
async fn a_share_is_as_old_as_it_was_and_the_time_since() {
    let (clock, folder) = (Arc::new(ManualClock::default()), tempfile::tempdir());
    let rig = Rig::by(clock.clone(), Arc::new(folder.unwrap()), |_| {}).await;
    rig.put_site("s").await;
    let mut request = share("/a", &rig.head().await.cursor);
    request.age = Some(prost_types::Duration {
        seconds: 7,
        nanos: 0,
    });
    let date = field("date", "Mon, 23 Nov 2026 06:00:00 GMT");
    let entry = request.entry.as_mut().unwrap();
    entry.headers.push(date.clone());
    assert!(store(&rig, request).await.unwrap());
    clock.advance(Duration::from_secs(20));
    let found = look(&rig, "/a", "s.example").await;
    assert_eq!(found.age.unwrap().seconds, 27);
    assert_eq!(found.fresh_for.unwrap().seconds, 40);
    assert!(found.entry.unwrap().headers.contains(&date));
    clock.advance(Duration::from_secs(40));
    let found = look(&rig, "/a", "s.example").await;
    assert_eq!(found.entry, None, "its time is over");
    rig.stop().await;
}

#[tokio::test]
async fn nothing_is_shared_across_a_change_of_the_site_or_with_an_edge_of_another_past() {
    let rig = Rig::start().await;
    rig.put_site("s").await;
    let before = rig.head().await.cursor;
    assert!(store(&rig, share("/a", &before)).await.unwrap());
    rig.configure("s", |config| {
        config.cache.get_or_insert_default().max_variants = 3;
    })
    .await;
    let found = look(&rig, "/a", "s.example").await;
    assert_eq!(found.entry, None, "it was fetched as the site was before");
    let late = store(&rig, share("/a", &before)).await;
    assert!(!late.unwrap(), "its fetch began before the change");
    let after = rig.head().await.cursor;
    assert!(store(&rig, share("/a", &after)).await.unwrap());
    assert!(look(&rig, "/a", "s.example").await.entry.is_some());
    let ask = |shared: &mut v1::SharedQuestion| shared.may_fill = true;
    let behind = look_at(&rig, "/a", &before, ask).await;
    assert_eq!(behind.entry, None, "this edge has not heard of the change");
    assert_eq!(behind.fill(), v1::FillState::Unspecified);
    let now: tidegate_domain::Cursor = rig.head().await.cursor.parse().unwrap();
    for elsewhere in [
        tidegate_domain::Cursor {
            epoch: tidegate_domain::Epoch(now.epoch.0 ^ 1),
            ..now
        },
        tidegate_domain::Cursor {
            term: tidegate_domain::Term(now.term.0 ^ 1),
            ..now
        },
        tidegate_domain::Cursor {
            revision: tidegate_domain::Revision(now.revision.0 + 1),
            ..now
        },
    ] {
        let found = look_at(&rig, "/a", &elsewhere.to_string(), ask).await;
        assert_eq!(found.entry, None, "{elsewhere}");
        assert_eq!(found.fill(), v1::FillState::Unspecified);
    }
    rig.stop().await;
}

/// An edge that would fetch it, and waits so many seconds for another.
fn by(instance: &'static str, seconds: i64) -> impl FnOnce(&mut v1::SharedQuestion) {
    move |shared| {
        shared.instance_id = instance.into();
        shared.may_fill = true;
        shared.wait = Some(prost_types::Duration { seconds, nanos: 0 });
    }
}

async fn release(rig: &Rig, url: &str, instance: &str) {
    release_numbered(rig, url, instance, 1).await;
}

async fn release_numbered(rig: &Rig, url: &str, instance: &str, turn: u64) {
    let request = v1::ReleaseEntryRequest {
        site: "s".into(),
        url: url.into(),
        instance_id: instance.into(),
        key: vec![field("host", "s.example")],
        turn,
    };
    rig.edges().release_entry(request).await.unwrap();
}

#[tokio::test]
async fn who_gives_its_turn_back_leaves_it_to_the_next_one() {
    let rig = Rig::start().await;
    rig.put_site("s").await;
    let now = rig.head().await.cursor;
    let told = |instance: &'static str| {
        let answer = look_at(&rig, "/a", &now, by(instance, 0));
        async { answer.await.fill() }
    };
    assert_eq!(told("one").await, v1::FillState::Yours);
    release(&rig, "/b", "one").await;
    release(&rig, "/a", "two").await;
    assert_eq!(told("two").await, v1::FillState::UnderWay);
    release(&rig, "/a", "one").await;
    assert_eq!(told("two").await, v1::FillState::Yours);
    rig.stop().await;
}

#[tokio::test]
async fn what_an_edge_says_of_one_fetch_ends_no_other_of_its_own() {
    let rig = Rig::start().await;
    rig.put_site("s").await;
    let now = rig.head().await.cursor;
    let told = |instance: &'static str, turn: u64| {
        let edit = move |shared: &mut v1::SharedQuestion| {
            by(instance, 0)(shared);
            shared.turn = turn;
        };
        let answer = look_at(&rig, "/a", &now, edit);
        async { answer.await.fill() }
    };
    assert_eq!(told("one", 2).await, v1::FillState::Yours);
    release_numbered(&rig, "/a", "one", 1).await;
    assert_eq!(told("two", 1).await, v1::FillState::UnderWay);
    release_numbered(&rig, "/a", "one", 2).await;
    assert_eq!(told("two", 1).await, v1::FillState::Yours);
    rig.stop().await;
}

#[tokio::test]
async fn of_those_who_waited_for_a_turn_that_is_given_back_one_takes_it() {
    let rig = Rig::start().await;
    rig.put_site("s").await;
    let now = rig.head().await.cursor;
    let told = |instance: &'static str, seconds: i64| {
        let answer = look_at(&rig, "/a", &now, by(instance, seconds));
        async { answer.await.fill() }
    };
    assert_eq!(told("one", 0).await, v1::FillState::Yours);
    let releases = async {
        // By then the others have asked.
        assert_eq!(told("four", 0).await, v1::FillState::UnderWay);
        release(&rig, "/a", "one").await;
    };
    let (two, three, ()) = tokio::join!(told("two", 2), told("three", 2), releases);
    let mut both = [two, three];
    both.sort_unstable();
    let mut expected = [v1::FillState::Yours, v1::FillState::UnderWay];
    expected.sort_unstable();
    assert_eq!(both, expected);
    rig.stop().await;
}

#[tokio::test]
async fn one_edge_is_told_to_fetch_and_the_others_wait_for_what_it_shares() {
    let rig = Rig::start().await;
    rig.put_site("s").await;
    let now = rig.head().await.cursor;
    let other = look_at(&rig, "/a", &now, |_| {}).await;
    assert_eq!(
        other.fill(),
        v1::FillState::Unspecified,
        "it shares nothing"
    );
    let first = look_at(&rig, "/a", &now, by("one", 0)).await;
    assert_eq!(first.fill(), v1::FillState::Yours);
    let second = look_at(&rig, "/a", &now, by("two", 0)).await;
    assert_eq!(second.fill(), v1::FillState::UnderWay);
    let waiting = look_at(&rig, "/a", &now, by("two", 10));
    let sharing = async {
        let mut request = share("/a", &now);
        request.instance_id = "one".into();
        request.turn = 1;
        request.key = vec![field("host", "s.example")];
        store(&rig, request).await.unwrap()
    };
    let (found, stored) = tokio::join!(waiting, sharing);
    assert!(stored && found.shared);
    assert_eq!(&found.entry.unwrap().body[..], b"shared");
    // A fetch that nothing comes of lets those who wait go on.
    let first = look_at(&rig, "/b", &now, by("one", 0)).await;
    assert_eq!(first.fill(), v1::FillState::Yours);
    let waiting = look_at(&rig, "/b", &now, by("two", 10));
    let releasing = release(&rig, "/b", "one");
    let (found, ()) = tokio::join!(waiting, releasing);
    assert_eq!(found.entry, None);
    assert_ne!(found.fill(), v1::FillState::UnderWay);
    // What is there is there also for who was told to fetch it.
    let again = look_at(&rig, "/a", &now, by("two", 0)).await;
    assert!(again.entry.is_some());
    rig.stop().await;
}
