//! Hints: what is fetched ahead, and what is not.

use tidegate_proto::v1;

use super::control::eventually;
use super::rig::Rig;

const FRESH: (&str, &str) = ("cache-control", "max-age=600");

fn hint(url: &str) -> v1::event::Kind {
    v1::event::Kind::Preloaded(v1::Preloaded {
        urls: vec![url.to_owned()],
        ..v1::Preloaded::default()
    })
}

#[tokio::test]
async fn a_flood_of_hints_is_warmed_as_far_as_there_is_room_and_told_whole() {
    let (rig, stream) = Rig::serving().await;
    let hears = serde_json::json!({ "events": { "public_tags": ["*"] } });
    rig.configure(&stream, &rig.site_with(&hears)).await;
    let mut browser = rig.listen().await;
    let urls: Vec<_> = (0..20).map(|number| format!("/{number}")).collect();
    for url in &urls {
        rig.origin.set(url, &[FRESH], "warm");
    }
    let open = rig.origin.hold().await;
    rig.apply(&stream, urls.iter().map(|url| hint(url)).collect())
        .await;
    // Those that found no place are told first: nothing is fetched for them.
    let first = browser.hear_of("preload", 16).await;
    let asked = || urls.iter().filter(|url| rig.origin.asked(url) > 0).count();
    eventually("four are asked for", || asked() == 4).await;
    assert!(
        urls[..4]
            .iter()
            .all(|url| !first.contains(&format!("{url}\""))),
        "{first}"
    );
    let metrics = rig.metrics().await;
    assert!(
        metrics.contains("tidegate_edge_hints_dropped 16"),
        "{metrics}"
    );
    drop(open);
    browser.hear_of("preload", 4).await;
    assert_eq!(asked(), 4);
    for url in &urls[..4] {
        assert!(rig.get(url, &[]).await.is_hit(), "{url}");
    }
    // There is room again.
    rig.origin.set("/late", &[FRESH], "warm");
    rig.apply(&stream, vec![hint("/late")]).await;
    browser.hear_of("preload", 1).await;
    assert_eq!(rig.origin.asked("/late"), 1);
}
