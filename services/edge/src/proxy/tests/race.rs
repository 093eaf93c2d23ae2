//! Readers, a writer and an origin on real threads. What is checked is what a user
//! would see: nobody gets a version older than one whose invalidation was complete when
//! the request arrived.

use std::sync::atomic::{AtomicU64, Ordering};

use http_body_util::Full;

use super::*;

const WRITES: u64 = 600;
const READERS: u64 = 6;

/// Answers with the version there is, and knows it again by its entity tag.
async fn versioned_origin(version: Arc<AtomicU64>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let version = version.clone();
            let service = service_fn(move |request: Request<Incoming>| {
                let now = version.load(Ordering::SeqCst);
                async move {
                    // The answer is made, and takes its time.
                    for _ in 0..now % 7 {
                        tokio::task::yield_now().await;
                    }
                    let etag = format!("\"{now}\"");
                    let is_known = request
                        .headers()
                        .get("if-none-match")
                        .is_some_and(|known| *known == *etag);
                    let body = if is_known {
                        String::new()
                    } else {
                        now.to_string()
                    };
                    let mut response = Response::new(Full::new(Bytes::from(body)));
                    if is_known {
                        *response.status_mut() = StatusCode::NOT_MODIFIED;
                    }
                    let fields = response.headers_mut();
                    fields.insert("etag", etag.parse().unwrap());
                    fields.insert("cache-control", "max-age=600".parse().unwrap());
                    fields.insert("cache-tag", "item:1".parse().unwrap());
                    Ok::<_, std::convert::Infallible>(response)
                }
            });
            tokio::spawn(
                hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service),
            );
        }
    });
    address
}

/// Asks again and again until the writer is done; returns how often it hit.
async fn read(
    site: Arc<ProxySite>,
    standing: Arc<Standing>,
    complete: Arc<AtomicU64>,
    reads: Arc<AtomicU64>,
    reader: u64,
) -> u64 {
    let url = PathAndQuery::parse(["/a", "/b"][(reader % 2) as usize]).unwrap();
    let mut hits = 0;
    loop {
        let at_least = complete.load(Ordering::SeqCst);
        let visit = visit(&url, standing.now());
        let response = site.handle(get(url.as_str(), &[]), visit).await;
        assert_eq!(response.status(), StatusCode::OK);
        let status = response.headers()["cache-status"].clone();
        hits += u64::from(status == "tidegate; hit");
        let body = response.into_body().collect().await.unwrap().to_bytes();
        let got: u64 = std::str::from_utf8(&body).unwrap().parse().unwrap();
        assert!(
            got >= at_least,
            "version {got} after {at_least} ({status:?})"
        );
        reads.fetch_add(1, Ordering::SeqCst);
        if at_least >= WRITES {
            return hits;
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn nobody_gets_what_was_invalidated_before_it_asked() {
    let version = Arc::new(AtomicU64::new(0));
    let address = versioned_origin(version.clone()).await;
    let mut world = World::new().await;
    world
        .site
        .replace_config(config(&[address], |_| {}), Revision(2));
    world.advance();
    let complete = Arc::new(AtomicU64::new(0));
    let reads = Arc::new(AtomicU64::new(0));
    let readers: Vec<_> = (0..READERS)
        .map(|n| {
            let (site, standing) = (world.site.clone(), world.standing.clone());
            tokio::spawn(read(site, standing, complete.clone(), reads.clone(), n))
        })
        .collect();
    let patterns = ["item:1", "item:*", "*", "host:www.example.com"];
    for written in 1..=WRITES {
        version.store(written, Ordering::SeqCst);
        match written % 50 {
            // A reset: the history that follows counts its revisions anew.
            0 => {
                world.standing.raise_era();
                (world.epoch, world.revision) = (world.epoch + 1, 0);
                world.advance();
                world.grant();
            }
            // The lease is lost; it is given again once all is applied.
            25 => {
                world.standing.revoke();
                complete.store(written, Ordering::SeqCst);
                tokio::task::yield_now().await;
                world.invalidate("*", Mode::Hard);
                world.grant();
            }
            n => {
                let mode = if n % 3 == 0 { Mode::Soft } else { Mode::Hard };
                world.invalidate(patterns[(n % 4) as usize], mode);
            }
        }
        complete.store(written, Ordering::SeqCst);
        // Some readers are in the midst of it, some find what was stored.
        let enough = reads.load(Ordering::SeqCst) + written % 17;
        let reading = || readers.iter().any(|reader| !reader.is_finished());
        while reads.load(Ordering::SeqCst) < enough && reading() {
            tokio::task::yield_now().await;
        }
    }
    let mut hits = 0;
    for reader in readers {
        hits += patiently(reader).await.unwrap();
    }
    assert!(hits > WRITES, "{hits} hits are too few to show something");
}
