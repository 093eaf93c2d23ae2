//! Commands as their callers meet them: against a server, and as a process.
#![expect(clippy::unwrap_used, reason = "a test fails where this panics")]

mod backup;
mod fake;
mod process;

use std::io::Write;
use std::path::Path;
use std::sync::{Arc, Mutex};

use clap::Parser as _;
use fake::Fake;
use tidegate_cli::args::{Cli, OutputFormat};
use tidegate_cli::failure::{Exit, Failure};
use tidegate_cli::output::Output;
use tidegate_domain::FieldError;
use tidegate_proto::v1;
use tokio_util::sync::CancellationToken;
use tonic::Status;

/// What a command wrote.
#[derive(Clone, Default)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl Write for Written {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Written {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }

    fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.text()).unwrap()
    }
}

/// Runs a command against the fake; gives how it ended and what it wrote.
async fn tidegate(fake: &Fake, words: &[&str]) -> (Result<Exit, Failure>, Written) {
    let control = format!("http://{}", fake.serve().await);
    let line = ["tidegate", "--output", "json", "--control", &control];
    let cli = Cli::try_parse_from(line.iter().chain(words)).unwrap();
    let written = Written::default();
    let mut output = Output::to(OutputFormat::Json, written.clone(), std::io::sink());
    let ended = tidegate_cli::execute(cli, &mut output, CancellationToken::new()).await;
    (ended, written)
}

fn site(dir: &Path) {
    std::fs::write(dir.join("index.html"), "<!doctype html><title>a</title>").unwrap();
    std::fs::write(dir.join("empty.txt"), "").unwrap();
    for n in 0..6_u8 {
        // Random enough not to be compressed, and more than one piece.
        let mut seed = u64::from(n) + 1;
        let bytes: Vec<u8> = std::iter::repeat_with(|| {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            seed.to_le_bytes()[0]
        })
        .take(300_000)
        .collect();
        std::fs::write(dir.join(format!("{n}.bin")), bytes).unwrap();
    }
}

async fn publish(fake: &Fake, dir: &Path) -> (Result<Exit, Failure>, Written) {
    let dir = dir.to_str().unwrap();
    tidegate(fake, &["site", "publish", dir, "--fast"]).await
}

#[tokio::test]
async fn a_site_is_published_and_an_unchanged_one_sends_nothing() {
    let (fake, dir) = (Fake::default(), tempfile::tempdir().unwrap());
    site(dir.path());
    let (ended, written) = publish(&fake, dir.path()).await;
    assert_eq!(ended.unwrap(), Exit::Done);
    let first = written.json();
    assert_eq!(first["blobs"], first["blobs_sent"]);
    assert_eq!(first["release"]["active"], true);
    assert_eq!(fake.script().streams.len(), 1);

    let (ended, written) = publish(&fake, dir.path()).await;
    assert_eq!(ended.unwrap(), Exit::Done);
    assert_eq!(written.json()["blobs_sent"], 0);
    assert_eq!(written.json()["release"]["id"], first["release"]["id"]);
    assert_eq!(fake.script().streams.len(), 1, "no stream was opened");
}

#[tokio::test]
async fn a_broken_upload_goes_on_with_what_is_missing() {
    let (fake, dir) = (Fake::default(), tempfile::tempdir().unwrap());
    site(dir.path());
    fake.script().breaks_after = vec![3, 1];
    let (ended, written) = publish(&fake, dir.path()).await;
    assert_eq!(ended.unwrap(), Exit::Done);
    let blobs = usize::try_from(written.json()["blobs"].as_u64().unwrap()).unwrap();
    // The fake refuses to take a blob twice.
    assert_eq!(fake.script().streams, [3, 1, blobs - 4]);
    assert_eq!(fake.script().held.len(), blobs);
}

