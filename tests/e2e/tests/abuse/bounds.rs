//! Much of what there may be a little of.

use std::fmt::Write as _;

use tidegate_e2e::raw::{Message, connect, read_until_over, response, responses};
use tokio::io::AsyncWriteExt as _;

use super::{Abused, is_hit};
use crate::support::SITE;

#[tokio::test(flavor = "multi_thread")]
async fn a_response_that_varies_without_end_has_a_bounded_number_of_variants() {
    let rig = Abused::answering(|asked| {
        let fields = [("cache-control", "max-age=600"), ("vary", "X-Any")];
        response(&fields, &asked.all("x-any").join(""))
    })
    .await;
    for index in 0..100 {
        let answer = rig.get("/a", &[&format!("X-Any: {index}")]).await;
        assert_eq!(answer.text(), index.to_string());
    }
    let words = ["explain", "--site", SITE, "/a", "--header", "x-any: 99"];
    let said = rig.control.calls().cli().json(words).await;
    let answer = &said["edges"][0]["answer"];
    assert_eq!(answer["verdict"], "HIT", "{said}");
    assert_eq!(answer["variants"], 16, "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_response_with_too_many_or_too_long_tags_is_passed_and_not_stored() {
    let rig = Abused::answering(|asked| {
        let tags = match asked.word() {
            "/many" => (0..65)
                .map(|n| format!("t:{n}"))
                .collect::<Vec<_>>()
                .join(","),
            "/long" => "x".repeat(257),
            "/reserved" => "url:/other".to_owned(),
            "/star" => "item:*".to_owned(),
            _ => (0..64)
                .map(|n| format!("t:{n}"))
                .collect::<Vec<_>>()
                .join(","),
        };
        response(
            &[("cache-control", "max-age=600"), ("cache-tag", &tags)],
            "x",
        )
    })
    .await;
    for (target, is_stored) in [
        ("/most", true),
        ("/many", false),
        ("/long", false),
        ("/reserved", false),
        ("/star", false),
    ] {
        assert_eq!(rig.get(target, &[]).await.word(), "200", "{target}");
        let second = rig.get(target, &[]).await;
        assert_eq!(is_hit(&second), is_stored, "{target}: {second:?}");
        assert!(second.all("cache-tag").is_empty(), "{target}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_ranges_cost_no_more_than_the_whole() {
    let body = "0123456789".repeat(10_000);
    let whole = body.len();
    let rig = Abused::answering(move |_| {
        response(
            &[("cache-control", "max-age=600"), ("etag", "\"1\"")],
            &body,
        )
    })
    .await;
    rig.get("/a", &[]).await;
    let mut overlapping = String::from("Range: bytes=0-");
    let mut apart = String::from("Range: bytes=0-0");
    for index in 1..1_300 {
        let _ = write!(overlapping, ",5-{index}");
        let _ = write!(apart, ",{0}-{0}", index * 3);
    }
    for line in [&overlapping, &apart] {
        let answer = rig.get("/a", &[line]).await;
        assert!(is_hit(&answer), "{answer:?}");
        assert!(matches!(answer.word(), "200" | "206"), "{}", answer.line);
        assert!(answer.body.len() <= whole, "{}", answer.body.len());
    }
    // 32 are served.
    let few: Vec<_> = (0..32).map(|n| format!("{0}-{0}", n * 3)).collect();
    let answer = rig
        .get("/a", &[&format!("Range: bytes={}", few.join(","))])
        .await;
    assert_eq!(answer.word(), "206");
    // What is not here yet is asked for, and is no way to make the origin send more.
    let answer = rig.get("/b", &[&apart]).await;
    assert!(answer.body.len() <= whole);
    rig.origin.take();
    rig.still_serves().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn long_lists_of_conditions_are_read_once_and_answered() {
    let rig = Abused::answering(|_| {
        response(
            &[("cache-control", "max-age=600"), ("etag", "\"last\"")],
            "x",
        )
    })
    .await;
    rig.get("/a", &[]).await;
    let many: Vec<_> = (0..3_000).map(|n| format!("\"{n}\"")).collect();
    let many = many.join(",");
    for (line, status) in [
        (format!("If-None-Match: {many}"), "200"),
        (format!("If-None-Match: {many},\"last\""), "304"),
        (format!("If-None-Match: {}", "\"".repeat(20_000)), "200"),
        (format!("If-None-Match: {}", ",".repeat(20_000)), "200"),
        (
            "If-Modified-Since: Mon, 01 Jan 99999 00:00:00 GMT".to_owned(),
            "200",
        ),
        (
            format!("Cache-Control: {}", "no-cache=\"".repeat(2_000)),
            "200",
        ),
        (
            format!("Accept-Encoding: {}", "a;q=0.1,".repeat(2_000)),
            "200",
        ),
    ] {
        let answer = rig.get("/a", &[&line]).await;
        assert_eq!(answer.word(), status, "{line:.40}");
    }
    rig.origin.take();
    rig.still_serves().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_much_of_a_head_is_refused() {
    let rig = Abused::start().await;
    let mut many = String::new();
    for index in 0..101 {
        let _ = write!(many, "X-{index}: y\r\n");
    }
    let of = |rest: &str| format!("GET {rest}\r\nHost: shop.example\r\nConnection: close\r\n");
    for (what, bytes, status) in [
        ("fields", format!("{}{many}\r\n", of("/a HTTP/1.1")), "431"),
        (
            "field",
            format!("{}X: {}\r\n\r\n", of("/a HTTP/1.1"), "x".repeat(33 << 10)),
            "431",
        ),
        (
            "target",
            format!("{}\r\n", of(&format!("/{} HTTP/1.1", "x".repeat(8 << 10)))),
            "414",
        ),
        (
            "method",
            format!(
                "{} /a HTTP/1.1\r\nHost: shop.example\r\n\r\n",
                "X".repeat(33 << 10)
            ),
            "431",
        ),
    ] {
        let answers = rig.send(bytes).await;
        assert_eq!(answers[0].word(), status, "{what}: {answers:?}");
    }
    assert!(rig.origin.take().is_empty());
    rig.still_serves().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_parameters_of_a_query_are_one_request_among_others() {
    let rig = Abused::start_with(
        |asked| response(&[("cache-control", "max-age=600")], asked.word()),
        |launch| launch,
        |site| {
            site.key = Some(tidegate_e2e::v1::KeyPolicy {
                query_sort: true,
                ..tidegate_e2e::v1::KeyPolicy::default()
            });
        },
    )
    .await;
    let query = |names: &mut dyn Iterator<Item = u32>| {
        let pairs: Vec<_> = names.map(|n| format!("{n:03}")).collect();
        format!("/a?{}", pairs.join("&"))
    };
    let there = query(&mut (0..2_000).map(|n| n % 1_000));
    let back = query(&mut (0..2_000).rev().map(|n| n % 1_000));
    let first = rig.get(&there, &[]).await;
    assert_eq!(first.word(), "200");
    let second = rig.get(&back, &[]).await;
    assert!(is_hit(&second), "{}", second.line);
    assert_eq!(rig.origin.take().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_origin_sends_beyond_all_bounds_is_an_error_and_not_stored() {
    let rig = Abused::answering(|asked| {
        let line = "X-Y: z\r\n";
        match asked.word() {
            "/fields" => format!("HTTP/1.1 200 OK\r\n{}\r\n", line.repeat(500)).into_bytes(),
            "/field" => format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "x".repeat(400 << 10)).into_bytes(),
            "/lengths" => b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxy".to_vec(),
            "/same" => b"HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\nContent-Length: 2\r\n\r\nxy".to_vec(),
            "/split" => b"HTTP/1.1 200 OK\r\nCache-Control: max-age=600\r\nX: a\nSet-Cookie: a=b\r\nContent-Length: 1\r\n\r\nx".to_vec(),
            "/return" => b"HTTP/1.1 200 OK\r\nX: a\rSet-Cookie: a=b\r\nContent-Length: 1\r\n\r\nx".to_vec(),
            "/short" => b"HTTP/1.1 200 OK\r\nCache-Control: max-age=600\r\nContent-Length: 9\r\nConnection: close\r\n\r\nx".to_vec(),
            "/garbage" => vec![b'x'; 100_000],
            _ => response(&[], "x"),
        }
    })
    .await;
    for target in ["/fields", "/field", "/lengths", "/garbage"] {
        let answer = rig.get(target, &[]).await;
        assert_eq!(answer.word(), "502", "{target}: {answer:?}");
    }
    let answer = rig.get("/same", &[]).await;
    assert_eq!(answer.all("content-length"), ["2"], "{answer:?}");
    let answer = rig.get("/return", &[]).await;
    assert_eq!(answer.word(), "502", "{answer:?}");
    // What one visitor is told stays with that one, wherever the line before it ends.
    for _ in 0..2 {
        let answer = rig.get("/split", &[]).await;
        assert_eq!(answer.all("set-cookie"), ["a=b"], "{answer:?}");
        assert!(!is_hit(&answer), "{answer:?}");
    }
    // What is cut short is cut short for the client too, and asked for again.
    for _ in 0..2 {
        rig.origin.take();
        let short = "GET /short HTTP/1.1\r\nHost: shop.example\r\nConnection: close\r\n\r\n";
        let mut stream = connect(&rig.address()).await;
        stream.write_all(short.as_bytes()).await.unwrap();
        let (answers, end) = read_until_over(&mut stream).await;
        let answers = responses(&answers);
        let is_cut = |answer: &Message| answer.line == "malformed";
        assert!(answers.iter().all(is_cut) && end.is_err(), "{answers:?}");
        rig.was_asked(&["GET /short HTTP/1.1"]);
    }
    rig.still_serves().await;
}
