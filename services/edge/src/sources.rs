//! What the rooms of this edge ask of the control plane besides the order: blobs,
//! pushed entries, and a part of the log again.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::{FutureExt as _, StreamExt as _};
use http::header::VARY;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use tidegate_domain::{
    Cursor, Digest, Epoch, InstanceId, PathAndQuery, Revision, SiteFilter, SiteName, Tag,
    TagPattern,
};
use tidegate_proto::{duration_to_wire, v1};
use tonic::{Code, Response};

use crate::events::{Replay, Replayed};
use crate::link::{Change, Channels, Client, Event};
use crate::pages::{BlobError, BlobSource, BlobStream};
use crate::proxy::{
    EntrySource, FetchNumber, PushedEntry, SecondTier, TierAnswer, TierPlace, TierQuestion,
    TierShare, TierStored, TierTurn, Unanswered, VISITOR,
};
use crate::standing::Standing;
use crate::told::told;

/// How long one call may take, streams apart.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);

/// The longest silence inside a blob.
const BLOB_SILENCE: Duration = Duration::from_secs(15);

/// The most fields of a request that are sent to choose an entry by.
const MAX_FIELDS: usize = 100;

/// Asks the control plane.
pub(crate) struct ControlPlane {
    client: Client,
    standing: Arc<Standing>,
    instance: InstanceId,
}

impl ControlPlane {
    /// Asks over the connection for content.
    #[must_use]
    pub(crate) fn new(channels: &Channels, standing: Arc<Standing>, instance: InstanceId) -> Self {
        Self {
            client: channels.content.clone(),
            standing,
            instance,
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
    ) -> BoxFuture<'static, Result<Option<PushedEntry>, Unanswered>> {
        let mut client = self.client.clone();
        let request = v1::LookupEntryRequest {
            site: site.to_string(),
            url: url.to_string(),
            request_headers: to_choose_by(headers),
            shared: None,
        };
        let epoch = self.standing.position().map(|p| p.epoch);
        async move {
            let answer = found(client.lookup_entry(request).await)?;
            Ok(epoch.and_then(|epoch| entry(answer, epoch, &[])))
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
        .map(|(name, value)| field_to_wire(name, value))
        .collect()
}

impl SecondTier for ControlPlane {
    fn look(&self, question: TierQuestion) -> BoxFuture<'static, Result<TierAnswer, Unanswered>> {
        let mut client = self.client.clone();
        let TierPlace { site, url, key } = question.place;
        let request = v1::LookupEntryRequest {
            site: site.to_string(),
            url: url.to_string(),
            request_headers: to_choose_by(&question.request),
            shared: Some(v1::SharedQuestion {
                instance_id: self.instance.to_string(),
                cursor: question.at.to_string(),
                key: to_wire(&key),
                may_fill: question.may_fill,
                wait: Some(duration_to_wire(question.wait)),
                turn: question.number.0,
            }),
        };
        async move {
            let answer = found(client.lookup_entry(request).await)?;
            let turn = match answer.fill() {
                v1::FillState::Unspecified => TierTurn::Nobody,
                v1::FillState::Yours => TierTurn::Yours,
                v1::FillState::UnderWay => TierTurn::UnderWay,
            };
            Ok(TierAnswer {
                entry: entry(answer, question.at.epoch, &key),
                turn,
            })
        }
        .boxed()
    }

    fn share(&self, share: TierShare) -> BoxFuture<'static, Result<TierStored, Unanswered>> {
        let mut client = self.client.clone();
        let TierPlace { site, url, key } = share.place;
        let entry = share.entry;
        let headers = entry.headers.iter();
        let key = to_wire(&key);
        let mut vary = key.clone();
        vary.extend(to_wire(&share.vary));
        let request = v1::StoreEntryRequest {
            site: site.to_string(),
            entry: Some(v1::Entry {
                url: url.to_string(),
                status: entry.status.as_u16().into(),
                headers: headers.map(|(n, v)| field_to_wire(n, v)).collect(),
                body: entry.body,
                tags: entry.tags.iter().map(ToString::to_string).collect(),
                ttl: Some(duration_to_wire(entry.fresh_for)),
                vary,
            }),
            fill_cursor: share.filled_at.to_string(),
            age: Some(duration_to_wire(entry.age)),
            instance_id: self.instance.to_string(),
            key,
            turn: share.number.0,
        };
        async move { stored(client.store_entry(request).await.map(Response::into_inner)) }.boxed()
    }

