//! No stale fill: what was fetched before an invalidation is neither kept as fresh nor
//! given to a request that came after it, whenever its bytes arrive.

use std::time::Duration;

use tidegate_e2e::{Answer, Gate, HttpClient, eventually, v1};
use tokio::task::JoinHandle;
use tonic::Code;

use crate::support::{
    LONG, Rig, SITE, cached, head, invalidate, invalidate_everywhere, of_tags, of_url,
};

/// What holds the origin's answer back.
#[derive(Debug, Clone, Copy)]
enum Late {
    Header,
    Body,
}

/// How the content is named.
#[derive(Debug, Clone, Copy)]
enum Named {
    Url,
    Tag,
    Wildcard,
    Everything,
}

impl Named {
    const ALL: [Self; 4] = [Self::Url, Self::Tag, Self::Wildcard, Self::Everything];

    fn request(self, url: &str, tag: &str) -> v1::InvalidateRequest {
        match self {
            Self::Url => of_url(url),
            Self::Tag => of_tags(&[tag]),
            Self::Wildcard => of_tags(&[&format!("{}*", &tag[..tag.len() - 1])]),
            Self::Everything => of_tags(&["*"]),
        }
    }
}

fn answer(body: &str, tag: &str) -> Answer {
    Answer::ok(body.to_owned()).cache(LONG).tags(&[tag])
}

fn hold(rig: &Rig, late: Late, url: &str) -> Gate {
    match late {
        Late::Header => rig.origin.hold_header(url),
        Late::Body => rig.origin.hold_body(url),
    }
}

fn asked(http: &HttpClient, url: &str) -> JoinHandle<String> {
    let (http, url) = (http.clone(), url.to_owned());
    tokio::spawn(async move { http.get(&url).await.text() })
}

