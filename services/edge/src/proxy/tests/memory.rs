//! What stored responses take in memory is what they are taken to weigh.

use super::*;

/// What a test process takes by itself grows a little with every connection and clock tick.
const SMALL: usize = 12_000;

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
    assert_eq!(stats.responses as usize, count + before);
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
