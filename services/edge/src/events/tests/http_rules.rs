//! Methods, errors, caps and origins.

use http::Method;
use http_body_util::BodyExt;

use super::{Bench, call};
use crate::events::Limits;

async fn text(response: http::Response<crate::events::EventsBody>) -> String {
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[tokio::test]
async fn a_bad_parameter_is_named_with_what_is_allowed() {
    let bench = Bench::new();
    let many = vec!["interest=a"; 65].join("&");
    for (query, expected) in [
        (
            "interest=a&interest=b%20c",
            "interest[1]: \"b c\" is not allowed; allowed: 1 to 256 bytes",
        ),
        ("interest=", "interest[0]: \"\" is not allowed"),
        (
            "interest=%e9",
            "interest[0]: \"%e9\" is not allowed; allowed: percent-encoded UTF-8",
        ),
        ("interest=%4", "interest[0]: \"%4\" is not allowed"),
        (
            "detail=yes",
            "detail: \"yes\" is not allowed; allowed: \"0\" or \"1\"",
        ),
        (
            &many,
            "interest: \"a\" is not allowed; allowed: at most 64 interests",
        ),
    ] {
        let response = bench.get(query, &[]).await;
        assert_eq!(response.status(), 400, "{query}");
        assert_eq!(response.headers()["cache-control"], "no-store");
        let text = text(response).await;
        assert!(text.starts_with(expected), "{text}");
    }
    assert_eq!(bench.site.connections(), 0);
    assert_eq!(bench.get("x=%zz&interest=a", &[]).await.status(), 200);
}

#[tokio::test]
async fn head_has_the_fields_alone_and_other_methods_are_refused() {
    let bench = Bench::new();
    let head = call(&bench.site, Method::HEAD, "", &[]).await;
    assert_eq!(head.status(), 200);
    assert_eq!(head.headers()["content-type"], "text/event-stream");
    assert_eq!(text(head).await, "");
    let post = call(&bench.site, Method::POST, "", &[]).await;
    assert_eq!(post.status(), 405);
    assert_eq!(post.headers()["allow"], "GET, HEAD, OPTIONS");
}

#[tokio::test]
async fn too_many_connections_are_refused_until_one_goes() {
    let bench = Bench::with(|c| c.max_connections_per_address = 2, Limits::default());
    let first = bench.listen("").await;
    let _second = bench.listen("interest=a").await;
    assert_eq!(bench.site.connections(), 2);
    let refused = bench.get("", &[]).await;
    assert_eq!(refused.status(), 503);
    let after: u32 = refused.headers()["retry-after"]
        .to_str()
        .unwrap()
        .parse()
        .unwrap();
    assert!((2..=10).contains(&after));
    drop(first);
    assert_eq!(bench.get("", &[]).await.status(), 200);
}

#[tokio::test]
async fn no_connections_may_be_allowed_at_all() {
    let bench = Bench::with(|c| c.max_connections = 0, Limits::default());
    assert_eq!(bench.get("", &[]).await.status(), 503);
}

#[tokio::test]
async fn allowed_origins_may_read_and_others_may_not() {
    let allow = |c: &mut tidegate_domain::site::EventsConfig| {
        c.allowed_origins = vec!["https://a.example".into()];
    };
    let bench = Bench::with(allow, Limits::default());
    let origin = "access-control-allow-origin";
    let good = bench.get("", &[("origin", "https://a.example")]).await;
    assert_eq!(good.headers()[origin], "https://a.example");
    assert_eq!(good.headers()["vary"], "origin");
    let bad = bench.get("", &[("origin", "https://b.example")]).await;
    assert_eq!(bad.status(), 200);
    assert!(!bad.headers().contains_key(origin));
    assert_eq!(bad.headers()["vary"], "origin");
    let error = bench
        .get("detail=2", &[("origin", "https://a.example")])
        .await;
    assert_eq!(error.headers()[origin], "https://a.example");

    let preflight = |from| call(&bench.site, Method::OPTIONS, "", from);
    let good = preflight(&[("origin", "https://a.example")]).await;
    assert_eq!(good.status(), 204);
    assert_eq!(good.headers()[origin], "https://a.example");
    assert_eq!(good.headers()["access-control-allow-methods"], "GET, HEAD");
    let bad = preflight(&[("origin", "https://b.example")]).await;
    assert!(
        !bad.headers()
            .keys()
            .any(|name| name.as_str().starts_with("access-control"))
    );
}

#[tokio::test]
async fn without_a_list_of_origins_none_may_read() {
    let bench = Bench::new();
    let response = bench.get("", &[("origin", "https://a.example")]).await;
    assert!(
        !response
            .headers()
            .contains_key("access-control-allow-origin")
    );
    assert!(!response.headers().contains_key("vary"));
}
