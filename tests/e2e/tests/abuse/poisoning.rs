//! Fields that change an answer and are no part of what it is stored under.

use tidegate_e2e::raw::response;

use super::{Abused, is_hit, unmarked};

/// What origins and the servers before them are known to take for the word of a proxy.
const WORDS_OF_PROXIES: [&str; 24] = [
    "X-Forwarded-Host: evil.example",
    "X-Forwarded-Server: evil.example",
    "X-Forwarded-Proto: gopher",
    "X-Forwarded-Scheme: nothttps",
    "X-Forwarded-Port: 666",
    "X-Forwarded-Prefix: /evil",
    "X-Forwarded-Path: /evil",
    "X-Forwarded: for=evil",
    "Forwarded: host=evil.example;proto=gopher",
    "X-Host: evil.example",
    "X-Original-Host: evil.example",
    "X-HTTP-Host-Override: evil.example",
    "X-Original-URL: /evil",
    "X-Rewrite-URL: /evil",
    "X-Override-URL: /evil",
    "X-HTTP-Method-Override: DELETE",
    "X-HTTP-Method: DELETE",
    "X-Method-Override: DELETE",
    "X-Real-IP: 6.6.6.6",
    "True-Client-IP: 6.6.6.6",
    "Front-End-Https: on",
    "Proxy: http://evil.example/",
    "X_Forwarded_Host: evil.example",
    "Content_Length: 66",
];

#[tokio::test(flavor = "multi_thread")]
async fn no_field_that_only_a_proxy_may_say_reaches_the_origin() {
    // What it answers is made of all it was sent.
    let rig = Abused::answering(|asked| {
        let fields = asked.fields.iter();
        let mut said: Vec<_> = fields
            .map(|(name, value)| format!("{name}={}", unmarked(value)))
            .collect();
        said.sort();
        response(&[("cache-control", "max-age=600")], &said.join("\n"))
    })
    .await;
    let plain = rig.get("/plain", &[]).await.text();
    for (index, line) in WORDS_OF_PROXIES.iter().enumerate() {
        let target = format!("/{index}");
        for named in [
            "",
            "Connection: X-Forwarded-For, X-Forwarded-Host, Host, Via, Forwarded",
        ] {
            let lines: Vec<_> = [*line, named]
                .into_iter()
                .filter(|it| !it.is_empty())
                .collect();
            let target = format!("{target}{}", named.len());
            let poisoned = rig.get(&target, &lines).await;
            assert_eq!(poisoned.text(), plain, "{line}");
            let other = rig.get(&target, &[]).await;
            assert!(is_hit(&other), "{line}: {other:?}");
            assert_eq!(other.text(), plain, "{line}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_method_that_a_get_pretends_to_be_is_not_believed_and_a_post_may_say_it() {
    let rig = Abused::start().await;
    let line = "X-HTTP-Method-Override: PUT";
    rig.get("/a", &[line]).await;
    assert!(
        rig.origin.take()[0]
            .all("x-http-method-override")
            .is_empty()
    );
    let post = format!(
        "POST /a HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n{line}\r\n\r\n",
        crate::support::HOST
    );
    rig.send(post).await;
    assert_eq!(rig.origin.take()[0].all("x-http-method-override"), ["PUT"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_scheme_and_the_port_that_the_origin_is_told_are_parts_of_the_key() {
    let rig = Abused::start_with(
        |asked| {
            let said = [asked.all("x-forwarded-proto"), asked.all("host")].concat();
            response(&[("cache-control", "max-age=600")], &said.join(" "))
        },
        |launch| launch.flag("--trusted-proxy", "127.0.0.0/8"),
        |_| {},
    )
    .await;
    let host = crate::support::HOST;
    for _ in 0..2 {
        let plain = rig.get("/a", &[]).await;
        assert_eq!(plain.text(), format!("http {host}"));
        let of = ["X-Forwarded-For: 192.0.2.1", "X-Forwarded-Proto: https"];
        let secure = rig.get("/a", &of).await;
        assert_eq!(secure.text(), format!("https {host}"));
        let request = format!("GET /a HTTP/1.1\r\nHost: {host}:81\r\nConnection: close\r\n\r\n");
        assert_eq!(rig.send(request).await[0].text(), format!("http {host}:81"));
    }
    assert_eq!(rig.origin.take().len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_varies_with_what_the_edge_says_of_a_client_is_for_that_client() {
    let rig = Abused::answering(|asked| {
        let vary = match asked.word() {
            "/for" => "X-Forwarded-For",
            "/forwarded" => "forwarded",
            _ => "Via",
        };
        let fields = [("cache-control", "max-age=600"), ("vary", vary)];
        response(&fields, "for one")
    })
    .await;
    for target in ["/for", "/forwarded", "/via"] {
        rig.get(target, &[]).await;
        assert!(!is_hit(&rig.get(target, &[]).await), "{target}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_that_a_client_has_brought_about_is_not_what_others_get() {
    let rig = Abused::answering(|asked| match asked.all("x-breaks").is_empty() {
        true => response(&[("cache-control", "max-age=600")], "fine"),
        false => b"HTTP/1.1 400 Bad Request\r\ncontent-length: 3\r\n\r\nbad".to_vec(),
    })
    .await;
    let large = format!("X-Large: {}", "x".repeat(40 << 10));
    for (index, line) in ["X-Breaks: 1", &large, "Expect: 200-ok", "X-Breaks: \u{1}"]
        .iter()
        .enumerate()
    {
        let target = format!("/{index}");
        let own = rig.get(&target, &[line]).await;
        assert!(own.word().starts_with('4'), "{line:.20}: {own:?}");
        let other = rig.get(&target, &[]).await;
        assert_eq!(
            (other.word(), other.text()),
            ("200", "fine".to_owned()),
            "{line:.20}"
        );
    }
}

/// CVE-2020-8184, CVE-2020-7070 and their kin: a cookie whose name is read otherwise.
#[tokio::test(flavor = "multi_thread")]
async fn a_cookie_that_only_the_origin_takes_for_one_of_the_key_is_no_other_visitor_s() {
    let rig = Abused::start_with(
        |asked| {
            // Splits at commas, decodes names, and knows no case.
            let line = asked.all("cookie").join(";").to_lowercase();
            let line = line.replace("%61", "a").replace(',', ";");
            let pairs = line.split(';').map(str::trim);
            let plan = pairs.filter_map(|pair| pair.strip_prefix("plan=")).next();
            let fields = [("cache-control", "public, max-age=600")];
            response(&fields, plan.unwrap_or("none"))
        },
        |launch| launch,
        |site| {
            site.key = Some(tidegate_e2e::v1::KeyPolicy {
                cookies: vec!["plan".to_owned()],
                ..tidegate_e2e::v1::KeyPolicy::default()
            });
        },
    )
    .await;
    for (index, line) in ["pl%61n=evil", "PLAN=evil", "x=1,plan=evil"]
        .iter()
        .enumerate()
    {
        let target = format!("/{index}");
        let own = rig.get(&target, &[&format!("Cookie: {line}")]).await;
        assert_eq!(own.text(), "evil", "{line}");
        assert_eq!(rig.get(&target, &[]).await.text(), "none", "{line}");
        for _ in 0..2 {
            let other = rig.get(&target, &["Cookie: x=1; plan=gold"]).await;
            assert_eq!(other.text(), "gold", "{line}");
        }
    }
}
