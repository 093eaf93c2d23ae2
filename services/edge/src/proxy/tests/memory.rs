//! What stored responses take in memory is what they are taken to weigh.

use super::*;

/// What a test process takes by itself grows a little with every connection and clock tick.
const SMALL: usize = 5_000;

/// Resident memory of this process, in bytes. Each test is a process of its own.
fn resident() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages = statm.split_whitespace().nth(1).unwrap();
    pages.parse::<u64>().unwrap() * rustix::param::page_size() as u64
}

fn leak(len: usize) -> &'static str {
    String::leak("x".repeat(len))
}

/// Fills with so many responses, and compares what they weigh with what the process has
/// grown by.
async fn grown_and_weighed(
    before: usize,
    count: usize,
    fields: &[(&str, &str)],
    body: &'static str,
) -> (u64, u64) {
    let mut world = World::new().await;
    // Buffers, tables and pools that are there once.
    for n in 0..before {
        world
            .fetched(get(&format!("/warm/{n}"), &[]), fields, body)
            .await;
    }
    let (taken, weight) = (resident(), world.site.shared.stats().bytes);
    for n in 0..count {
        let tag = format!("item:{n} all");
        let mut fields = fields.to_vec();
        fields.push(("cache-tag", &tag));
        let target = format!("/some/path/of/a/usual/length/{n}");
        world.fetched(get(&target, &[]), &fields, body).await;
    }
    let stats = world.site.shared.stats();
    assert_eq!(stats.responses, (count + before) as u64);
    (resident() - taken, stats.bytes - weight)
}

#[tokio::test]
async fn many_small_responses_weigh_what_they_take() {
    let fields = [
        FRESH,
        ETAG,
        ("content-type", "text/html"),
        ("server", "x"),
        ("x-own", "1"),
    ];
    let (grown, weighed) = grown_and_weighed(200, SMALL, &fields, leak(1_000)).await;
    assert!(
        grown <= weighed * 5 / 4 && grown >= weighed * 3 / 4,
        "{grown} is not {weighed}"
    );
}

#[tokio::test]
async fn a_few_large_responses_weigh_what_they_take() {
    let (grown, weighed) = grown_and_weighed(2, 20, &[FRESH], leak(2_500_000)).await;
    assert!(
        grown <= weighed * 5 / 4 && grown >= weighed * 3 / 4,
        "{grown} is not {weighed}"
    );
}

#[tokio::test]
async fn what_was_invalidated_gives_its_memory_back_without_a_request() {
    let mut world = World::new().await;
    let empty = world.site.shared.stats().bytes;
    for n in 0..300 {
        let tags = format!("all item:{n}");
        let fields = [FRESH, ("cache-tag", &*tags)];
        world
            .fetched(get(&format!("/{n}"), &[]), &fields, "body")
            .await;
    }
    let kept = [FRESH, ETAG, ("cache-tag", "all")];
    world
        .fetched(get("/can/be/asked/about", &[]), &kept, "body")
        .await;
    let full = world.site.shared.stats().bytes;
    let maintenance = AbortOnDrop(tokio::spawn(world.site.shared.clone().maintain()));
    tokio::task::yield_now().await;
    world.invalidate("all", Mode::Hard);
    let is_back = async {
        // Its own tags, those of its URL and its host, remain of what is kept.
        while world.site.shared.stats().responses > 1 || world.site.stats().tags > 3 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    patiently(is_back).await;
    let left = world.site.shared.stats().bytes;
    assert!(left - empty < (full - empty) / 100, "{empty} {full} {left}");
    drop(maintenance);
}
