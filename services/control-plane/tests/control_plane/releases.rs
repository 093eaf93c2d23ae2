//! Uploading, publishing and activating releases.

use std::collections::BTreeMap;

use bytes::{Bytes, BytesMut};
use prost::Message as _;
use tidegate_domain::Digest;
use tidegate_proto::v1;
use tidegate_proto::v1::upload_blobs_request::Part;
use tidegate_site::{Manifest, Resource, SinceTable};
use tonic::{Code, Status};

use crate::rig::{Rig, refused_field};

/// A release of pages by path, not sent yet.
struct Content {
    manifest: Vec<u8>,
    blobs: Vec<Bytes>,
}

fn release(pages: &[(&str, &str)]) -> Content {
    let resources = pages.iter().map(|(path, html)| {
        let resource = Resource {
            file: format!("{}.html", path.replace('/', "_")),
            content_type: "text/html; charset=utf-8".into(),
            digest: Digest::of(html.as_bytes()),
            size: html.len() as u64,
            encodings: BTreeMap::new(),
            link: Vec::new(),
            parts: Vec::new(),
        };
        ((*path).to_owned(), resource)
    });
    let manifest = Manifest::new(resources.collect(), BTreeMap::new()).unwrap();
    let blobs = pages.iter();
    Content {
        manifest: manifest.to_json(),
        blobs: blobs
            .map(|(_, html)| Bytes::copy_from_slice(html.as_bytes()))
            .collect(),
    }
}

impl Content {
    fn id(&self) -> String {
        Digest::of(&self.manifest).to_string()
    }

    async fn upload(&self, rig: &Rig) {
        let manifest = Bytes::from(self.manifest.clone());
        let parts = self.blobs.iter().chain([&manifest]).flat_map(whole);
        upload(rig, parts.collect()).await.unwrap();
    }

    async fn publish(&self, rig: &Rig) -> v1::PublishReleaseResponse {
        self.upload(rig).await;
        let answer = rig.sites().publish_release(self.publication()).await;
        answer.unwrap().into_inner()
    }

    fn publication(&self) -> v1::PublishReleaseRequest {
        v1::PublishReleaseRequest {
            site: "s".into(),
            manifest_digest: self.id(),
            label: "one".into(),
        }
    }
}

fn start(digest: &Digest, size: u64) -> Part {
    Part::Start(v1::BlobStart {
        site: "s".into(),
        digest: digest.to_string(),
        size,
    })
}

/// The parts of one blob.
fn whole(bytes: &Bytes) -> Vec<Part> {
    let mut parts = vec![start(&Digest::of(bytes), bytes.len() as u64)];
    parts.push(Part::Chunk(bytes.clone()));
    parts
}

async fn upload(rig: &Rig, parts: Vec<Part>) -> Result<v1::UploadBlobsResponse, Status> {
    let parts = parts.into_iter();
    let messages: Vec<_> = parts
        .map(|part| v1::UploadBlobsRequest { part: Some(part) })
        .collect();
    let answer = rig
        .sites()
        .upload_blobs(tokio_stream::iter(messages))
        .await?;
    Ok(answer.into_inner())
}

/// Publishes a page and activates it, waiting for so long.
pub(crate) async fn publish_and_activate(
    rig: &Rig,
    wait: std::time::Duration,
) -> v1::ActivateReleaseResponse {
    let one = release(&[("/", "<p>home")]);
    one.publish(rig).await;
    let request = v1::ActivateReleaseRequest {
        site: "s".into(),
        release: one.id(),
        wait_for: v1::WaitFor::AllEdges.into(),
        wait_timeout: Some(wait.try_into().unwrap()),
        ..v1::ActivateReleaseRequest::default()
    };
    let answer = rig.sites().activate_release(request).await;
    answer.unwrap().into_inner()
}

async fn activate(rig: &Rig, release: &str) -> v1::ActivateReleaseResponse {
    let request = v1::ActivateReleaseRequest {
        site: "s".into(),
        release: release.into(),
        wait_for: v1::WaitFor::AllEdges.into(),
        ..v1::ActivateReleaseRequest::default()
    };
    let answer = rig.sites().activate_release(request).await;
    answer.unwrap().into_inner()
}

