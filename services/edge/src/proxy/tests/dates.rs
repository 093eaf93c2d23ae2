//! `Date` of what the origin does not date, or not as it should (RFC 9110, section 6.6.1).

use super::*;

const PLACE: (&str, &str) = ("content-range", "bytes 0-1/4");

#[tokio::test]
async fn what_has_no_date_gets_that_of_its_receipt_and_keeps_it() {
    let said = [
        &[][..],
        &[("date", "foo")],
        &[("date", "")],
        // Both can be read, and which one is meant is not known.
        &[
            ("date", "Tue, 14 Nov 2023 22:13:20 GMT"),
            ("date", "Tue, 14 Nov 2023 22:13:21 GMT"),
        ],
    ];
    let one = |got: &Got| {
        let dates: Vec<_> = got.fields.get_all("date").iter().collect();
        let [date] = dates[..] else {
            panic!("not one date: {got:?}");
        };
        date.to_str().unwrap().to_owned()
    };
    for dates in said {
        let mut world = World::new().await;
        world.clock.advance(Duration::from_secs(77));
        let received = httpdate::fmt_http_date(world.clock.wall());
        let with = |more| [&[FRESH, more], dates].concat();
        let got = world.fetched(get("/a", &[]), &with(ETAG), "body").await;
        assert_eq!(one(&got), received, "{dates:?}");
        let waiting = world.begin(get("/part", &[("range", "bytes=0-1")])).await;
        let asked = world.origin.next().await;
        asked.answer(206, &[&with(ETAG)[..], &[PLACE]].concat(), "bo");
        let got = done(waiting).await;
        assert_eq!(
            (got.status, one(&got)),
            (206, received.clone()),
            "{dates:?}"
        );
        let post = request(Method::POST, "/post", &[], Body::full("x"));
        let stands_for = ("content-location", "/post");
        let got = world.fetched(post, &with(stands_for), "post").await;
        assert_eq!(one(&got), received, "{dates:?}");

        world.clock.advance(Duration::from_secs(5));
        for (target, range) in [("/a", None), ("/part", Some("bytes=0-1")), ("/post", None)] {
            let fields: Vec<_> = range.map(|range| ("range", range)).into_iter().collect();
            let got = done(world.begin(get(target, &fields)).await).await;
            assert!(got.is_hit() && world.origin.is_idle(), "{target}: {got:?}");
            assert_eq!(one(&got), received, "{target} {dates:?}");
            assert_eq!(got.field("age"), "5", "{target} {dates:?}");
        }
        // Of what the origin confirms, that of when it did.
        let confirmed = httpdate::fmt_http_date(world.clock.wall());
        let waiting = world
            .begin(get("/a", &[("cache-control", "no-cache")]))
            .await;
        world.origin.next().await.answer(304, &with(ETAG), "");
        for got in [done(waiting).await, world.cached("/a").await] {
            assert_eq!(one(&got), confirmed, "{dates:?}");
        }
    }
}

#[tokio::test]
async fn a_date_of_the_origin_is_kept() {
    let mut world = World::new().await;
    let date = ("date", "Tue, 14 Nov 2023 22:29:00 GMT");
    let first = world.fetched(get("/a", &[]), &[FRESH, date], "body").await;
    for got in [first, world.cached("/a").await] {
        assert_eq!(got.field("date"), date.1);
    }
}
