//! What an answer says of itself, and which room has made it.

use super::*;

#[tokio::test]
async fn every_answer_of_a_site_says_up_to_where_it_holds() {
    let edge = Edge::with_origin().await;
    edge.write(2, "*", Mode::Hard);
    let miss = edge.get("/a").await;
    let etag = miss.field("etag").to_owned();
    let head = edge.ask(Method::HEAD, "/a", &[]).await;
    let known = edge
        .ask(Method::GET, "/a", &[("if-none-match", &etag)])
        .await;
    let passed = edge.ask(Method::POST, "/a", &[]).await;
    let private = edge.get("/private").await;
    let only = [("cache-control", "only-if-cached")];
    let missing = edge.ask(Method::GET, "/other", &only).await;
    for (got, status) in [
        (miss, 200),
        (head, 200),
        (known, 304),
        (passed, 200),
        (private, 200),
        (missing, 504),
    ] {
        assert_eq!((got.status, got.revision()), (status, Some(2)), "{got:?}");
    }
    let edge = Edge::with_release();
    let page = edge.get("/").await;
    assert_eq!((page.body.as_str(), page.revision()), ("a page", Some(1)));
}

#[tokio::test]
async fn a_copy_that_a_soft_invalidation_has_hit_says_nothing_of_where_it_holds() {
    let edge = Edge::with_origin().await;
    assert_eq!(edge.get("/a").await.revision(), Some(1));
    edge.write(2, "item:1", Mode::Soft);
    let stale = edge.get("/a").await;
    assert_eq!((stale.body.as_str(), stale.revision()), ("1", None));
    loop {
        let got = edge.get("/a").await;
        if got.body == "2" {
            assert_eq!(got.revision(), Some(2));
            break;
        }
        assert_eq!(got.revision(), None);
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_cut_off_edge_claims_no_more_than_it_has_applied() {
    let edge = Edge::with_origin().await;
    edge.get("/a").await;
    edge.standing.revoke();
    edge.version.store(2, Ordering::SeqCst);
    let got = edge.get("/a").await;
    assert_eq!((got.body.as_str(), got.revision()), ("2", Some(1)));
}

/// Readers and a writer on real threads: the version of an answer is never older than
/// the revision that the answer names.
#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn no_answer_is_older_than_it_says() {
    const WRITES: u64 = 200;
    let edge = Arc::new(Edge::with_origin().await);
    let asked = Arc::new(AtomicU64::new(0));
    let readers: Vec<_> = (0..4)
        .map(|reader| {
            let (edge, asked) = (edge.clone(), asked.clone());
            tokio::spawn(async move {
                let (mut silent, mut said) = (0_u64, 0_u64);
                let target = ["/a", "/b"][reader % 2];
                while edge.version.load(Ordering::SeqCst) < WRITES {
                    let got = edge.get(target).await;
                    let version: u64 = got.body.parse().unwrap();
                    match got.revision() {
                        Some(revision) => {
                            assert!(version >= revision, "{version} at {revision}: {got:?}");
                            said += 1;
                        }
                        None => silent += 1,
                    }
                    asked.fetch_add(1, Ordering::SeqCst);
                    tokio::task::yield_now().await;
                }
                (silent, said)
            })
        })
        .collect();
    for number in 2..=WRITES {
        let mode = if number % 3 == 0 {
            Mode::Hard
        } else {
            Mode::Soft
        };
        let pattern = ["item:1", "*", "item:*"][(number % 3) as usize];
        edge.write(number, pattern, mode);
        let enough = asked.load(Ordering::SeqCst) + number % 9;
        let is_read = || readers.iter().all(|reader| !reader.is_finished());
        while asked.load(Ordering::SeqCst) < enough && is_read() {
            tokio::task::yield_now().await;
        }
    }
    let (mut silent, mut said) = (0, 0);
    for reader in readers {
        let (of_silent, of_said) = reader.await.unwrap();
        silent += of_silent;
        said += of_said;
    }
    assert!(silent > 0 && said > WRITES / 4, "{silent} {said}");
}

#[tokio::test]
async fn a_token_is_served_from_the_cache_only_if_this_edge_can_place_it() {
    let edge = Edge::with_origin().await;
    edge.get("/a").await;
    for (cursor, is_hit) in [(at(1, 1), true), (at(1, 2), false), (at(7, 1), false)] {
        let token = cursor.to_string();
        let fields = [("tidegate-min-revision", token.as_str())];
        let got = edge.ask(Method::GET, "/a", &fields).await;
        assert_eq!((got.status, got.is_hit()), (200, is_hit), "{token}");
    }
    let twice = [
        ("tidegate-min-revision", "x"),
        ("tidegate-min-revision", "y"),
    ];
    for fields in [&twice[..1], &twice] {
        let got = edge.ask(Method::GET, "/a", fields).await;
        assert_eq!(got.status, 400);
        assert!(got.body.contains("tidegate-min-revision"), "{}", got.body);
    }
    let behind = at(1, 9).to_string();
    let edge = Edge::with_release();
    let fields = [("tidegate-min-revision", behind.as_str())];
    // The page may be newer, or be there at all, in a release that this edge has not heard of.
    for target in ["/", "/missing"] {
        let page = edge.ask(Method::GET, target, &fields).await;
        let said = (page.status, page.field("retry-after"));
        assert_eq!(said, (503, "1"), "{target}");
    }
    // So it is for one of a history that this edge has not heard of, and not for one of a
    // history that is over here.
    let (newer, earlier) = (at(7, 1).to_string(), at(1, 9).to_string());
    let newer = [("tidegate-min-revision", newer.as_str())];
    assert_eq!(edge.ask(Method::GET, "/", &newer).await.status, 503);
    assert_eq!(edge.get("/").await.status, 200);
    edge.standing.raise_era();
    edge.standing.begin(at(7, 1));
    let earlier = [("tidegate-min-revision", earlier.as_str())];
    for fields in [&newer, &earlier] {
        let page = edge.ask(Method::GET, "/", fields).await;
        assert_eq!((page.status, page.body.as_str()), (200, "a page"));
    }
    let edge = Edge::with_release();
    let empty = Edge::with_nothing();
    assert_eq!(empty.get("/").await.status, 404);
    assert_eq!(empty.ask(Method::GET, "/", &fields).await.status, 503);
    let pushed = edge.ask(Method::GET, "/pushed", &fields).await;
    assert_eq!((pushed.status, pushed.body.as_str()), (200, "pushed"));
}

#[tokio::test]
async fn who_waits_for_a_position_is_answered_by_the_site_of_then() {
    let edge = Edge::with_origin().await;
    let options = FrontOptions {
        min_revision_wait: Duration::from_secs(20),
        trusted: TrustedProxies::default(),
    };
    let edge = edge.with_options(options);
    assert_eq!(edge.get("/a").await.body, "1");
    assert!(edge.get("/a").await.is_hit());
    let token = at(1, 4).to_string();
    let fields = [("tidegate-min-revision", token.as_str())];
    let asking = edge.ask(Method::GET, "/a", &fields);
    // Polled when it waits.
    let meanwhile = async {
        let site = edge.sites.by_name("dev").unwrap();
        edge.sites.remove(&site.name);
        let config = site.rules().config.clone();
        edge.sites.put(&site.name, config, at(1, 3));
        edge.write(4, "item:1", Mode::Hard);
    };
    let (got, ()) = tokio::join!(asking, meanwhile);
    assert_eq!((got.body.as_str(), got.is_hit()), ("4", false));
}

#[tokio::test]
async fn without_an_origin_an_entry_answers_what_the_release_does_not_hold() {
    let edge = Edge::with_release();
    let got = edge.get("/pushed").await;
    assert_eq!((got.status, got.body.as_str()), (200, "pushed"));
    assert!(edge.get("/pushed").await.is_hit());
    let head = edge.ask(Method::HEAD, "/pushed", &[]).await;
    assert_eq!((head.status, head.field("content-length")), (200, "6"));
    let missing = edge.get("/missing").await;
    assert_eq!(
        (missing.status, missing.body.as_str()),
        (404, "nothing of that name")
    );
    assert_eq!(edge.get("/").await.body, "a page");
    // A token of another history asks the control plane, which is all there is to ask.
    let other = at(7, 1).to_string();
    let fields = [("tidegate-min-revision", other.as_str())];
    let got = edge.ask(Method::GET, "/pushed", &fields).await;
    assert_eq!((got.body.as_str(), got.is_hit()), ("pushed", false));
}
