//! Parts of pages (RFC 9110, section 14).

use super::*;
use http::header::{ACCEPT_RANGES, CONTENT_RANGE};

#[tokio::test]
async fn a_page_can_be_had_in_parts() {
    let fixture = fixture().await;
    let response = fixture.get("/", &[("range", "bytes=1-2")]).await;
    assert_eq!(response.status(), StatusCode::PARTIAL_CONTENT);
    assert_eq!(field(&response, CONTENT_RANGE), "bytes 1-2/5");
    assert_eq!(field(&response, CONTENT_LENGTH), "2");
    assert!(field(&response, ETAG).starts_with('"'));
    assert_eq!(text(response).await, "la");
    // Each coding is a representation of its own.
    let gzip = [("range", "bytes=1-"), ("accept-encoding", "gzip")];
    assert_eq!(text(fixture.get("/", &gzip).await).await, "z");
    for (range, status, body) in [
        ("bytes=-2", 206, "in"),
        ("bytes=4-9", 206, "n"),
        ("bytes=0-1,2-4", 206, "plain"),
        ("bytes=x", 200, "plain"),
        ("bytes=5-", 416, "There are no such bytes.\n"),
    ] {
        let response = fixture.get("/", &[("range", range)]).await;
        assert_eq!(response.status(), status, "{range}");
        assert_eq!(field(&response, ACCEPT_RANGES), "bytes");
        assert_eq!(text(response).await, body);
    }
    let none = fixture.get("/", &[("range", "bytes=5-")]).await;
    assert_eq!(field(&none, CONTENT_RANGE), "bytes */5");
}

#[tokio::test]
async fn parts_are_of_the_page_that_the_client_knows() {
    let fixture = fixture().await;
    let etag = field(&fixture.get("/", &[]).await, ETAG).to_owned();
    for (name, value, status) in [
        ("if-range", etag.as_str(), 206),
        ("if-range", "\"x\"", 200),
        ("if-range", ACTIVATED_DATE, 200),
        ("if-none-match", etag.as_str(), 304),
        ("if-match", "\"x\"", 412),
        ("if-match", etag.as_str(), 206),
    ] {
        let fields = [("range", "bytes=0-1"), (name, value)];
        let response = fixture.get("/", &fields).await;
        assert_eq!(response.status(), status, "{name}: {value}");
    }
}

#[tokio::test]
async fn what_is_large_is_read_from_where_the_part_begins() {
    let fixture = fixture().await;
    let bytes: Bytes = (0..=255_u8)
        .cycle()
        .take(2 << 20)
        .collect::<Vec<_>>()
        .into();
    let large = resource(fixture.source.add(bytes.clone()), Vec::new());
    fixture
        .activate(BTreeMap::from([("/".to_owned(), large)]))
        .await;
    let fields = [("range", "bytes=1000000-1200000")];
    let response = fixture.get("/", &fields).await;
    assert_eq!(response.status(), StatusCode::PARTIAL_CONTENT);
    assert_eq!(field(&response, CONTENT_LENGTH), "200001");
    let body = response.into_body().collect().await.unwrap().to_bytes();
    assert!(body == bytes[1_000_000..=1_200_000]);
}

#[tokio::test]
async fn a_page_with_a_hole_has_no_parts() {
    let fixture = fixture().await;
    let origin = Origin::answering(Response::new(Body::from("{}")));
    let fields = [("range", "bytes=0-1")];
    let response = fixture
        .ask(Method::GET, "/live/", &fields, Some(&origin))
        .await
        .unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(field(&response, ACCEPT_RANGES), "none");
}