async fn blob(rig: &Rig, digest: &str) -> Result<Bytes, Status> {
    let request = v1::ReadBlobRequest {
        digest: digest.into(),
    };
    let mut pieces = rig.edges().read_blob(request).await?.into_inner();
    let mut bytes = BytesMut::new();
    let mut size = None;
    while let Some(piece) = pieces.message().await? {
        size = size.or(Some(piece.size));
        bytes.extend_from_slice(&piece.chunk);
    }
    assert_eq!(size, Some(bytes.len() as u64));
    Ok(bytes.freeze())
}

#[tokio::test]
async fn a_release_is_published_activated_and_only_what_differs_is_invalidated() {
    let rig = Rig::start().await;
    rig.put_site("s").await;
    let one = release(&[("/", "<p>home"), ("/a", "<p>a")]);
    let published = one.publish(&rig).await;
    assert!(published.created);
    let facts = published.release.unwrap();
    assert_eq!((facts.pages, facts.assets, facts.bytes), (2, 0, 11));
    let activated = activate(&rig, &one.id()).await;
    assert!(activated.changed);
    assert_eq!(activated.changed_urls, 2);
    assert_eq!(activated.status(), v1::CompletionStatus::Complete);

    let two = release(&[("/", "<p>home"), ("/a", "<p>changed"), ("/b", "<p>b")]);
    two.publish(&rig).await;
    let before = rig.head().await;
    let activated = activate(&rig, &two.id()).await;
    assert_eq!(activated.changed_urls, 2);
    assert_eq!(activated.revision, before.revision + 1);
    let mut frames = rig.edge("a").subscribe(&before.cursor).await;
    frames.hello().await;
    let batch = frames.batch().await;
    let event = v1::Event::decode(batch.events[0].clone()).unwrap();
    let Some(v1::event::Kind::ReleaseActivated(event)) = event.kind else {
        panic!("no activation");
    };
    assert_eq!(event.patterns, ["url:/a", "url:/b"]);
    let active = event.active.unwrap();
    assert_eq!(active.release, two.id());
    let since = blob(&rig, &active.since_digest).await.unwrap();
    let since = SinceTable::parse(&since).unwrap();
    assert!(since.get("/").unwrap() <= since.get("/a").unwrap());
    rig.stop().await;
}

#[tokio::test]
async fn an_unchanged_release_sends_no_blob_and_writes_nothing() {
    let rig = Rig::start().await;
    rig.put_site("s").await;
    let one = release(&[("/", "<p>home")]);
    one.publish(&rig).await;
    let first = activate(&rig, &one.id()).await;
    let head = rig.head().await.revision;
    let request = v1::MissingBlobsRequest {
        site: "s".into(),
        digests: vec![one.id(), Digest::of(&one.blobs[0]).to_string()],
    };
    let missing = rig.sites().missing_blobs(request).await.unwrap();
    assert!(missing.into_inner().missing.is_empty());
    let again = rig
        .sites()
        .publish_release(one.publication())
        .await
        .unwrap();
    assert!(!again.into_inner().created);
    let again = activate(&rig, &one.id()).await;
    assert!(!again.changed);
    assert_eq!(again.revision, first.revision);
    assert_eq!(rig.head().await.revision, head);
    rig.stop().await;
}

#[tokio::test]
async fn going_back_invalidates_again_and_old_releases_can_be_pruned() {
    let rig = Rig::start().await;
    rig.put_site("s").await;
    let (one, two) = (release(&[("/", "<p>1")]), release(&[("/", "<p>2")]));
    one.publish(&rig).await;
    two.publish(&rig).await;
    activate(&rig, &one.id()).await;
    activate(&rig, &two.id()).await;
    let back = activate(&rig, &one.id()).await;
    assert_eq!((back.changed, back.changed_urls), (true, 1));
    let request = v1::PruneReleasesRequest {
        site: "s".into(),
        keep: 0,
    };
    let pruned = rig.sites().prune_releases(request).await.unwrap();
    assert_eq!(pruned.into_inner().removed, [two.id()]);
    let request = v1::ListReleasesRequest {
        site: "s".into(),
        ..v1::ListReleasesRequest::default()
    };
    let left = rig
        .sites()
        .list_releases(request)
        .await
        .unwrap()
        .into_inner();
    assert_eq!(left.releases.len(), 1);
    assert!(left.releases[0].active);
    rig.stop().await;
}

