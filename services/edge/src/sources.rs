//! What the rooms of this edge ask of the control plane besides the order: blobs,
//! pushed entries, and a part of the log again.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::{FutureExt as _, StreamExt as _};
use http::header::{AUTHORIZATION, COOKIE, PROXY_AUTHORIZATION};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use tidegate_domain::{
    Cursor, Digest, Epoch, PathAndQuery, Revision, SiteFilter, SiteName, Tag, TagPattern,
};
use tidegate_proto::v1;

use crate::events::{Replay, Replayed};
use crate::link::{Change, Channels, Client, Event};
use crate::pages::{BlobError, BlobSource, BlobStream};
use crate::proxy::{EntrySource, PushedEntry};
use crate::standing::Standing;
use crate::told::told;

/// How long one call may take, streams apart.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);

/// The longest silence inside a blob.
const BLOB_SILENCE: Duration = Duration::from_secs(15);

/// What says who asks: no entry is chosen by it, so it stays here.
const VISITOR: [HeaderName; 3] = [AUTHORIZATION, PROXY_AUTHORIZATION, COOKIE];

/// The most fields of a request that are sent to choose an entry by.
const MAX_FIELDS: usize = 100;

/// Asks the control plane.
pub(crate) struct ControlPlane {
    client: Client,
    standing: Arc<Standing>,
}

impl ControlPlane {
    /// Asks over the connection for content.
    #[must_use]
    pub(crate) fn new(channels: &Channels, standing: Arc<Standing>) -> Self {
        Self {
            client: channels.content.clone(),
            standing,
        }
    }
}

impl BlobSource for ControlPlane {
    fn read(&self, digest: Digest) -> BoxFuture<'static, Result<BlobStream, BlobError>> {
        let mut client = self.client.clone();
        async move {
            let request = v1::ReadBlobRequest {
                digest: digest.to_string(),
            };
            let call = tokio::time::timeout(CALL_TIMEOUT, client.read_blob(request));
            let pieces = call.await.map_err(|_| silent())?.map_err(|s| failed(&s))?;
            let chunks = futures_util::stream::unfold(Some(pieces.into_inner()), |pieces| async {
                let mut pieces = pieces?;
                match tokio::time::timeout(BLOB_SILENCE, pieces.message()).await {
                    Ok(Ok(None)) => None,
                    Ok(Ok(Some(piece))) => Some((Ok(piece.chunk), Some(pieces))),
                    Ok(Err(status)) => Some((Err(failed(&status)), None)),
                    Err(_) => Some((Err(silent()), None)),
                }
            });
            Ok(chunks.boxed())
        }
        .boxed()
    }
}

fn silent() -> BlobError {
    BlobError::Source("no answer in time".into())
}

fn failed(status: &tonic::Status) -> BlobError {
    BlobError::Source(format!("{}: {}", status.code(), status.message()))
}

impl EntrySource for ControlPlane {
    fn lookup(
        &self,
        site: &SiteName,
        url: &PathAndQuery,
        headers: &HeaderMap,
    ) -> BoxFuture<'static, Option<PushedEntry>> {
        let mut client = self.client.clone();
        let request = v1::LookupEntryRequest {
            site: site.to_string(),
            url: url.to_string(),
            request_headers: to_choose_by(headers),
        };
        let epoch = self.standing.position().map(|p| p.epoch);
        async move {
            let call = tokio::time::timeout(CALL_TIMEOUT, client.lookup_entry(request));
            match call.await {
                Ok(Ok(answer)) => pushed(answer.into_inner(), epoch?),
                Ok(Err(status)) => {
                    tracing::warn!(message = status.message(), "cannot look up a pushed entry; the origin is asked");
                    None
                }
                Err(_) => {
                    tracing::warn!("the control plane took too long to look up a pushed entry; the origin is asked");
                    None
                }
            }
        }
        .boxed()
    }
}

/// The fields of a request that an entry may be chosen by.
fn to_choose_by(request: &HeaderMap) -> Vec<v1::HeaderField> {
    request
        .iter()
        .filter(|(name, _)| !VISITOR.contains(name))
        .take(MAX_FIELDS)
        .map(|(name, value)| v1::HeaderField {
            name: name.as_str().to_owned(),
            value: Bytes::copy_from_slice(value.as_bytes()),
        })
        .collect()
}

fn pushed(answer: v1::LookupEntryResponse, epoch: Epoch) -> Option<PushedEntry> {
    let entry = answer.entry?;
    // A revision of another history says nothing here.
    if Epoch(answer.epoch) != epoch {
        return None;
    }
    let duration = |wire: &Option<prost_types::Duration>| {
        tidegate_proto::duration_from_wire("", wire.as_ref(), Duration::ZERO).ok()
    };
    let headers = entry.headers.iter().map(|field| {
        let name = HeaderName::from_bytes(field.name.as_bytes()).ok()?;
        Some((name, HeaderValue::from_bytes(&field.value).ok()?))
    });
    let mut headers = headers.collect::<Option<HeaderMap>>()?;
    for field in &entry.vary {
        headers.append(http::header::VARY, HeaderValue::from_str(&field.name).ok()?);
    }
    Some(PushedEntry {
        status: StatusCode::from_u16(u16::try_from(entry.status).ok()?).ok()?,
        headers,
        body: entry.body,
        tags: entry
            .tags
            .iter()
            .map(|tag| Tag::parse(tag).ok())
            .collect::<Option<_>>()?,
        fresh_for: duration(&answer.fresh_for)?,
        age: duration(&answer.age)?,
        validated_as_of: Revision(answer.validated_as_of),
    })
}

impl Replay for ControlPlane {
    fn read<'a>(
        &'a self,
        site: &'a SiteName,
        after: Cursor,
        to: Revision,
    ) -> BoxFuture<'a, Replayed> {
        let mut client = self.client.clone();
        async move {
            let request = v1::ReadLogRequest {
                site: site.to_string(),
                cursor: after.to_string(),
                to_inclusive: to.0,
            };
            match client.read_log(request).await {
                Ok(answer) => replayed(&answer.into_inner(), after),
                Err(status) => {
                    tracing::warn!(
                        message = status.message(),
                        "cannot read the log again for a browser"
                    );
                    Replayed::NotFound
                }
            }
        }
        .boxed()
    }
}

fn replayed(answer: &v1::ReadLogResponse, after: Cursor) -> Replayed {
    if !answer.found {
        return Replayed::NotFound;
    }
    if !answer.folded_patterns.is_empty() {
        let patterns = answer
            .folded_patterns
            .iter()
            .map(|p| TagPattern::parse(p).ok());
        return match patterns.collect() {
            Some(patterns) => Replayed::Folded(patterns),
            None => Replayed::NotFound,
        };
    }
    let mut events = Vec::new();
    for bytes in &answer.events {
        let event = Event::decode(bytes, (after.revision, after.term));
        if matches!(event.change, Change::NotUnderstood) {
            return Replayed::NotFound;
        }
        let cursor = Cursor {
            epoch: after.epoch,
            term: event.term,
            revision: event.revision,
            filter: SiteFilter::ALL,
        };
        events.extend(told(&event, cursor));
    }
    Replayed::Events(events)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_names_a_visitor_stays_at_the_edge() {
        let mut request = HeaderMap::new();
        for name in VISITOR {
            request.insert(name, HeaderValue::from_static("secret"));
        }
        request.insert("accept-language", HeaderValue::from_static("de"));
        let sent = to_choose_by(&request);
        let names: Vec<_> = sent.iter().map(|field| field.name.as_str()).collect();
        assert_eq!(names, ["accept-language"]);
    }
}
