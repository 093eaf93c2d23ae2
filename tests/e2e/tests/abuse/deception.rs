//! URLs that look like something else: to the edge, to the origin, or to people.

use tidegate_e2e::raw::response;

use super::{Abused, is_hit};

#[tokio::test(flavor = "multi_thread")]
async fn what_the_origin_is_asked_for_is_what_the_answer_is_stored_under() {
    let rig = Abused::start().await;
    for (target, asked_for) in [
        ("/account/x.css", "/account/x.css"),
        ("/account;x.css", "/account;x.css"),
        ("/account%3Bx.css", "/account%3Bx.css"),
        ("/account%2fx.css", "/account%2Fx.css"),
        ("/account%2Fx.css", "/account%2Fx.css"),
        ("/static/../account", "/account"),
        ("/static/%2e%2e/account", "/account"),
        ("/static/%2E./account", "/account"),
        ("/static/.%2e/account", "/account"),
        ("/static/..%2faccount", "/static/..%2Faccount"),
        ("/static/%2e%2e%2faccount", "/static/..%2Faccount"),
        ("/static/%252e%252e/account", "/static/%252e%252e/account"),
        ("/static/%252E%252E/account", "/static/%252E%252E/account"),
        ("/static\\..\\account", "/static%5C..%5Caccount"),
        ("/static/%5c../account", "/static/%5C../account"),
        ("/static/..%5caccount", "/static/..%5Caccount"),
        ("/account%00.css", "/account%00.css"),
        ("/account%0a.css", "/account%0A.css"),
        ("/account%23x.css", "/account%23x.css"),
        ("/account#x.css", "/account"),
        ("/account%3fx.css", "/account%3Fx.css"),
        ("/account?x.css", "/account?x.css"),
        ("//account", "//account"),
        ("/./account", "/account"),
        ("/%61ccount", "/account"),
        ("/acc\u{f6}unt", "/acc%C3%B6unt"),
    ] {
        let first = rig.get(target, &[]).await;
        let mut asked = rig.origin.take();
        if first.word() == "400" {
            assert!(asked.is_empty(), "{target}: {asked:?}");
            continue;
        }
        let line = format!("GET {asked_for} HTTP/1.1");
        match asked.pop() {
            Some(asked) => assert_eq!(asked.line, line, "{target}"),
            // One that means the same was asked for before.
            None => assert!(is_hit(&first), "{target}: {first:?}"),
        }
        assert_eq!(
            first.text(),
            line,
            "{target}: an answer to another question"
        );
        // The normal form is the same resource, and nothing else is.
        let normal = rig.get(asked_for, &[]).await;
        assert!(is_hit(&normal), "{target}: {normal:?}");
        assert_eq!(normal.text(), line, "{target}");
        assert!(rig.origin.take().is_empty(), "{target}");
    }
    for target in ["/a%", "/a%2", "/a%zz", "/a%u0041"] {
        let answer = rig.get(target, &[]).await;
        assert_eq!(answer.word(), "400", "{target}: {answer:?}");
        assert!(rig.origin.take().is_empty(), "{target}");
    }
}

/// An origin that ignores what is behind `/account`, and says who is logged in.
#[tokio::test(flavor = "multi_thread")]
async fn a_page_for_one_visitor_is_not_stored_because_its_url_looks_static() {
    let rig = Abused::answering(|asked| {
        let who = asked.all("cookie").join("; ");
        let fields: &[(&str, &str)] = match asked.word() {
            word if word.contains("set") => {
                &[("cache-control", "max-age=600"), ("set-cookie", "sid=1")]
            }
            word if word.contains("private") => &[("cache-control", "private, max-age=600")],
            _ => &[("content-type", "text/html")],
        };
        response(fields, &format!("secret of <{who}>"))
    })
    .await;
    for target in [
        "/account/x.css",
        "/account/x.jpg",
        "/account;x.css",
        "/account/%2e%2e/account/x.js",
        "/private/x.css",
        "/set/x.css",
        "/account?x=.css",
    ] {
        let victim = rig.get(target, &["Cookie: sid=victim"]).await;
        assert!(victim.text().contains("victim"), "{target}");
        let other = rig.get(target, &[]).await;
        assert!(!is_hit(&other), "{target}: {other:?}");
        assert_eq!(other.text(), "secret of <>", "{target}");
    }
}

/// A site's own default is about what is the same for all.
#[tokio::test(flavor = "multi_thread")]
async fn a_default_lifetime_is_not_for_answers_to_a_cookie_or_a_password() {
    let rig = Abused::start_with(
        |asked| {
            let who = [asked.all("cookie"), asked.all("authorization")].concat();
            let fields = [("last-modified", "Mon, 01 Jan 2024 00:00:00 GMT")];
            response(&fields, &format!("secret of <{}>", who.join("; ")))
        },
        |launch| launch,
        |site| {
            site.cache = Some(tidegate_e2e::v1::CachePolicy {
                default_ttl: Some(prost_types::Duration {
                    seconds: 600,
                    nanos: 0,
                }),
                ..tidegate_e2e::v1::CachePolicy::default()
            });
        },
    )
    .await;
    for (target, line) in [
        ("/a.css", "Cookie: sid=victim"),
        ("/b.css", "Authorization: Basic dmljdGltOng="),
    ] {
        let victim = rig.get(target, &[line]).await;
        assert!(!victim.text().contains("<>"), "{target}");
        let other = rig.get(target, &[]).await;
        assert_eq!(other.text(), "secret of <>", "{target}");
        // Without either it is for all.
        let third = rig.get(target, &[]).await;
        assert!(is_hit(&third), "{target}: {third:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_to_a_password_are_stored_only_where_the_origin_says_so() {
    let rig = Abused::answering(|asked| {
        let caching = match asked.word() {
            "/public" => "public, max-age=600",
            _ => "max-age=600",
        };
        let who = asked.all("authorization").join("");
        response(&[("cache-control", caching)], &format!("<{who}>"))
    })
    .await;
    let key = "Authorization: Bearer one";
    for (target, text) in [("/a", "<>"), ("/public", "<Bearer one>")] {
        assert_eq!(rig.get(target, &[key]).await.text(), "<Bearer one>");
        assert_eq!(rig.get(target, &[]).await.text(), text, "{target}");
    }
}