    fn release(
        &self,
        place: TierPlace,
        number: FetchNumber,
    ) -> BoxFuture<'static, Result<(), Unanswered>> {
        let mut client = self.client.clone();
        let request = v1::ReleaseEntryRequest {
            site: place.site.to_string(),
            url: place.url.to_string(),
            instance_id: self.instance.to_string(),
            key: to_wire(&place.key),
            turn: number.0,
        };
        async move {
            client.release_entry(request).await.map_err(unanswered)?;
            Ok(())
        }
        .boxed()
    }
}

/// What a look-up comes to. One that is refused has found nothing: the control plane is well,
/// so it is no reason to leave it alone. Nothing of this request is shared, or it does not
/// know the site.
fn found(
    answer: Result<Response<v1::LookupEntryResponse>, tonic::Status>,
) -> Result<v1::LookupEntryResponse, Unanswered> {
    match answer {
        Ok(answer) => Ok(answer.into_inner()),
        Err(status) if matches!(status.code(), Code::InvalidArgument | Code::NotFound) => {
            Ok(v1::LookupEntryResponse::default())
        }
        Err(status) => Err(unanswered(status)),
    }
}

fn stored(answer: Result<v1::StoreEntryResponse, tonic::Status>) -> Result<TierStored, Unanswered> {
    match answer {
        Ok(answer) if answer.stored => Ok(TierStored::Stored),
        Ok(_) => Ok(TierStored::NotStored),
        Err(status) if status.code() == Code::InvalidArgument => Ok(TierStored::Unfit),
        Err(status) => Err(unanswered(status)),
    }
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "it is what a failed call gives"
)]
fn unanswered(status: tonic::Status) -> Unanswered {
    Unanswered(format!("{}: {}", status.code(), status.message()))
}

fn to_wire(fields: &[(HeaderName, HeaderValue)]) -> Vec<v1::HeaderField> {
    fields.iter().map(|(n, v)| field_to_wire(n, v)).collect()
}

fn field_to_wire(name: &HeaderName, value: &HeaderValue) -> v1::HeaderField {
    v1::HeaderField {
        name: name.as_str().to_owned(),
        value: Bytes::copy_from_slice(value.as_bytes()),
    }
}

/// What was found, if it is of this history. Of one that is shared, `key` is what it must
/// name, and what it names besides is its `Vary`.
fn entry(
    answer: v1::LookupEntryResponse,
    epoch: Epoch,
    key: &[(HeaderName, HeaderValue)],
) -> Option<PushedEntry> {
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
    let is_of_key = |field: &v1::HeaderField| {
        let of = |(name, value): &(HeaderName, HeaderValue)| {
            *name == *field.name && value.as_bytes() == field.value
        };
        answer.shared && key.iter().any(of)
    };
    let (of_key, vary): (Vec<_>, Vec<_>) = entry.vary.iter().partition(|field| is_of_key(field));
    if answer.shared && of_key.len() != key.len() {
        return None;
    }
    for field in vary {
        headers.append(VARY, HeaderValue::from_str(&field.name).ok()?);
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
        is_shared: answer.shared,
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

    #[test]
    fn a_control_plane_that_refuses_a_look_up_has_answered() {
        for (code, is_answer) in [
            (Code::InvalidArgument, true),
            (Code::NotFound, true),
            (Code::Unavailable, false),
            (Code::Internal, false),
            (Code::DeadlineExceeded, false),
        ] {
            let answer = found(Err(tonic::Status::new(code, "")));
            assert_eq!(answer.is_ok(), is_answer, "{code:?}");
            assert!(answer.is_ok_and(|it| it.entry.is_none()) || !is_answer);
        }
    }

    #[test]
    fn what_breaks_a_rule_is_told_from_what_failed() {
        let said = |code| stored(Err(tonic::Status::new(code, ""))).ok();
        assert_eq!(said(Code::InvalidArgument), Some(TierStored::Unfit));
        assert_eq!(said(Code::Unavailable), None);
        assert_eq!(said(Code::NotFound), None);
        let said = |is_stored| stored(Ok(v1::StoreEntryResponse { stored: is_stored })).ok();
        assert_eq!(said(true), Some(TierStored::Stored));
        assert_eq!(said(false), Some(TierStored::NotStored));
    }
}
