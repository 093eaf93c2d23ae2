//! Which content is needed, and letting go of the rest.

use std::collections::HashSet;
use std::time::Duration;

use thiserror::Error;
use tidegate_domain::Digest;
use tidegate_site::{MAX_MANIFEST_BYTES, Manifest};

use super::{BlobError, BlobStore, Collected};
use crate::state::{Reader, ReaderError};

/// Nothing was collected, because it is not certain what is needed.
#[derive(Debug, Error)]
pub enum CollectError {
    /// The state cannot be read.
    #[error(transparent)]
    State(#[from] ReaderError),
    /// A blob cannot be read, or the collection itself failed.
    #[error(transparent)]
    Blob(#[from] BlobError),
    /// A release's manifest is not held or cannot be read.
    #[error("the manifest {manifest} of a release {reason}, so what it needs is not known")]
    Manifest {
        /// Its digest.
        manifest: Digest,
        /// What is wrong with it.
        reason: String,
    },
}

/// Every blob that a release or an entry needs.
///
/// # Errors
/// The state or a manifest cannot be read.
pub fn referenced(reader: &Reader, blobs: &dyn BlobStore) -> Result<HashSet<Digest>, CollectError> {
    let releases = reader.release_blobs()?;
    let mut needed = reader.entry_blobs()?;
    needed.extend(releases.tables);
    for manifest in releases.manifests {
        needed.insert(manifest);
        let wrong = |reason: String| CollectError::Manifest { manifest, reason };
        let json = blobs
            .read(&manifest, MAX_MANIFEST_BYTES as u64)?
            .ok_or_else(|| wrong("is not held".to_owned()))?;
        let parsed = Manifest::parse(&json).map_err(|e| wrong(format!("is damaged ({e})")))?;
        needed.extend(parsed.blobs().map(|(digest, _)| digest));
    }
    Ok(needed)
}

/// Removes the blobs that nothing needs and that were neither stored nor touched
/// within `grace`. Content is uploaded before the command that names it, so `grace`
/// has to be longer than an upload and a command take.
///
/// # Errors
/// It is not certain what is needed, or the store failed.
pub fn collect_garbage(
    reader: &Reader,
    blobs: &dyn BlobStore,
    grace: Duration,
) -> Result<Collected, CollectError> {
    let needed = referenced(reader, blobs)?;
    Ok(blobs.collect(&needed, grace)?)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use tidegate_clock::{Clock as _, ManualClock};
    use tidegate_domain::Revision;
    use tidegate_site::Resource;

    use super::*;
    use crate::blobs::LocalBlobs;
    use crate::command::{Command, EntryBody};
    use crate::log::{InlineLog, Log as _, LogSettings, OwnLog as _};
    use crate::state::testing::{applied, entry, proposal, push, put_site, site};

    const MAX: u64 = 1 << 20;
    const GRACE: Duration = Duration::from_secs(60);

    fn manifest(asset: Digest) -> Vec<u8> {
        let resource = Resource {
            file: "a.txt".into(),
            content_type: "text/plain".into(),
            digest: asset,
            size: 5,
            encodings: BTreeMap::new(),
            link: Vec::new(),
            parts: Vec::new(),
        };
        let assets = BTreeMap::from([("/a.txt".to_owned(), resource)]);
        Manifest::new(BTreeMap::new(), assets).unwrap().to_json()
    }

    #[tokio::test]
    async fn what_releases_and_entries_name_stays_and_the_rest_goes() {
        let folder = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::default());
        let blobs = LocalBlobs::open(folder.path().join("blobs"), MAX, clock.clone()).unwrap();
        let log = InlineLog::open(LogSettings::new(clock.clone())).unwrap();
        let put = |text: &str| blobs.put_bytes(text.as_bytes()).unwrap();
        let (asset, since, body, unused) = (put("asset"), put("since"), put("body"), put("unused"));
        let json = manifest(asset);
        let manifest = blobs.put_bytes(&json).unwrap();

        let dev = || site("dev");
        let publish = Command::PublishRelease {
            site: dev(),
            manifest,
            label: String::new(),
            pages: 0,
            assets: 1,
            bytes: 5,
        };
        let activate = Command::ActivateRelease {
            site: dev(),
            release: manifest,
            from: Revision::ZERO,
            since,
            patterns: Vec::new(),
            reason: String::new(),
        };
        let mut pushed = entry("/p", &[], &[]);
        pushed.body = EntryBody::Blob {
            digest: body,
            size: 4,
        };
        let read_as_of = log.cursor_at(log.head(), tidegate_domain::SiteFilter::ALL);
        let push = push("dev", pushed, read_as_of.unwrap());
        for command in [put_site("dev", &["*"]), publish, activate, push] {
            let outcome = log.propose(proposal(command, clock.wall())).await;
            applied(&outcome.unwrap());
        }

        clock.advance(2 * GRACE);
        let collected = collect_garbage(&log.reader(), &blobs, GRACE).unwrap();
        assert_eq!((collected.removed, collected.kept), (1, 4));
        let all = [asset, since, body, unused, manifest];
        assert_eq!(blobs.missing(&all).unwrap(), [unused]);
    }

    #[tokio::test]
    async fn nothing_goes_while_a_manifest_is_missing() {
        let folder = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::default());
        let blobs = LocalBlobs::open(folder.path().join("blobs"), MAX, clock.clone()).unwrap();
        let log = InlineLog::open(LogSettings::new(clock.clone())).unwrap();
        for command in [
            put_site("dev", &["*"]),
            crate::state::testing::publish("dev", "not held"),
        ] {
            let outcome = log.propose(proposal(command, clock.wall())).await;
            applied(&outcome.unwrap());
        }
        let asset = blobs.put_bytes(b"asset").unwrap();
        clock.advance(2 * GRACE);
        let error = collect_garbage(&log.reader(), &blobs, GRACE).unwrap_err();
        assert!(matches!(error, CollectError::Manifest { .. }), "{error}");
        assert!(blobs.missing(&[asset]).unwrap().is_empty());
    }
}