/// A fetch of the old version waits at the returned gate, and the origin answers with
/// the new version from now on.
async fn old_fetch_under_way(
    rig: &Rig,
    late: Late,
    url: &str,
    tag: &str,
) -> (Gate, Vec<JoinHandle<String>>) {
    rig.origin.set(url, answer("old old", tag));
    let gate = hold(rig, late, url);
    let mut early = vec![asked(&rig.http(), url)];
    gate.reached().await;
    early.extend((0..3).map(|_| asked(&rig.http(), url)));
    rig.origin.set(url, answer("new new", tag));
    rig.origin.hold_no_more(url);
    (gate, early)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_late_answer_of_the_old_version_reaches_nobody_who_came_after_the_invalidation() {
    let rig = Rig::start().await;
    for late in [Late::Header, Late::Body] {
        for named in Named::ALL {
            let what = format!("{late:?}, {named:?}");
            let url = format!("/late/{late:?}/{named:?}?x=1");
            let tag = format!("late:{late:?}:{named:?}");
            let (gate, early) = old_fetch_under_way(&rig, late, &url, &tag).await;
            invalidate_everywhere(rig.calls(), named.request(&url, &tag)).await;
            // The old answer is still on its way: nobody waits for it.
            assert_eq!(rig.http().get(&url).await.text(), "new new", "{what}");
            gate.open();
            for early in early {
                let got = early.await.unwrap();
                assert!(
                    ["old old", "new new"].contains(&got.as_str()),
                    "{what}: {got}"
                );
            }
            for _ in 0..5 {
                assert_eq!(rig.http().get(&url).await.text(), "new new", "{what}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_late_answer_of_the_old_version_is_not_kept() {
    let rig = Rig::start().await;
    for late in [Late::Header, Late::Body] {
        for named in Named::ALL {
            let what = format!("{late:?}, {named:?}");
            let url = format!("/kept/{late:?}/{named:?}");
            let tag = format!("kept:{late:?}:{named:?}");
            let (gate, early) = old_fetch_under_way(&rig, late, &url, &tag).await;
            invalidate_everywhere(rig.calls(), named.request(&url, &tag)).await;
            // Nobody asks before it has arrived whole.
            gate.open();
            for early in early {
                early.await.unwrap();
            }
            assert_eq!(rig.http().get(&url).await.text(), "new new", "{what}");
        }
    }
}

fn softly(request: v1::InvalidateRequest) -> v1::InvalidateRequest {
    v1::InvalidateRequest {
        mode: v1::InvalidationMode::Soft.into(),
        ..request
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_late_answer_is_stale_after_a_soft_invalidation() {
    let rig = Rig::start().await;
    for late in [Late::Header, Late::Body] {
        for named in Named::ALL {
            let what = format!("{late:?}, {named:?}");
            let url = format!("/soft/{late:?}/{named:?}");
            let tag = format!("soft:{late:?}:{named:?}");
            let (gate, early) = old_fetch_under_way(&rig, late, &url, &tag).await;
            invalidate_everywhere(rig.calls(), softly(named.request(&url, &tag))).await;
            gate.open();
            for early in early {
                early.await.unwrap();
            }
            // Nothing allows a stale copy here, so there is nothing to serve meanwhile.
            assert_eq!(rig.http().get(&url).await.text(), "new new", "{what}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_soft_invalidation_the_stale_copy_is_served_while_it_is_refreshed_and_no_longer() {
    let rig = Rig::start().await;
    for named in Named::ALL {
        let url = format!("/stale/{named:?}");
        let tag = format!("stale:{named:?}");
        let stale_allowed =
            |body: &str| answer(body, &tag).cache("max-age=600, stale-while-revalidate=600");
        rig.origin.set(&url, stale_allowed("old"));
        cached(&rig.http(), &rig.origin, &url, "old").await;
        rig.origin.set(&url, stale_allowed("new"));
        let gate = rig.origin.hold_header(&url);
        invalidate_everywhere(rig.calls(), softly(named.request(&url, &tag))).await;
        // The origin does not answer, and yet there is an answer.
        assert_eq!(rig.http().get(&url).await.text(), "old", "{named:?}");
        gate.reached().await;
        gate.open();
        eventually("the new version is served", || async {
            let got = rig.http().get(&url).await.text();
            if got == "new" { Ok(()) } else { Err(got) }
        })
        .await;
        for _ in 0..5 {
            assert_eq!(rig.http().get(&url).await.text(), "new", "{named:?}");
        }
        rig.origin.hold_no_more(&url);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_confirmation_asked_for_before_the_invalidation_does_not_revive_the_copy() {
    let rig = Rig::start().await;
    for named in Named::ALL {
        let url = format!("/confirmed/{named:?}");
        let tag = format!("confirmed:{named:?}");
        // Fresh for no time, so that the next request asks whether it is still true.
        rig.origin
            .set(&url, answer("old", &tag).etag("one").cache("max-age=0"));
        assert_eq!(rig.http().get(&url).await.text(), "old");
        // The origin will confirm it for long.
        rig.origin.set(&url, answer("old", &tag).etag("one"));
        let gate = rig.origin.hold_header(&url);
        let early = asked(&rig.http(), &url);
        gate.reached().await;
        let question = rig.origin.asked(&url).pop().unwrap();
        assert_eq!(question.headers["if-none-match"], "\"one\"");
        rig.origin.set(&url, answer("new", &tag).etag("two"));
        rig.origin.hold_no_more(&url);
        invalidate_everywhere(rig.calls(), named.request(&url, &tag)).await;
        gate.open();
        early.await.unwrap();
        assert_eq!(rig.http().get(&url).await.text(), "new", "{named:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_begun_before_the_invalidation_does_not_replace_the_new_version() {
    let rig = Rig::start().await;
    for late in [Late::Header, Late::Body] {
        let url = format!("/refreshed/{late:?}");
        let tag = format!("refreshed:{late:?}");
        let refreshing = "max-age=0, stale-while-revalidate=600";
        rig.origin.set(&url, answer("old", &tag).cache(refreshing));
        assert_eq!(rig.http().get(&url).await.text(), "old");
        rig.origin.set(&url, answer("old", &tag));
        let gate = hold(&rig, late, &url);
        // Answered at once; the refresh waits at the gate.
        assert_eq!(rig.http().get(&url).await.text(), "old", "{late:?}");
        gate.reached().await;
        rig.origin.set(&url, answer("new", &tag));
        rig.origin.hold_no_more(&url);
        invalidate_everywhere(rig.calls(), of_tags(&[&tag])).await;
        assert_eq!(rig.http().get(&url).await.text(), "new", "{late:?}");
        gate.open();
        for _ in 0..20 {
            assert_eq!(rig.http().get(&url).await.text(), "new", "{late:?}");
        }
    }
}

fn push(url: &str, body: &'static str, tag: &str, read_as_of: String) -> v1::PutEntryRequest {
    v1::PutEntryRequest {
        site: SITE.to_owned(),
        entry: Some(v1::Entry {
            url: url.to_owned(),
            status: 200,
            body: body.into(),
            tags: vec![tag.to_owned()],
            ttl: Some(Duration::from_secs(600).try_into().unwrap()),
            ..v1::Entry::default()
        }),
        read_as_of,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_of_data_read_before_an_invalidation_is_refused() {
    let rig = Rig::start().await;
    let mut cache = rig.calls().cache();
    for (named, url) in [
        (Named::Url, "/push/url"),
        (Named::Tag, "/push/tag"),
        (Named::Wildcard, "/push/wildcard"),
    ] {
        let before = head(rig.calls()).await.cursor;
        invalidate(rig.calls(), named.request(url, "pushed:1")).await;
        let refused = cache.put_entry(push(url, "old", "pushed:1", before)).await;
        assert_eq!(refused.unwrap_err().code(), Code::Aborted, "{named:?}");
        assert_eq!(rig.http().get(url).await.status, 404, "{named:?}");
        let after = head(rig.calls()).await.cursor;
        cache
            .put_entry(push(url, "pushed", "pushed:1", after))
            .await
            .unwrap();
        rig.calls().settled(1).await;
        assert_eq!(rig.http().get(url).await.text(), "pushed", "{named:?}");
        // Once invalidated it is no longer served; the origin is asked again.
        rig.origin.set(url, answer("of the origin", "pushed:1"));
        invalidate_everywhere(rig.calls(), named.request(url, "pushed:1")).await;
        assert_eq!(
            rig.http().get(url).await.text(),
            "of the origin",
            "{named:?}"
        );
    }
}
