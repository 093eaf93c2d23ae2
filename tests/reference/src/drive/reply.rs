//! What the origin's answers are made of: the fields that a profile states, the part of a
//! version that a request wants, the bytes of each. Nothing here remembers anything.

use bytes::Bytes;
use futures_util::stream::{self, Stream, StreamExt as _};
use http::{HeaderName, HeaderValue, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::Frame;

use super::lie::Lie;
use crate::fields::{Fields, write_date};
use crate::history::Version;
use crate::scenario::Profile;

/// After so many, what was written before is with the edge.
const TURNS_TO_LEAVE: usize = 16;

/// What it answers with.
pub(super) type OriginResponse = Response<UnsyncBoxBody<Bytes, std::io::Error>>;

/// What an answer consists of.
pub(super) struct Said {
    pub(super) status: u16,
    pub(super) fields: Fields,
    pub(super) body: Vec<u8>,
}

pub(super) fn said(status: u16, fields: Fields, body: Vec<u8>) -> Said {
    Said {
        status,
        fields,
        body,
    }
}

pub(super) fn validators(version: &Version) -> Fields {
    let mut fields = Fields::default();
    if let Some(tag) = &version.etag {
        fields.add("etag", tag);
    }
    if let Some(modified) = version.modified {
        fields.add("last-modified", write_date(modified));
    }
    fields
}

/// What a profile says to caches.
pub(super) fn described(profile: &Profile, mut fields: Fields, now: u64) -> Fields {
    let seconds = now / 1_000;
    if !profile.cache_control.is_empty() {
        fields.add("cache-control", profile.cache_control.join(", "));
    }
    if let Some((name, value)) = profile.targeted {
        fields.add(name, value);
    }
    match profile.expires {
        None => {}
        Some(None) => fields.add("expires", "0"),
        Some(Some(off)) => fields.add("expires", write_date(seconds.saturating_add_signed(off))),
    }
    if let Some(age) = profile.age {
        fields.add("age", age.to_string());
    }
    if let Some(date) = profile.date {
        fields.add("date", write_date(seconds - date));
    }
    if !profile.vary.is_empty() {
        fields.add("vary", profile.vary);
    }
    if !profile.tags.is_empty() {
        fields.add("cache-tag", profile.tags);
    }
    if profile.groups {
        fields.add("cache-groups", "\"g\"");
    }
    fields
}

fn opaque(tag: &str) -> &str {
    tag.trim_start_matches("W/")
}

pub(super) fn preconditions_hold(request: &Fields, version: &Version) -> bool {
    !request.has("if-match")
        || request
            .list("if-match")
            .iter()
            .any(|tag| Some(tag) == version.etag.as_ref() && !tag.starts_with("W/"))
}

pub(super) fn is_unchanged(request: &Fields, version: &Version) -> bool {
    if request.has("if-none-match") {
        let own = version.etag.as_deref().map(opaque);
        let tags = request.list("if-none-match");
        return tags
            .iter()
            .any(|tag| tag == "*" || Some(opaque(tag)) == own);
    }
    let since = request.date("if-modified-since");
    version
        .modified
        .zip(since)
        .is_some_and(|(modified, since)| modified <= since)
}

/// What of a version is sent.
pub(super) enum Part {
    Whole,
    Nothing,
    Of(usize, usize),
}

/// The one range that a request wants; several get the whole.
pub(super) fn part(request: &Fields, version: &Version, now: u64) -> Part {
    let Some(set) = request
        .first("range")
        .and_then(|set| set.strip_prefix("bytes="))
    else {
        return Part::Whole;
    };
    if let Some(condition) = request.first("if-range") {
        let by_tag = version.etag.as_deref() == Some(condition) && !condition.starts_with("W/");
        let is_strong = version
            .modified
            .is_some_and(|modified| modified + 60 < now / 1_000);
        let by_date = is_strong && version.modified.map(write_date).as_deref() == Some(condition);
        if !by_tag && !by_date {
            return Part::Whole;
        }
    }
    let end = version.body.len().saturating_sub(1);
    let (first, last) = match set.split_once('-') {
        Some((first, last)) if !set.contains(',') => (first.parse(), last.parse()),
        _ => return Part::Whole,
    };
    match (first, last) {
        (Ok(first), Ok(last)) if first > last => Part::Whole,
        (Ok(first), _) if first >= version.body.len() => Part::Nothing,
        (Ok(first), Ok(last)) => Part::Of(first, end.min(last)),
        (Ok(first), Err(_)) => Part::Of(first, end),
        (Err(_), Ok(0)) => Part::Nothing,
        (Err(_), Ok(_)) if version.body.is_empty() => Part::Whole,
        (Err(_), Ok(count)) => Part::Of(version.body.len().saturating_sub(count), end),
        (Err(_), Err(_)) => Part::Whole,
    }
}

/// Bytes that no other version has at the same place.
pub(super) fn content(number: usize, length: usize) -> Vec<u8> {
    (0..length)
        .map(|at| match at % 4 {
            0 => b'a' + u8::try_from(number % 26).unwrap_or(0),
            1 => b'A' + u8::try_from(number / 26 % 26).unwrap_or(0),
            2 => b'a' + u8::try_from(at / 4 % 26).unwrap_or(0),
            _ => b'.',
        })
        .collect()
}

/// A response as it leaves: told to the edge as the lie has it.
pub(super) fn response(said: Said, broke: bool, is_head: bool, lie: Lie) -> OriginResponse {
    let (length, bytes) = (said.body.len(), Bytes::from(said.body));
    let mut response = Response::new(match broke {
        false if is_head => Full::default()
            .map_err(|never| match never {})
            .boxed_unsync(),
        false => Full::new(bytes)
            .map_err(|never| match never {})
            .boxed_unsync(),
        true => StreamBody::new(broken_off(bytes.slice(..length / 2))).boxed_unsync(),
    });
    *response.status_mut() = StatusCode::from_u16(said.status).unwrap_or_default();
    for (name, value) in lie.response(said.fields).0 {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            response.headers_mut().append(name, value);
        }
    }
    if (broke || is_head) && said.status != 304 {
        response
            .headers_mut()
            .insert("content-length", length.into());
    }
    response
}

/// The beginning of a body, then an error: what is there has left before.
fn broken_off(bytes: Bytes) -> impl Stream<Item = std::io::Result<Frame<Bytes>>> {
    let error = std::io::Error::other("breaks off on purpose");
    stream::iter([Ok(Frame::data(bytes)), Err(error)]).then(|piece| async {
        for _ in 0..TURNS_TO_LEAVE {
            tokio::task::yield_now().await;
        }
        piece
    })
}
