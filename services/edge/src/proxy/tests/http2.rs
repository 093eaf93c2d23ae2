//! An origin that speaks HTTP/2: the promises are the same.

use h2::Reason;
use tidegate_domain::site::Protocol;

use super::*;

async fn world() -> World {
    World::with(|config| {
        let origin = config.origin.as_mut().unwrap();
        origin.upstreams[0].protocol = Protocol::Http2;
    })
    .await
}

#[tokio::test]
async fn a_body_that_is_reset_is_broken_for_all_and_never_stored_whatever_it_is_reset_with() {
    let mut world = world().await;
    let tagged = ("etag", "\"a\"");
    for reason in [Reason::NO_ERROR, Reason::CANCEL, Reason::INTERNAL_ERROR] {
        for fields in [
            vec![FRESH, tagged],
            vec![FRESH, tagged, ("content-length", "10")],
        ] {
            let waiting = [world.get("/a").await, world.get("/a").await];
            let body = world.origin.next().await.begin(200, &fields);
            body.send("half").await;
            body.break_off_by(h2::Error::from(reason)).await;
            for task in waiting {
                let got = done(task).await;
                assert!(got.body.is_err(), "{reason}, {fields:?}: {got:?}");
            }
        }
    }
    let got = world.fetched(get("/a", &[]), &[FRESH], "whole").await;
    assert_eq!(got.body(), "whole");
    assert!(world.cached("/a").await.is_hit());
}

#[tokio::test]
async fn one_that_is_not_stored_is_broken_for_its_client_as_well() {
    let mut world = world().await;
    let waiting = world.get("/a").await;
    let fields = [("cache-control", "private")];
    let body = world.origin.next().await.begin(200, &fields);
    body.send("half").await;
    body.break_off_by(h2::Error::from(Reason::NO_ERROR)).await;
    assert!(done(waiting).await.body.is_err());
}

#[tokio::test]
async fn those_who_wait_share_one_answer_and_its_trailers_go_no_further() {
    let mut world = world().await;
    let mut waiting = Vec::new();
    for _ in 0..10 {
        waiting.push(world.get("/a").await);
    }
    let body = world.origin.next().await.begin(200, &[FRESH]);
    body.send("who").await;
    body.send("le").await;
    let mut trailers = HeaderMap::new();
    trailers.insert("x-late", "1".parse().unwrap());
    body.0.send(Ok(Frame::trailers(trailers))).await.unwrap();
    drop(body);
    for task in waiting {
        let got = done(task).await;
        assert_eq!(got.body(), "whole");
        assert_eq!(got.field("x-late"), "");
    }
    assert!(world.origin.is_idle());
    assert_eq!(world.cached("/a").await.body(), "whole");
}

#[tokio::test]
async fn a_part_is_stored_and_completed() {
    let mut world = world().await;
    let tag = ("etag", "\"a\"");
    let first = [FRESH, tag, ("content-range", "bytes 0-1/5")];
    let part = world.begin(get("/a", &[("range", "bytes=0-1")])).await;
    world.origin.next().await.answer(206, &first, "wh");
    assert_eq!(done(part).await.body(), "wh");
    let whole = world.get("/a").await;
    let asked = world.origin.next().await;
    assert_eq!(asked.field("range"), Some("bytes=2-"));
    asked.answer(206, &[FRESH, tag, ("content-range", "bytes 2-4/5")], "ole");
    assert_eq!(done(whole).await.body(), "whole");
    assert_eq!(world.cached("/a").await.body(), "whole");
}
