//! What a browser asks for.

use std::borrow::Cow;
use std::net::IpAddr;

use http::{HeaderMap, Method};
use tidegate_domain::{Cursor, FieldError, TagPattern};

use super::frame::Detail;
use super::group::GroupKey;

/// The most interests of one connection.
pub(super) const MAX_INTERESTS: usize = 64;

/// A request for `/_tidegate/events`, as far as it matters here.
#[derive(Debug, Clone, Copy)]
pub struct Call<'a> {
    /// The method.
    pub method: &'a Method,
    /// The query, without its `?`.
    pub query: Option<&'a str>,
    /// The fields.
    pub headers: &'a HeaderMap,
    /// Whose connections are counted together.
    pub peer: IpAddr,
}

impl<'a> Call<'a> {
    /// The call of a request from `peer`.
    #[must_use]
    pub fn new(request: &'a http::request::Parts, peer: IpAddr) -> Self {
        Self {
            method: &request.method,
            query: request.uri.query(),
            headers: &request.headers,
            peer,
        }
    }
}

/// A call, read.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Ask {
    pub(super) key: GroupKey,
    pub(super) last: LastEvent,
}

/// What the browser heard last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LastEvent {
    /// It is new.
    None,
    /// Not an id of ours, or not whole. No reason to refuse: an `EventSource` would
    /// never come back.
    Unreadable,
    At(Cursor),
}

impl Ask {
    /// Reads `interest`, `detail` and `last_event_id`; the `Last-Event-ID` field,
    /// which an `EventSource` keeps up to date, wins. Other parameters are ignored.
    pub(super) fn parse(call: &Call<'_>) -> Result<Self, FieldError> {
        let mut interests = Vec::new();
        let mut detail = Detail::Plain;
        let mut last = LastEvent::None;
        for param in call.query.unwrap_or_default().split('&') {
            let (name, value) = param.split_once('=').unwrap_or((param, ""));
            match name {
                "interest" => {
                    if interests.len() == MAX_INTERESTS {
                        let allowed = format!("at most {MAX_INTERESTS} interests");
                        return Err(FieldError::new("interest", value, allowed));
                    }
                    let field = || format!("interest[{}]", interests.len());
                    let pattern = decode(value)
                        .and_then(|text| TagPattern::parse(&text))
                        .map_err(|e| e.within(field()))?;
                    interests.push(pattern);
                }
                "detail" => {
                    detail = match value {
                        "" | "0" => Detail::Plain,
                        "1" => Detail::Full,
                        _ => return Err(FieldError::new("detail", value, "\"0\" or \"1\"")),
                    };
                }
                "last_event_id" => {
                    last = decode(value).map_or(LastEvent::Unreadable, |text| {
                        LastEvent::parse(text.as_bytes())
                    });
                }
                _ => {}
            }
        }
        if let Some(field) = call.headers.get("last-event-id") {
            last = LastEvent::parse(field.as_bytes());
        }
        Ok(Self {
            key: GroupKey {
                interests: simplest(interests),
                detail,
            },
            last,
        })
    }
}

/// What a caller wants to hear of.
///
/// # Errors
/// A parameter is malformed.
pub(crate) fn interests(call: &Call<'_>) -> Result<Vec<TagPattern>, FieldError> {
    Ask::parse(call).map(|ask| ask.key.interests)
}

impl LastEvent {
    fn parse(text: &[u8]) -> Self {
        match std::str::from_utf8(text).map(str::trim) {
            Ok("") => Self::None,
            Ok(text) => text.parse().map_or(Self::Unreadable, Self::At),
            Err(_) => Self::Unreadable,
        }
    }
}

/// Equal interests become equal keys, so that their connections share a group.
fn simplest(mut interests: Vec<TagPattern>) -> Vec<TagPattern> {
    if interests.iter().any(TagPattern::is_everything) {
        return vec![TagPattern::everything()];
    }
    interests.sort_unstable();
    interests.dedup();
    interests
}

/// Decodes a value of `application/x-www-form-urlencoded`.
fn decode(value: &str) -> Result<Cow<'_, str>, FieldError> {
    if !value.contains(['%', '+']) {
        return Ok(value.into());
    }
    let wrong = || FieldError::new("", value, "percent-encoded UTF-8");
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        rest = after;
        bytes.push(match first {
            b'+' => b' ',
            b'%' => {
                let (digits, after) = rest.split_at_checked(2).ok_or_else(wrong)?;
                rest = after;
                let digit = |b: u8| char::from(b).to_digit(16).ok_or_else(wrong);
                // Two hex digits fit in a byte.
                u8::try_from(digit(digits[0])? << 4 | digit(digits[1])?).unwrap_or_default()
            }
            plain => plain,
        });
    }
    String::from_utf8(bytes)
        .map(Cow::Owned)
        .map_err(|_| wrong())
}
