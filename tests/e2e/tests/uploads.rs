//! What is uploaded is checked before it counts; what is refused leaves nothing.

use std::fs;
use std::io::Read as _;
use std::path::Path;

use sha2::{Digest as _, Sha256};
use tidegate_e2e::v1;
use tidegate_e2e::v1::upload_blobs_request::Part;
use tonic::{Code, Status};

use crate::support::{Rig, SITE, head};

fn digest(bytes: &[u8]) -> String {
    let hash = Sha256::digest(bytes);
    let hex: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

fn start(digest: &str, size: usize) -> Part {
    Part::Start(v1::BlobStart {
        site: SITE.to_owned(),
        digest: digest.to_owned(),
        size: size as u64,
    })
}

fn chunk(bytes: &[u8]) -> Part {
    Part::Chunk(bytes.to_vec().into())
}

async fn upload(rig: &Rig, parts: Vec<Part>) -> Result<v1::UploadBlobsResponse, Status> {
    let requests = parts
        .into_iter()
        .map(|part| v1::UploadBlobsRequest { part: Some(part) });
    let requests = futures_util::stream::iter(requests.collect::<Vec<_>>());
    let answer = rig.calls().sites().upload_blobs(requests).await?;
    Ok(answer.into_inner())
}

async fn is_missing(rig: &Rig, digest: &str) -> bool {
    let request = v1::MissingBlobsRequest {
        site: SITE.to_owned(),
        digests: vec![digest.to_owned()],
    };
    let answer = rig.calls().sites().missing_blobs(request).await.unwrap();
    answer.into_inner().missing == [digest]
}

async fn publish(rig: &Rig, manifest: &[u8]) -> Result<v1::PublishReleaseResponse, Status> {
    upload(
        rig,
        vec![start(&digest(manifest), manifest.len()), chunk(manifest)],
    )
    .await?;
    let request = v1::PublishReleaseRequest {
        site: SITE.to_owned(),
        manifest_digest: digest(manifest),
        label: String::new(),
    };
    let answer = rig.calls().sites().publish_release(request).await?;
    Ok(answer.into_inner())
}

fn files(folder: &Path) -> usize {
    fs::read_dir(folder).map_or(0, |entries| {
        let count = |path: &Path| if path.is_dir() { files(path) } else { 1 };
        entries.flatten().map(|it| count(&it.path())).sum()
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blob_that_is_wrong_or_cut_short_leaves_nothing_behind() {
    let rig = Rig::start().await;
    let blobs = rig.control.data().join("blobs");
    let content = b"<!doctype html><title>x</title>";
    let (right, size) = (digest(content), content.len());
    let before = (files(&blobs), head(rig.calls()).await);
    for (what, parts, field) in [
        (
            "wrong digest",
            vec![start(&digest(b"other"), size), chunk(content)],
            "digest",
        ),
        (
            "cut short",
            vec![start(&right, size), chunk(&content[..10])],
            "chunk",
        ),
        (
            "next before its end",
            vec![start(&right, size), start(&right, size)],
            "chunk",
        ),
        ("too long", vec![start(&right, 10), chunk(content)], "chunk"),
        ("no start", vec![chunk(content)], "chunk"),
        (
            "no digest",
            vec![start("sha256:12", size), chunk(content)],
            "digest",
        ),
        (
            "chunk too large",
            vec![start(&right, 2 << 20), chunk(&vec![0; (1 << 20) + 1])],
            "chunk",
        ),
    ] {
        let refused = upload(&rig, parts).await.expect_err(what);
        assert_eq!(refused.code(), Code::InvalidArgument, "{what}: {refused}");
        assert!(
            refused.message().contains(field),
            "{what}: {}",
            refused.message()
        );
        assert!(is_missing(&rig, &right).await, "{what}");
        assert_eq!(files(&blobs), before.0, "{what}");
    }
    let too_large = vec![start(&right, (1 << 30) + 1)];
    let refused = upload(&rig, too_large).await.expect_err("too large");
    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused}");
    assert!(refused.message().contains("at most 1073741824"));
    assert_eq!(files(&blobs), before.0);
    assert_eq!(head(rig.calls()).await, before.1);
    let stored = upload(
        &rig,
        vec![
            start(&right, size),
            chunk(&content[..9]),
            chunk(&content[9..]),
        ],
    );
    assert_eq!(stored.await.unwrap().bytes, size as u64);
    assert!(!is_missing(&rig, &right).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_cut_in_the_middle_goes_on_where_it_broke() {
    let rig = Rig::start().await;
    let (first, second) = (b"one".as_slice(), b"two".as_slice());
    let parts = vec![
        start(&digest(first), 3),
        chunk(first),
        start(&digest(second), 3),
        chunk(&second[..1]),
    ];
    upload(&rig, parts)
        .await
        .expect_err("the second is cut short");
    assert!(
        !is_missing(&rig, &digest(first)).await,
        "what was whole is kept"
    );
    assert!(is_missing(&rig, &digest(second)).await);
    upload(&rig, vec![start(&digest(second), 3), chunk(second)])
        .await
        .unwrap();
    assert!(!is_missing(&rig, &digest(second)).await);
}

/// A manifest of one page; `path` is where it is served.
fn manifest(path: &str, page: &[u8]) -> Vec<u8> {
    let resource = serde_json::json!({
        "file": "x.html",
        "digest": digest(page),
        "size": page.len(),
        "content_type": "text/html; charset=utf-8",
    });
    let manifest = serde_json::json!({
        "version": 2, "pages": {path: resource}, "assets": {},
    });
    manifest.to_string().into_bytes()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_that_breaks_a_rule_is_refused_whole() {
    let rig = Rig::start().await;
    let page = b"<!doctype html><title>x</title>";
    upload(&rig, vec![start(&digest(page), page.len()), chunk(page)])
        .await
        .unwrap();
    let good = String::from_utf8(manifest("/", page)).unwrap();
    let before = head(rig.calls()).await;
    for (what, bad) in [
        ("no JSON", "{".to_owned()),
        ("another shape", "{\"pages\": 5}".to_owned()),
        (
            "another version",
            good.replace("\"version\":2", "\"version\":9"),
        ),
        (
            "path traversal",
            String::from_utf8(manifest("/../etc/passwd", page)).unwrap(),
        ),
        (
            "encoded traversal",
            String::from_utf8(manifest("/%2e%2e/x", page)).unwrap(),
        ),
        (
            "no path",
            String::from_utf8(manifest("x.html", page)).unwrap(),
        ),
        (
            "wrong size",
            good.replace(&format!("\"size\":{}", page.len()), "\"size\":7"),
        ),
    ] {
        assert_ne!(bad, good, "{what}");
        let refused = publish(&rig, bad.as_bytes()).await.expect_err(what);
        assert_eq!(refused.code(), Code::InvalidArgument, "{what}: {refused}");
        assert!(!refused.message().is_empty(), "{what}");
    }
    let lacking = publish(&rig, &manifest("/", b"never uploaded"))
        .await
        .unwrap_err();
    assert_eq!(lacking.code(), Code::FailedPrecondition, "{lacking}");
    assert_eq!(head(rig.calls()).await, before, "nothing was written");
    assert!(
        publish(&rig, good.as_bytes()).await.unwrap().created,
        "and the right one works"
    );
}

/// What a bomb would be, decoded.
const BOMB_BYTES: u64 = 512 << 20;
/// By how much the control plane may grow while it refuses one.
const MOST_GROWTH_KIB: u64 = 64 << 10;

/// So many zeros, encoded.
fn zeros(coding: &str, bytes: u64) -> Vec<u8> {
    let mut zeros = std::io::repeat(0).take(bytes);
    let mut encoded = Vec::new();
    match coding {
        "gzip" => {
            let level = flate2::Compression::default();
            let mut encoder = flate2::write::GzEncoder::new(&mut encoded, level);
            std::io::copy(&mut zeros, &mut encoder).unwrap();
            encoder.finish().unwrap();
        }
        "br" => {
            let parameters = brotli::enc::BrotliEncoderParams {
                quality: 1,
                ..Default::default()
            };
            brotli::BrotliCompress(&mut zeros, &mut encoded, &parameters).unwrap();
        }
        "zstd" => zstd::stream::copy_encode(&mut zeros, &mut encoded, 1).unwrap(),
        other => panic!("no coding is called {other}"),
    }
    encoded
}

#[tokio::test(flavor = "multi_thread")]
async fn a_variant_that_would_fill_all_memory_is_refused_before_it_does() {
    let mut rig = Rig::start().await;
    // More than each of them is encoded: what is larger than what it stands for is refused
    // unseen.
    let plain = vec![0; 4 << 20];
    let mut parts = vec![start(&digest(&plain), plain.len())];
    parts.extend(plain.chunks(1 << 20).map(chunk));
    upload(&rig, parts).await.unwrap();
    for coding in ["gzip", "br", "zstd"] {
        let bomb = zeros(coding, BOMB_BYTES);
        assert!(bomb.len() < plain.len(), "{coding}: {}", bomb.len());
        let mut parts = vec![start(&digest(&bomb), bomb.len())];
        parts.extend(bomb.chunks(1 << 20).map(chunk));
        upload(&rig, parts).await.unwrap();
        let asset = serde_json::json!({
            "file": "x.bin",
            "digest": digest(&plain),
            "size": plain.len(),
            "content_type": "application/octet-stream",
            "encodings": {coding: {"digest": digest(&bomb), "size": bomb.len()}},
        });
        let manifest = serde_json::json!({
            "version": 2, "pages": {}, "assets": {"/x.bin": asset},
        });
        let before = rig.control.process().most_resident_kib();
        let refused = publish(&rig, manifest.to_string().as_bytes()).await;
        let refused = refused.expect_err(coding);
        assert_eq!(refused.code(), Code::InvalidArgument, "{coding}: {refused}");
        let said = refused.message();
        assert!(said.contains(&plain.len().to_string()), "{coding}: {said}");
        let growth = rig.control.process().most_resident_kib() - before;
        assert!(growth < MOST_GROWTH_KIB, "{coding}: {growth} KiB");
    }
}
