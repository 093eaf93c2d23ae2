//! After a reset everything is asked about, by conditional requests, and no faster than
//! the site allows.

use std::path::Path;

use tidegate_e2e::{Answer, ControlPlane, Edge, HttpClient, eventually};

use crate::support::{HOST, LONG, Rig, cached, invalidate_everywhere, of_tags};

/// What the site allows at a time.
const AT_ONCE: usize = 4;
/// Requests for each copy.
const EACH: usize = 3;

/// Stops the control plane, lets something be done with its data, and starts it again.
async fn offline(control: &mut ControlPlane, act: impl FnOnce(&Path)) {
    control.process().sigterm();
    control.process().ended().await;
    act(control.data());
    control.restart().await;
    control.calls().settled(1).await;
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

fn replace(data: &Path, by: &Path) {
    for entry in std::fs::read_dir(data).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            std::fs::remove_dir_all(path).unwrap();
        } else {
            std::fs::remove_file(path).unwrap();
        }
    }
    copy(by, data);
}

async fn figure(edge: &Edge, name: &str) -> usize {
    let text = edge.admin().get("/metrics").await.text();
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.map_or(0, |number| number.trim().parse().unwrap())
}

fn ask(http: &HttpClient, url: &str) -> tokio::task::JoinHandle<String> {
    let (http, url) = (http.clone(), url.to_owned());
    tokio::spawn(async move { http.get(&url).await.text() })
}

#[tokio::test(flavor = "multi_thread")]
async fn when_history_is_rolled_back_every_copy_is_asked_about_once_and_few_at_a_time() {
    let mut rig = Rig::start_with(
        |launch| launch,
        |config| {
            let origin = config.origin.as_mut().unwrap();
            origin.max_revalidations = u32::try_from(AT_ONCE).unwrap();
        },
    )
    .await;
    let urls: Vec<_> = (0..24).map(|n| format!("/copy/{n}")).collect();
    let answer = |body: &str| Answer::ok(body.to_owned()).cache(LONG).etag(body);
    for url in &urls {
        rig.origin.set(url, answer("old"));
        cached(&rig.http(), &rig.origin, url, "old").await;
    }
    // The history up to here is kept, goes on, and is put back.
    let kept = tempfile::tempdir().unwrap();
    offline(&mut rig.control, |data| copy(data, kept.path())).await;
    for _ in 0..3 {
        invalidate_everywhere(rig.calls(), of_tags(&["something:else"])).await;
    }
    for url in &urls {
        assert_eq!(rig.http().get(url).await.text(), "old", "{url}");
    }
    offline(&mut rig.control, |data| replace(data, kept.path())).await;
    // This one has changed, and what was said of that is lost with the history.
    rig.origin.set(&urls[7], answer("new"));
    let before: Vec<_> = urls.iter().map(|url| rig.origin.count(url)).collect();
    let gates: Vec<_> = urls.iter().map(|url| rig.origin.hold_header(url)).collect();
    rig.origin.most_in_flight();
    let http = rig.edge.http(HOST);
    let mut replies = Vec::new();
    for url in &urls {
        replies.extend((0..EACH).map(|_| (url, ask(&http, url))));
    }
    eventually("all but a few wait", || async {
        let waiting = figure(&rig.edge, "tidegate_edge_revalidations_waiting ").await;
        let asked = figure(&rig.edge, "tidegate_edge_revalidations_in_flight ").await;
        match (waiting, asked) == (urls.len() - AT_ONCE, AT_ONCE) {
            true => Ok(()),
            false => Err((waiting, asked)),
        }
    })
    .await;
    for gate in &gates {
        gate.open();
    }
    for (url, reply) in replies {
        let expected = if *url == urls[7] { "new" } else { "old" };
        assert_eq!(reply.await.unwrap(), expected, "{url}");
    }
    assert_eq!(rig.origin.most_in_flight(), AT_ONCE);
    for (url, before) in urls.iter().zip(before) {
        let asked = rig.origin.asked(url);
        assert_eq!(asked.len(), before + 1, "{url}");
        let question = &asked[before].headers;
        assert_eq!(question["if-none-match"], "\"old\"", "{url}");
    }
    let refused = figure(&rig.edge, "tidegate_edge_revalidations_refused ").await;
    assert_eq!(refused, 0);
}