#[tokio::test]
async fn an_upload_that_gets_nowhere_ends() {
    let (fake, dir) = (Fake::default(), tempfile::tempdir().unwrap());
    site(dir.path());
    fake.script().breaks_after = vec![0; 100];
    let (ended, written) = publish(&fake, dir.path()).await;
    let failure = ended.unwrap_err();
    assert_eq!(failure.code(), "UNAVAILABLE");
    assert!(failure.to_string().contains("breaks here"), "{failure}");
    assert_eq!(fake.script().streams.len(), 5);
    assert_eq!(written.text(), "");
}

#[tokio::test]
async fn a_folder_that_site_build_wrote_is_published_as_it_is() {
    let (fake, dir) = (Fake::default(), tempfile::tempdir().unwrap());
    let out = tempfile::tempdir().unwrap();
    site(dir.path());
    let (from, to) = (dir.path().to_str().unwrap(), out.path().to_str().unwrap());
    let (ended, built) = tidegate(&fake, &["site", "build", from, "--fast", "--out", to]).await;
    ended.unwrap();
    let (ended, published) = publish(&fake, out.path()).await;
    ended.unwrap();
    assert_eq!(published.json()["release"]["id"], built.json()["release"]);
}

#[tokio::test]
async fn a_folder_that_is_not_there_is_named() {
    let (ended, _) = publish(&Fake::default(), Path::new("/nonexistent/site")).await;
    let failure = ended.unwrap_err();
    assert_eq!(failure.exit(), Exit::Failed);
    assert!(
        failure.to_string().contains("/nonexistent/site"),
        "{failure}"
    );
}

#[tokio::test]
async fn an_activation_that_is_incomplete_has_an_exit_code_of_its_own() {
    let (fake, dir) = (Fake::default(), tempfile::tempdir().unwrap());
    site(dir.path());
    fake.script().activation = v1::ActivateReleaseResponse {
        changed: true,
        status: v1::CompletionStatus::Partial.into(),
        ..v1::ActivateReleaseResponse::default()
    };
    let (ended, _) = publish(&fake, dir.path()).await;
    assert_eq!(ended.unwrap(), Exit::Incomplete);
}

fn answer(status: v1::CompletionStatus) -> v1::InvalidateResponse {
    v1::InvalidateResponse {
        revision: 7,
        status: status.into(),
        ..v1::InvalidateResponse::default()
    }
}

#[tokio::test]
async fn an_invalidation_is_made_again_with_the_same_key_when_the_server_says_not_now() {
    let fake = Fake::default();
    fake.script().answers = [
        Err(Status::unavailable("draining")),
        Ok(answer(v1::CompletionStatus::Complete)),
    ]
    .into();
    let words = ["invalidate", "item:42", "--url", "/a", "--wait", "--soft"];
    let (ended, written) = tidegate(&fake, &words).await;
    assert_eq!(ended.unwrap(), Exit::Done);
    assert_eq!(written.json()["status"], "COMPLETE");
    let script = fake.script();
    let [first, second] = &script.invalidations[..] else {
        panic!("{:?}", script.invalidations);
    };
    assert_eq!(first, second);
    assert!(!first.idempotency_key.is_empty());
    assert_eq!(first.site, "dev");
    assert_eq!(first.tags, ["item:42"]);
    assert_eq!(first.urls, ["/a"]);
    assert_eq!(first.mode(), v1::InvalidationMode::Soft);
    assert_eq!(first.wait_for(), v1::WaitFor::AllEdges);
    assert_eq!(first.wait_timeout.unwrap().seconds, 15);
}

#[tokio::test]
async fn an_invalidation_that_is_incomplete_is_a_result_with_exit_code_3() {
    let fake = Fake::default();
    let partial = answer(v1::CompletionStatus::Partial);
    fake.script().answers = [Ok(partial)].into();
    let (ended, written) = tidegate(&fake, &["invalidate", "a", "--wait"]).await;
    assert_eq!(ended.unwrap().code(), 3);
    assert_eq!(written.json()["status"], "PARTIAL");
}

