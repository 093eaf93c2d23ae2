//! Entries with their bodies, for backends and for edges.

use bytes::Bytes;
use tidegate_domain::{PathAndQuery, SiteName};
use tidegate_proto::v1;

use super::context::Context;
use super::entry::{MAX_BODY_BYTES, MAX_INLINE_BYTES};
use super::fault::Fault;
use crate::command::{EntryBody, PushedEntry};
use crate::state::FoundEntry;

impl Context {
    /// Puts a large body into the blob store, before the command that names it.
    pub(crate) async fn keep_body(&self, entry: &mut PushedEntry) -> Result<(), Fault> {
        let EntryBody::Inline(body) = &entry.body else {
            return Ok(());
        };
        if body.len() <= MAX_INLINE_BYTES {
            return Ok(());
        }
        let (blobs, body, size) = (self.blobs.clone(), body.clone(), body.len() as u64);
        let digest = self.read(move || blobs.put_bytes(&body)).await??;
        entry.body = EntryBody::Blob { digest, size };
        Ok(())
    }

    /// The entry of a URL that fits the request fields, whole.
    pub(crate) async fn entry(
        &self,
        site: SiteName,
        url: PathAndQuery,
        request: Vec<(String, Bytes)>,
    ) -> Result<Option<(v1::Entry, FoundEntry)>, Fault> {
        let (reader, blobs, now) = (self.reader.clone(), self.blobs.clone(), self.clock.wall());
        self.read(move || {
            let Some(found) = reader.lookup_entry(&site, &url, &request, now)? else {
                return Ok(None);
            };
            let mut entry = found.entry.clone();
            if let EntryBody::Blob { digest, .. } = &found.body {
                entry.body = blobs
                    .read(digest, MAX_BODY_BYTES as u64)?
                    .ok_or_else(|| Fault::internal(format!("blob {digest} of an entry is gone")))?;
            }
            Ok(Some((entry, found)))
        })
        .await?
    }
}
