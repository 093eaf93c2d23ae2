//! Which release is served, and when its blobs are fetched.

use super::*;

#[tokio::test(start_paused = true)]
async fn nothing_older_is_served_while_an_activated_release_is_missing() {
    let fixture = fixture().await;
    assert_eq!(fixture.get("/", &[]).await.status(), StatusCode::OK);
    let unknown = Digest::of(b"never uploaded");
    fixture.pages.activate(ActiveRelease {
        release: unknown,
        since: unknown,
    });
    let response = fixture.get("/", &[]).await;
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    fixture.pages.deactivate();
    assert!(fixture.ask(Method::GET, "/", &[], None).await.is_none());
}

#[tokio::test]
async fn a_client_that_knows_of_a_newer_release_is_not_given_the_old_one() {
    let fixture = fixture().await;
    let request = PageRequest {
        method: &Method::GET,
        headers: &HeaderMap::new(),
        url: &PathAndQuery::parse("/").unwrap(),
        site: &fixture.site,
        is_behind: true,
    };
    let response = fixture.pages.serve(request, None).await.unwrap();
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(field(&response, "retry-after"), "1");
    // What is no question to the release goes to the origin as ever.
    let post = PageRequest {
        method: &Method::POST,
        ..request
    };
    let origin = Origin::default();
    assert!(fixture.pages.serve(post, Some(&origin)).await.is_none());
}

#[tokio::test]
async fn the_active_release_is_kept_whole_even_if_nobody_asks_for_it() {
    let fixture = fixture().await;
    fixture.get("/", &[]).await;
    let blobs = || std::fs::read_dir(fixture._dir.path()).unwrap().count();
    // Manifest, table of times, and each blob of the three pages.
    while blobs() < 6 || fixture.pages.is_fetching() {
        tokio::task::yield_now().await;
        std::thread::yield_now();
    }
    fixture.source.0.lock().clear();
    assert_eq!(text(fixture.get("/404.html", &[]).await).await, "nothing");
}

#[tokio::test]
async fn a_published_release_is_fetched_ahead() {
    let fixture = fixture().await;
    let manifest = Manifest::new(
        BTreeMap::from([(
            "/".to_owned(),
            resource(fixture.source.add("new"), Vec::new()),
        )]),
        BTreeMap::new(),
    )
    .unwrap();
    let (release, _) = fixture.source.add(manifest.to_json());
    fixture.pages.prepare(release);
    while fixture.pages.prepared() != [release] {
        tokio::task::yield_now().await;
        std::thread::yield_now();
    }
    let (since, _) = fixture
        .source
        .add(SinceTable::next(None, &manifest, ACTIVATED).to_json());
    // Only the table of times is still to be fetched.
    fixture.source.0.lock().retain(|digest, _| *digest == since);
    fixture.pages.activate(ActiveRelease { release, since });
    assert_eq!(text(fixture.get("/", &[]).await).await, "new");
}
