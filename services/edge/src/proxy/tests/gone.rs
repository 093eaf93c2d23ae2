//! Those who asked have gone: what becomes of the fetch.

use super::*;

/// By so much time is moved at once.
const STEP: Duration = Duration::from_millis(20);
const LEAVE: (&str, &str) = ("x-leave-after-head", "1");

/// What must not happen would have happened by then: two fetches that are cut were, one
/// after the other, and each began to wait for that later than what the test is about.
async fn longer_than_a_fetch_waits() {
    for _ in 0..2 {
        let mut witness = world(0).await;
        let body = left_in_the_midst(&mut witness, "01").await;
        tokio::time::pause();
        let cut = body.0.closed();
        let mut cut = std::pin::pin!(cut);
        let before = std::time::Instant::now();
        // Its reader has left by now, so that is more than enough.
        let mut waits = 2 * crate::proxy::flight::GONE_FOR;
        while cut.as_mut().now_or_never().is_none() {
            assert!(before.elapsed() < PATIENCE, "the witness was not cut");
            // Nobody is idle, so time stands still but for this.
            tokio::time::advance(waits.min(STEP)).await;
            waits = waits.saturating_sub(STEP);
        }
        tokio::time::resume();
    }
}

/// Waits until all fetches have come to their end.
async fn ended(world: &World) {
    let ending = async {
        while world.site.stats().in_flight > 0 {
            tokio::task::yield_now().await;
        }
    };
    patiently(ending).await;
}

async fn world(finish_fill_bytes: u64) -> World {
    World::with(|site| {
        site.origin.as_mut().unwrap().finish_fill_bytes = finish_fill_bytes;
    })
    .await
}

/// A client that leaves when it has the head of a response that is announced as ten bytes
/// long, and has got as far as this.
async fn left_in_the_midst(world: &mut World, sent: &'static str) -> BodySender {
    let leaving = world.begin(get("/a", &[LEAVE])).await;
    let fields = [FRESH, ("content-length", "10")];
    let body = world.origin.next().await.begin(200, &fields);
    done(leaving).await;
    body.send(sent).await;
    body
}

#[tokio::test]
async fn what_may_be_stored_is_read_to_its_end_by_default() {
    let mut world = World::new().await;
    let body = left_in_the_midst(&mut world, "01").await;
    longer_than_a_fetch_waits().await;
    body.send("23456789").await;
    drop(body);
    ended(&world).await;
    assert_eq!(world.cached("/a").await.body(), "0123456789");
}

#[tokio::test]
async fn a_fetch_that_nobody_reads_is_cut_where_the_site_wants_that() {
    let mut world = world(0).await;
    let body = left_in_the_midst(&mut world, "01").await;
    body.given_up().await;
    let got = world.fetched(get("/a", &[]), &[FRESH], "again").await;
    assert_eq!(got.body(), "again");
}

#[tokio::test]
async fn an_origin_that_sends_a_little_again_and_again_is_cut_all_the_same() {
    let mut world = world(0).await;
    let leaving = world.begin(get("/a", &[LEAVE])).await;
    let body = world.origin.next().await.begin(200, &[FRESH]);
    done(leaving).await;
    let dripping = async {
        let often = crate::proxy::flight::GONE_FOR / 20;
        while body.0.send(Ok(Frame::data(Bytes::from("x")))).await.is_ok() {
            tokio::time::sleep(often).await;
        }
    };
    patiently(dripping).await;
    let got = world.fetched(get("/a", &[]), &[FRESH], "again").await;
    assert_eq!(got.body(), "again");
}

#[tokio::test]
async fn it_is_read_on_if_little_is_left() {
    for (sent, goes_on) in [("012345", true), ("01234", false)] {
        let mut world = world(4).await;
        let body = left_in_the_midst(&mut world, sent).await;
        if goes_on {
            longer_than_a_fetch_waits().await;
            body.send(&b"0123456789"[sent.len()..]).await;
            drop(body);
            ended(&world).await;
            assert!(world.cached("/a").await.is_hit());
        } else {
            body.given_up().await;
        }
    }
}

#[tokio::test]
async fn it_goes_on_while_others_read_it() {
    let mut world = world(0).await;
    let first = world.begin(get("/a", &[LEAVE])).await;
    let second = world.get("/a").await;
    let body = world.origin.next().await.begin(200, &[FRESH]);
    done(first).await;
    body.send("one").await;
    longer_than_a_fetch_waits().await;
    body.send(" two").await;
    drop(body);
    assert_eq!(done(second).await.body(), "one two");
    assert!(world.cached("/a").await.is_hit());
}

#[tokio::test]
async fn a_fetch_without_a_head_is_taken_back_once_nobody_waits() {
    let mut world = world(0).await;
    let (first, second) = (world.get("/a").await, world.get("/a").await);
    let mut asked = world.origin.next().await;
    first.abort();
    longer_than_a_fetch_waits().await;
    assert!(!asked.reply.is_closed(), "another waits");
    second.abort();
    patiently(asked.reply.closed()).await;
    let got = world.fetched(get("/a", &[]), &[FRESH], "again").await;
    assert_eq!(got.body(), "again");
}

#[tokio::test]
async fn a_refresh_goes_on_though_nobody_waits_for_it() {
    let caching = [("cache-control", "max-age=1, stale-while-revalidate=600")];
    let mut world = world(0).await;
    world.fetched(get("/a", &[]), &caching, "one").await;
    world.clock.advance(Duration::from_secs(5));
    assert_eq!(done(world.get("/a").await).await.body(), "one");
    let asked = world.origin.next().await;
    longer_than_a_fetch_waits().await;
    let body = asked.begin(200, &[FRESH]);
    body.send("two").await;
    longer_than_a_fetch_waits().await;
    drop(body);
    ended(&world).await;
    assert_eq!(world.cached("/a").await.body(), "two");
}
