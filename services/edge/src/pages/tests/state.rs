//! Pages with a hole, and the state that fills it.

use super::*;

#[tokio::test]
async fn the_first_slice_does_not_wait_for_the_state() {
    let fixture = fixture().await;
    let origin = Origin::default();
    let response = fixture
        .ask(Method::GET, "/live/", &[], Some(&origin))
        .await
        .unwrap();
    assert_eq!(field(&response, CACHE_CONTROL), "no-store");
    assert_eq!(field(&response, ETAG), "");
    let mut chunks = response.into_body().into_data_stream();
    assert_eq!(chunks.next().await.unwrap().unwrap(), "<p>before");
    let (url, answer) = origin.0.lock().pop().unwrap();
    assert_eq!(url.as_str(), "/state/live/?of=/live/");
    answer
        .send(Response::new(Body::from("{\"a\":\"</script>\"}")))
        .unwrap();
    let script = chunks.next().await.unwrap().unwrap();
    assert_eq!(
        script,
        "<script type=\"application/json\" id=\"tidegate-state\">{\"a\":\"\\u003c/script\\u003e\"}</script>"
    );
    assert_eq!(chunks.next().await.unwrap().unwrap(), "after</p>");
    assert!(chunks.next().await.is_none());
}

#[tokio::test]
async fn a_page_whose_state_breaks_late_is_aborted() {
    let fixture = fixture().await;
    for broken in [
        Some((StatusCode::INTERNAL_SERVER_ERROR, "{}")),
        Some((StatusCode::OK, "{")),
        None,
    ] {
        let origin = Origin::default();
        let response = fixture
            .ask(Method::GET, "/live/", &[], Some(&origin))
            .await
            .unwrap();
        let mut chunks = response.into_body().into_data_stream();
        assert!(chunks.next().await.unwrap().is_ok());
        let (_, answer) = origin.0.lock().pop().unwrap();
        if let Some((status, body)) = broken {
            let mut response = Response::new(Body::from(body));
            *response.status_mut() = status;
            answer.send(response).unwrap();
        } else {
            drop(answer);
        }
        assert!(chunks.next().await.unwrap().is_err());
    }
}

#[tokio::test]
async fn an_early_failure_or_redirect_is_passed_on_unchanged() {
    let fixture = fixture().await;
    let mut login = Response::new(Body::from("log in"));
    *login.status_mut() = StatusCode::SEE_OTHER;
    login
        .headers_mut()
        .insert(LOCATION, "/login".parse().unwrap());
    let origin = Origin::answering(login);
    let response = fixture
        .ask(Method::GET, "/live/", &[], Some(&origin))
        .await
        .unwrap();
    assert_eq!(response.status(), StatusCode::SEE_OTHER);
    assert_eq!(field(&response, LOCATION), "/login");
    assert_eq!(text(response).await, "log in");
}

#[tokio::test]
async fn cookies_that_come_with_an_early_state_leave_with_the_page() {
    let fixture = fixture().await;
    let mut state = Response::new(Body::from("{}"));
    for cookie in ["a=1", "b=2; HttpOnly"] {
        state
            .headers_mut()
            .append("set-cookie", cookie.parse().unwrap());
    }
    let origin = Origin::answering(state);
    let page = fixture.ask(Method::GET, "/live/", &[], Some(&origin)).await;
    let page = page.unwrap();
    let cookies: Vec<_> = page.headers().get_all("set-cookie").iter().collect();
    assert_eq!(cookies, ["a=1", "b=2; HttpOnly"]);
    assert_eq!(field(&page, CACHE_CONTROL), "no-store");
    assert!(text(page).await.ends_with("after</p>"));
}

#[tokio::test]
async fn state_alone_is_json_that_nobody_keeps() {
    let fixture = fixture().await;
    for field_name in [
        ("x-app-state", "1"),
        ("service-worker-navigation-preload", "state"),
    ] {
        let mut state = Response::new(Body::from("{\"a\":1}"));
        state
            .headers_mut()
            .insert(CACHE_CONTROL, "max-age=60".parse().unwrap());
        let origin = Origin::answering(state);
        let response = fixture
            .ask(Method::GET, "/live/", &[field_name], Some(&origin))
            .await
            .unwrap();
        assert_eq!(field(&response, CACHE_CONTROL), "no-store");
        assert!(!field(&response, "tidegate-release").is_empty());
        assert_eq!(text(response).await, "{\"a\":1}");
    }
}

#[tokio::test]
async fn a_precache_gets_the_page_with_an_empty_hole() {
    let fixture = fixture().await;
    let origin = Origin::default();
    let precache = [("tidegate-precache", "1")];
    let response = fixture
        .ask(Method::GET, "/live/", &precache, Some(&origin))
        .await
        .unwrap();
    assert!(field(&response, VARY).contains("tidegate-precache"));
    let etag = field(&response, ETAG).to_owned();
    assert_eq!(text(response).await, "<p>beforeafter</p>");
    assert!(origin.0.lock().is_empty());
    let again = [
        ("tidegate-precache", "1"),
        (IF_NONE_MATCH.as_str(), etag.as_str()),
    ];
    let response = fixture
        .ask(Method::GET, "/live/", &again, Some(&origin))
        .await
        .unwrap();
    assert_eq!(response.status(), StatusCode::NOT_MODIFIED);
}