fn explained(answers: &[Option<v1::ExplainAnswer>]) -> v1::ExplainUrlResponse {
    let edges = answers.iter().map(|answer| v1::EdgeExplanation {
        edge_id: "e1".into(),
        instance_id: "i1".into(),
        answer: answer.clone(),
    });
    v1::ExplainUrlResponse {
        site: "shop".into(),
        url: "/a".into(),
        edges: edges.collect(),
        head: 9,
        ..v1::ExplainUrlResponse::default()
    }
}

#[tokio::test]
async fn a_url_is_explained_by_its_site_or_by_its_host() {
    let fake = Fake::default();
    let answer = v1::ExplainAnswer {
        verdict: v1::ExplainVerdict::Hit.into(),
        reason: "fresh for 42 s".into(),
        ..v1::ExplainAnswer::default()
    };
    fake.script().explanation = explained(&[Some(answer)]);
    let by_path = [
        "explain",
        "/a?b=1",
        "--site",
        "shop",
        "--edge",
        "e1",
        "--header",
        "Accept-Language: de",
    ];
    let (ended, written) = tidegate(&fake, &by_path).await;
    assert_eq!(ended.unwrap(), Exit::Done);
    let json = written.json();
    assert_eq!(json["edges"][0]["answer"]["verdict"], "HIT");
    assert_eq!(json["edges"][0]["answer"]["reason"], "fresh for 42 s");
    let (ended, _) = tidegate(&fake, &["explain", "https://a.example/a"]).await;
    assert_eq!(ended.unwrap(), Exit::Done);
    let script = fake.script();
    let [path, absolute] = &script.questions[..] else {
        panic!("{:?}", script.questions);
    };
    assert_eq!((&*path.site, &*path.url), ("shop", "/a?b=1"));
    assert_eq!(path.edge_id, "e1");
    let field = &path.request_headers[0];
    assert_eq!(
        (&*field.name, &field.value[..]),
        ("accept-language", &b"de"[..])
    );
    assert_eq!(
        (&*absolute.site, &*absolute.url),
        ("", "https://a.example/a")
    );
}

#[tokio::test]
async fn an_edge_that_does_not_answer_makes_a_result_incomplete() {
    let fake = Fake::default();
    fake.script().explanation = explained(&[None]);
    let (ended, written) = tidegate(&fake, &["explain", "/a"]).await;
    assert_eq!(ended.unwrap(), Exit::Incomplete);
    assert_eq!(
        written.json()["edges"][0]["answer"],
        serde_json::Value::Null
    );
    fake.script().preview.edges = vec![v1::PreviewOutcome::default()];
    let (ended, written) = tidegate(&fake, &["invalidate", "a", "--dry-run"]).await;
    assert_eq!(ended.unwrap(), Exit::Incomplete);
    assert_eq!(written.json()["edges"][0]["answered"], false);
    fake.script().preview.edges[0].answered = true;
    let (ended, _) = tidegate(&fake, &["invalidate", "a", "--dry-run"]).await;
    assert_eq!(ended.unwrap(), Exit::Done);
    assert!(
        fake.script().invalidations.is_empty(),
        "nothing was changed"
    );
}

#[tokio::test]
async fn the_audit_trail_is_listed_and_one_invalidation_is_looked_up() {
    let fake = Fake::default();
    let record = |revision| v1::InvalidationRecord {
        revision,
        edges: vec![v1::EdgeEffect {
            evicted: Some(3),
            ..v1::EdgeEffect::default()
        }],
        ..v1::InvalidationRecord::default()
    };
    fake.script().audit = [20, 18, 16, 14, 12, 10].map(record).to_vec();
    let (ended, written) = tidegate(&fake, &["audit", "--limit", "3"]).await;
    ended.unwrap();
    let revisions: Vec<_> = written.json()["invalidations"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it["revision"].as_u64().unwrap())
        .collect();
    assert_eq!(revisions, [20, 18, 16]);

    fake.script().pages = 0;
    let (ended, written) = tidegate(&fake, &["audit", "16"]).await;
    ended.unwrap();
    assert_eq!(written.json()["revision"], 16);
    assert_eq!(written.json()["edges"][0]["evicted"], 3);
    assert_eq!(fake.script().pages, 2, "older pages are not asked for");

    let (ended, written) = tidegate(&fake, &["audit", "15"]).await;
    let failure = ended.unwrap_err();
    assert_eq!(
        (failure.code(), failure.exit()),
        ("NOT_FOUND", Exit::Failed)
    );
    assert_eq!(written.text(), "");
}

