//! Pages without a hole: validators, codings, methods, and where a path leads.

use super::*;

#[tokio::test]
async fn a_page_goes_out_with_validators_and_links() {
    let fixture = fixture().await;
    let response = fixture.get("/", &[]).await;
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(field(&response, LAST_MODIFIED), ACTIVATED_DATE);
    assert_eq!(field(&response, CACHE_CONTROL), "no-cache");
    assert_eq!(field(&response, VARY), "accept-encoding");
    assert_eq!(
        field(&response, "link"),
        "</app.css>; rel=preload; as=style"
    );
    assert!(field(&response, ETAG).starts_with('"'));
    assert_eq!(text(response).await, "plain");
}

#[tokio::test]
async fn each_coding_is_a_representation_of_its_own() {
    let fixture = fixture().await;
    let identity = fixture.get("/", &[]).await;
    let gzip = fixture.get("/", &[("accept-encoding", "gzip")]).await;
    assert_eq!(field(&gzip, CONTENT_ENCODING), "gzip");
    assert_ne!(field(&gzip, ETAG), field(&identity, ETAG));
    assert_eq!(text(gzip).await, "gz");
}

#[tokio::test]
async fn a_304_repeats_the_validators_and_has_no_content() {
    let fixture = fixture().await;
    let etag = field(&fixture.get("/", &[]).await, ETAG).to_owned();
    for fields in [
        [(IF_NONE_MATCH.as_str(), etag.as_str())],
        [(IF_MODIFIED_SINCE.as_str(), ACTIVATED_DATE)],
    ] {
        let response = fixture.get("/", &fields).await;
        assert_eq!(response.status(), StatusCode::NOT_MODIFIED);
        assert_eq!(field(&response, ETAG), etag);
        assert_eq!(field(&response, LAST_MODIFIED), ACTIVATED_DATE);
        assert_eq!(field(&response, VARY), "accept-encoding");
        assert_eq!(text(response).await, "");
    }
    let both = [
        (IF_NONE_MATCH.as_str(), "\"x\""),
        (IF_MODIFIED_SINCE.as_str(), ACTIVATED_DATE),
    ];
    assert_eq!(fixture.get("/", &both).await.status(), StatusCode::OK);
}

#[tokio::test]
async fn head_has_the_fields_of_get_and_no_body() {
    let fixture = fixture().await;
    let get = fixture
        .get("/", &[(ACCEPT_ENCODING.as_str(), "gzip")])
        .await;
    let head = fixture
        .ask(
            Method::HEAD,
            "/",
            &[(ACCEPT_ENCODING.as_str(), "gzip")],
            None,
        )
        .await
        .unwrap();
    assert_eq!(head.headers(), get.headers());
    assert_eq!(field(&head, CONTENT_LENGTH), "2");
    assert_eq!(text(head).await, "");
}

#[tokio::test]
async fn what_the_release_does_not_hold_is_the_origins() {
    let fixture = fixture().await;
    let origin = Origin::default();
    assert!(
        fixture
            .ask(Method::GET, "/api", &[], Some(&origin))
            .await
            .is_none()
    );
    assert!(
        fixture
            .ask(Method::POST, "/", &[], Some(&origin))
            .await
            .is_none()
    );
    let missing = fixture.get("/api", &[]).await;
    assert_eq!(missing.status(), StatusCode::NOT_FOUND);
    assert_eq!(text(missing).await, "nothing");
    let post = fixture.ask(Method::POST, "/", &[], None).await.unwrap();
    assert_eq!(post.status(), StatusCode::METHOD_NOT_ALLOWED);
}

#[tokio::test]
async fn a_folder_without_its_slash_leads_to_the_folder() {
    let fixture = fixture().await;
    for (url, location) in [
        ("/live?a=b", "/live/?a=b"),
        ("/live/index.html", "/live/"),
        ("/index.html", "/"),
        ("//live", ""),
    ] {
        let response = fixture.get(url, &[]).await;
        assert_eq!(field(&response, LOCATION), location, "{url}");
    }
}
