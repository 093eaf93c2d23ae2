//! An edge that stores more than memory holds: what is on disk is as good as what is in
//! memory, and falls by invalidations as that does.

use tidegate_e2e::{Answer, ControlPlane, Edge, Origin, eventually};

use crate::support::{HOST, LONG, invalidate_everywhere, of_tags, put_site, short_margin, site_of};

/// As many as are 64 MiB together.
const RESPONSES: usize = 1_024;
/// Bytes of each.
const BYTES: usize = 64 << 10;
/// Most that may have to be fetched again: a read may take too long, a write be dropped.
const FEW: usize = RESPONSES / 10;

fn url(number: usize) -> String {
    format!("/item/{number}")
}

/// No other response, and no other version, has the same bytes.
fn body(number: usize, version: &str) -> String {
    let line = format!("{number} {version}\n");
    line.repeat(BYTES / line.len())
}

fn set_all(origin: &Origin, version: &str) {
    for number in 0..RESPONSES {
        let answer = Answer::ok(body(number, version)).cache(LONG);
        origin.set(&url(number), answer.tags(&["item"]));
    }
}

fn asked(origin: &Origin) -> usize {
    (0..RESPONSES)
        .map(|number| origin.count(&url(number)))
        .sum()
}

/// A figure of an edge's disk.
async fn figure(edge: &Edge, name: &str) -> usize {
    let metrics = edge.admin().get("/metrics").await.text();
    let line = format!("tidegate_edge_disk_cache_{name} ");
    let value = metrics.lines().find_map(|it| it.strip_prefix(&line));
    value.unwrap().parse().unwrap()
}

async fn get_all(edge: &Edge, version: &str) {
    let http = edge.http(HOST);
    for number in 0..RESPONSES {
        let reply = http.get(&url(number)).await;
        assert_eq!(reply.status, 200, "{number}");
        assert!(reply.text() == body(number, version), "{number}: {version}");
        // No more than may wait to be written.
        if number % 128 == 0 {
            eventually("what left memory is on disk", || async {
                match figure(edge, "waiting_bytes").await {
                    0 => Ok(()),
                    waiting => Err(waiting),
                }
            })
            .await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_memory_has_no_room_for_comes_from_disk_unless_it_was_invalidated() {
    let origin = Origin::start().await;
    set_all(&origin, "old");
    let control = ControlPlane::start().await;
    put_site(control.calls(), site_of(&origin)).await;
    let folder = tempfile::tempdir().unwrap();
    let edge = Edge::start_with(control.calls(), "edge-a", |launch| {
        short_margin(launch)
            .flag("--cache-mib", "1")
            .flag("--disk-cache-dir", folder.path())
            .flag("--disk-cache-mib", "256")
    })
    .await;
    control.calls().settled(1).await;

    get_all(&edge, "old").await;
    assert_eq!(asked(&origin), RESPONSES);
    get_all(&edge, "old").await;
    let again = asked(&origin) - RESPONSES;
    assert!(again <= FEW, "{again} were fetched again");
    let hits = figure(&edge, "hits").await;
    assert!(hits >= RESPONSES - 2 * FEW, "{hits} came from disk");

    set_all(&origin, "new");
    invalidate_everywhere(control.calls(), of_tags(&["item"])).await;
    get_all(&edge, "new").await;
    // And those are stored as the old ones were.
    let before = asked(&origin);
    get_all(&edge, "new").await;
    let again = asked(&origin) - before;
    assert!(again <= FEW, "{again} were fetched again");
}