#[tokio::test]
async fn an_activation_waits_until_connected_edges_hold_the_release() {
    let rig = Rig::start().await;
    rig.put_site("s").await;
    let one = release(&[("/", "<p>1")]);
    let mut edge = rig.edge("a");
    let head = rig.head().await.cursor;
    let mut frames = edge.subscribe(&head).await;
    frames.hello().await;
    edge.beat(&head).await;
    one.publish(&rig).await;
    let published = frames.batch().await;
    let id = one.id();
    let activation = activate(&rig, &id);
    let fetch = async {
        edge.send(&published.cursor, |beat| beat.prepared = vec![id.clone()])
            .await
            .unwrap();
        let batch = frames.batch().await;
        edge.beat(&batch.cursor).await;
    };
    let (activated, ()) = tokio::join!(activation, fetch);
    assert_eq!(activated.status(), v1::CompletionStatus::Complete);
    assert_eq!(activated.edges.len(), 1);
    rig.stop().await;
}

#[tokio::test]
async fn a_broken_release_is_refused_whole() {
    let rig = Rig::start().await;
    rig.put_site("s").await;
    let one = release(&[("/", "<p>home")]);
    let missing = rig
        .sites()
        .publish_release(one.publication())
        .await
        .unwrap_err();
    assert_eq!(missing.code(), Code::FailedPrecondition);
    let manifest = Bytes::from(one.manifest.clone());
    upload(&rig, whole(&manifest)).await.unwrap();
    let missing = rig
        .sites()
        .publish_release(one.publication())
        .await
        .unwrap_err();
    assert_eq!(missing.code(), Code::FailedPrecondition);
    let page = Digest::of(&one.blobs[0]).to_string();
    assert!(missing.message().contains(&page), "{missing:?}");
    let broken = Bytes::from_static(b"{\"version\":2,\"pages\":");
    upload(&rig, whole(&broken)).await.unwrap();
    let request = v1::PublishReleaseRequest {
        manifest_digest: Digest::of(&broken).to_string(),
        ..one.publication()
    };
    let refused = rig.sites().publish_release(request).await;
    assert_eq!(refused_field(refused), "site.json");
    let request = v1::ActivateReleaseRequest {
        site: "s".into(),
        release: one.id(),
        ..v1::ActivateReleaseRequest::default()
    };
    let unknown = rig.sites().activate_release(request).await.unwrap_err();
    assert_eq!(unknown.code(), Code::NotFound);
    rig.stop().await;
}

#[tokio::test]
async fn a_blob_that_is_not_what_it_says_leaves_nothing() {
    let rig = Rig::start().await;
    rig.put_site("s").await;
    let bytes = Bytes::from_static(b"hello");
    let digest = Digest::of(b"hello");
    let chunk = || Part::Chunk(bytes.clone());
    let large = Part::Chunk(Bytes::from(vec![0; (1 << 20) + 1]));
    let cases = [
        vec![start(&digest, 4), chunk()],
        vec![start(&digest, 6), chunk()],
        vec![start(&digest, 6), chunk(), start(&digest, 5)],
        vec![start(&Digest::of(b"other"), 5), chunk()],
        vec![start(&digest, 2 << 20), large],
        vec![chunk()],
    ];
    for parts in cases {
        let refused = upload(&rig, parts).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{refused:?}");
    }
    let parts = vec![start(&digest, (1 << 30) + 1)];
    let refused = upload(&rig, parts).await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused:?}");
    assert!(refused.message().contains("1073741824"), "{refused:?}");
    let gone = blob(&rig, &digest.to_string()).await.unwrap_err();
    assert_eq!(gone.code(), Code::NotFound);
    let empty = Digest::of(b"");
    let parts = vec![start(&digest, 5), chunk(), start(&empty, 0)];
    let stored = upload(&rig, parts).await.unwrap();
    assert_eq!((stored.blobs, stored.bytes), (2, 5));
    assert_eq!(blob(&rig, &digest.to_string()).await.unwrap(), bytes);
    assert_eq!(blob(&rig, &empty.to_string()).await.unwrap(), Bytes::new());
    rig.stop().await;
}
