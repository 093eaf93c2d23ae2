//! Which content a record names.

use tidegate_domain::Digest;
use tidegate_proto::storage::v1 as storage;

use super::store::StoreError;
use super::{keys, tables};

/// A blob that a record names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NamedBlob {
    /// Content.
    Content(Digest),
    /// A release's manifest, which names more.
    Manifest(Digest),
}

/// The blob that the record under a key names, if it names one.
///
/// # Errors
/// The record cannot be read.
pub fn named_blobs(key: &[u8], value: &[u8]) -> Result<Option<NamedBlob>, StoreError> {
    let digest = |text: &str| -> Result<Option<Digest>, StoreError> {
        if text.is_empty() {
            return Ok(None);
        }
        let digest = text.parse();
        digest
            .map(Some)
            .map_err(|e: tidegate_domain::FieldError| StoreError::damaged(key, &e))
    };
    if key.starts_with(keys::ENTRIES) {
        let record: storage::EntryRecord = tables::decode(key, value)?;
        return Ok(digest(&record.body_digest)?.map(NamedBlob::Content));
    }
    if key.starts_with(keys::SITES) {
        let record: storage::SiteRecord = tables::decode(key, value)?;
        let since = record.active.map(|active| active.since_digest);
        return Ok(digest(&since.unwrap_or_default())?.map(NamedBlob::Content));
    }
    if key.starts_with(keys::RELEASES) {
        let record: storage::ReleaseRecord = tables::decode(key, value)?;
        let id = record.release.unwrap_or_default().id;
        return Ok(digest(&id)?.map(NamedBlob::Manifest));
    }
    Ok(None)
}