#[tokio::test]
async fn what_the_server_refuses_is_not_tried_again_and_names_the_field() {
    let fake = Fake::default();
    let refusal = FieldError::new(
        "urls[0]",
        "https://b.example/",
        "a URL on a host of the site",
    );
    let refusal = Status::from(tidegate_proto::Error::from(refusal));
    fake.script().answers = [Err(refusal)].into();
    let words = ["invalidate", "--url", "https://b.example/"];
    let (ended, written) = tidegate(&fake, &words).await;
    let failure = ended.unwrap_err();
    assert_eq!(failure.code(), "INVALID_ARGUMENT");
    assert!(failure.to_text().contains("urls[0]"), "{failure}");
    assert_eq!(fake.script().invalidations.len(), 1);
    assert_eq!(written.text(), "");
}

#[tokio::test]
async fn a_schedule_is_put_listed_and_deleted() {
    let fake = Fake::default();
    let words = [
        "schedule",
        "put",
        "nightly",
        "news:*",
        "--cron",
        "0 4 * * *",
    ];
    let more = [
        "--soft",
        "--cascade",
        "--url",
        "/a",
        "--spread",
        "1m",
        "--reason",
        "why",
    ];
    let words: Vec<_> = words.into_iter().chain(more).collect();
    let (ended, written) = tidegate(&fake, &words).await;
    assert_eq!(ended.unwrap(), Exit::Done);
    assert_eq!(written.json(), serde_json::json!({"revision": 7}));
    let expected = v1::Schedule {
        name: "nightly".into(),
        tags: vec!["news:*".into()],
        mode: v1::InvalidationMode::Soft.into(),
        when: Some(v1::schedule::When::Cron("0 4 * * *".into())),
        urls: vec!["/a".into()],
        cascade: true,
        spread: Some(prost_types::Duration {
            seconds: 60,
            nanos: 0,
        }),
        reason: "why".into(),
    };
    assert_eq!(fake.script().schedules["nightly"], expected);

    let (ended, _) = tidegate(&fake, &["schedule", "put", "b", "t", "--every", "90s"]).await;
    assert_eq!(ended.unwrap(), Exit::Done);
    let (ended, written) = tidegate(&fake, &["schedule", "list"]).await;
    assert_eq!(ended.unwrap(), Exit::Done);
    let listed = written.json();
    assert_eq!(listed["schedules"][0]["every"], 90.0);
    assert_eq!(listed["schedules"][1]["cron"], "0 4 * * *");
    let (ended, written) = tidegate(&fake, &["schedule", "delete", "b"]).await;
    assert_eq!(ended.unwrap(), Exit::Done);
    assert_eq!(written.json(), serde_json::json!({"revision": 8}));
    let (ended, _) = tidegate(&fake, &["schedule", "delete", "b"]).await;
    let failure = ended.unwrap_err();
    assert_eq!(
        (failure.exit(), failure.code()),
        (Exit::Failed, "NOT_FOUND")
    );
}

#[tokio::test]
async fn a_control_plane_that_is_not_there_is_named_with_what_to_change() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    drop(listener);
    for command in ["edges", "watch"] {
        let control = format!("http://{address}");
        let line = ["tidegate", "--control", &control, command];
        let cli = Cli::try_parse_from(line).unwrap();
        let mut output = Output::to(OutputFormat::Table, std::io::sink(), std::io::sink());
        let ended = tidegate_cli::execute(cli, &mut output, CancellationToken::new()).await;
        let text = ended.unwrap_err().to_text();
        assert!(text.contains(&address), "{text}");
        assert!(text.contains("--control"), "{text}");
        assert!(text.to_lowercase().contains("connection refused"), "{text}");
    }
}
