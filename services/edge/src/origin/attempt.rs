//! One request on one connection, up to the head of the response.

use std::error::Error as _;
use std::time::Duration;

use http::header::{CONTENT_LENGTH, EXPECT, HOST, SET_COOKIE, TRANSFER_ENCODING, UPGRADE};
use http::uri::{Authority, Scheme as UriScheme};
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri, Version,
};
use http_body::Body as _;
use hyper::body::Incoming;
use tidegate_domain::PathAndQuery;
use tidegate_domain::site::{Scheme, UpstreamUrl};
use tokio::sync::watch;

use super::body::{BodyFault, RequestBody, Turn};
use super::connection::{Connection, Stream, was_refused};
use super::error::OriginError;
use super::fields::{is_chunked_alone, remove_hop_by_hop};
use super::upstream::Upstream;
use crate::interim::Interim;

/// A request without its body, so that it can be sent again.
#[derive(Clone)]
pub(super) struct Letter {
    pub(super) method: Method,
    pub(super) url: PathAndQuery,
    pub(super) fields: HeaderMap,
    pub(super) interim: Option<Interim>,
}

/// No response.
pub(super) enum Failed {
    /// Nothing was sent: the connection was closed already. Here is the body again.
    Unsent(RequestBody, OriginError),
    /// What was sent may have had an effect. The connection was used before and may have
    /// been closed in between, or the upstream says that it has done nothing.
    OnUsed(OriginError),
    /// What was sent may have had an effect.
    Broken(OriginError),
}

/// Sends a request. A connection of HTTP/1.1 goes back to its pool by itself; what is
/// returned with the response is a place on one of HTTP/2.
pub(super) async fn attempt(
    upstream: &Upstream,
    mut connection: Connection,
    letter: Letter,
    mut body: RequestBody,
    first_byte_timeout: Duration,
) -> Result<(Response<Incoming>, Option<Stream>), Failed> {
    let (turns, fault) = (body.turns(), body.fault());
    let method = letter.method.clone();
    let was_used = connection.was_used();
    let may_switch = letter.fields.contains_key(UPGRADE);
    let message =
        message(letter, body, &upstream.url, connection.is_http2()).map_err(Failed::Broken)?;
    let answered = tokio::select! {
        answered = connection.send(message) => answered,
        () = too_long(turns, first_byte_timeout) => {
            let timeout = OriginError::FirstByteTimeout(upstream.url.to_string());
            return Err(Failed::Broken(timeout));
        }
    };
    let mut error = match answered {
        Ok(mut response) => {
            if response.status() == StatusCode::SWITCHING_PROTOCOLS && !may_switch {
                return Err(Failed::Broken(OriginError::Broken {
                    upstream: upstream.url.to_string(),
                    cause: "it switched to a protocol that was not asked for".into(),
                }));
            }
            let next = next_on(&response, &method);
            if response.headers().contains_key(TRANSFER_ENCODING) {
                if has_content(response.status(), &method) && !is_chunked_alone(response.headers())
                {
                    let coded = OriginError::Coded(upstream.url.to_string());
                    return Err(Failed::Broken(coded));
                }
                // RFC 9112, section 6.3: it says nothing about the length then.
                response.headers_mut().remove(CONTENT_LENGTH);
            }
            // RFC 9110, section 8.6: nobody may say it of such a response.
            if response.status() == StatusCode::NO_CONTENT {
                response.headers_mut().remove(CONTENT_LENGTH);
            }
            say_length_once(response.headers_mut());
            let stream = match connection {
                Connection::Http1(one) => {
                    match next {
                        Next::Never => drop(one),
                        Next::Later => upstream.pool.give_back_later(one),
                        Next::AtOnce => upstream.pool.give_back(one),
                    }
                    None
                }
                Connection::Http2(stream) => Some(stream),
            };
            return Ok((response, stream));
        }
        Err(error) => error,
    };
    let unsent = error.take_message();
    let error = error.into_error();
    connection.broke(&error);
    let broken = OriginError::Broken {
        upstream: upstream.url.to_string(),
        cause: causes(&error),
    };
    Err(match (fault.get(), unsent) {
        (Some(fault), _) => Failed::Broken((*fault).into()),
        (None, Some(message)) => Failed::Unsent(message.into_body(), broken),
        (None, None) if was_used || was_refused(&error) => Failed::OnUsed(broken),
        (None, None) => Failed::Broken(broken),
    })
}

/// When a connection of HTTP/1 may carry another request.
enum Next {
    Never,
    /// If nothing comes on it for a while.
    Later,
    AtOnce,
}

/// When another request may follow this response. Never behind one of HTTP/1.0: hyper speaks
/// that version back, and leaves out a body of unknown length. Not at once behind a head without
/// a body that announces one: an origin that sends it all the same would have it taken for the
/// answer to the next request.
fn next_on(response: &Response<Incoming>, method: &Method) -> Next {
    let fields = response.headers();
    let lengths = fields.get_all(CONTENT_LENGTH);
    let announces = fields.contains_key(TRANSFER_ENCODING)
        || lengths.iter().any(|length| length.as_bytes() != b"0");
    match has_content(response.status(), method) {
        _ if response.version() == Version::HTTP_10 => Next::Never,
        false if announces => Next::Later,
        _ => Next::AtOnce,
    }
}

/// Whether a body follows, if only an empty one (RFC 9112, section 6.3).
fn has_content(status: StatusCode, method: &Method) -> bool {
    method != Method::HEAD
        && !status.is_informational()
        && !matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
}

/// A length that is said more than once is said once: hyper has seen that it is the same
/// (RFC 9110, section 8.6).
fn say_length_once(fields: &mut HeaderMap) {
    let mut lines = fields.get_all(CONTENT_LENGTH).iter();
    let (first, second) = (lines.next(), lines.next());
    let Some(first) = first.and_then(|line| line.to_str().ok()) else {
        return;
    };
    if second.is_some() || first.contains(',') {
        let length = first.split(',').next().unwrap_or_default().trim();
        if let Ok(length) = HeaderValue::from_str(length) {
            fields.insert(CONTENT_LENGTH, length);
        }
    }
}

fn message(
    letter: Letter,
    body: RequestBody,
    upstream: &UpstreamUrl,
    is_http2: bool,
) -> Result<Request<RequestBody>, OriginError> {
    let mut fields = letter.fields;
    if body.is_empty() {
        // Fields that announce a body which does not follow would make the origin
        // take the next request on the connection for it.
        for about_body in [TRANSFER_ENCODING, EXPECT] {
            fields.remove(about_body);
        }
        let was_said = fields.remove(CONTENT_LENGTH).is_some();
        if says_that_it_is_empty(&letter.method, was_said) {
            fields.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
        }
    } else if let Some(length) = body.size_hint().exact() {
        // However often and in whatever spelling the client has said it.
        fields.insert(CONTENT_LENGTH, length.into());
    } else {
        fields.remove(CONTENT_LENGTH);
        if !is_http2 {
            // Of itself hyper sends no body of unknown length with a GET.
            fields.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
        }
    }
    let uri = match is_http2 {
        true => absolute(&letter.url, upstream, &mut fields),
        false => Uri::builder().path_and_query(letter.url.as_str()).build(),
    };
    let mut message = Request::new(body);
    *message.method_mut() = letter.method;
    *message.uri_mut() = uri.map_err(|e| OriginError::Misconfigured(e.to_string()))?;
    *message.version_mut() = match is_http2 {
        true => Version::HTTP_2,
        false => Version::HTTP_11,
    };
    *message.headers_mut() = fields;
    if let Some(interim) = letter.interim {
        hyper::ext::on_informational(&mut message, move |said| {
            interim.say(said.status(), &announced(said.headers()));
        });
    }
    Ok(message)
}

/// Whether a request without a body says so: where its method lets one expect a body (RFC
/// 9110, section 8.6), many origins refuse it otherwise. What is asked in common with
/// others says nothing of it, whatever its client does.
fn says_that_it_is_empty(method: &Method, was_said: bool) -> bool {
    match *method {
        Method::POST | Method::PUT | Method::PATCH => true,
        Method::GET | Method::HEAD => false,
        _ => was_said,
    }
}

/// In HTTP/2 the host is a part of the URI (RFC 9113, section 8.3.1).
fn absolute(
    url: &PathAndQuery,
    upstream: &UpstreamUrl,
    fields: &mut HeaderMap,
) -> Result<Uri, http::Error> {
    let host = fields.remove(HOST);
    let named = host.and_then(|host| Authority::try_from(host.as_bytes()).ok());
    let authority = match named {
        Some(authority) => authority,
        None => Authority::try_from(upstream.authority())?,
    };
    let scheme = match upstream.scheme {
        Scheme::Http => UriScheme::HTTP,
        Scheme::Https => UriScheme::HTTPS,
    };
    let uri = Uri::builder().scheme(scheme).authority(authority);
    uri.path_and_query(url.as_str()).build()
}

/// The fields of an interim response as they leave: what is about the connection, about a
/// body that there is not, or about one visitor stays here, and so does what only this
/// edge says of itself.
fn announced(fields: &HeaderMap) -> HeaderMap {
    let mut fields = fields.clone();
    remove_hop_by_hop(&mut fields);
    let ours = |name: &&HeaderName| name.as_str().starts_with("tidegate-");
    let ours: Vec<HeaderName> = fields.keys().filter(ours).cloned().collect();
    for name in ours.iter().chain(&[CONTENT_LENGTH, SET_COOKIE]) {
        fields.remove(name);
    }
    fields
}

/// Waits until the origin lets one wait for too long, be it to take the body or to answer.
/// The client's time does not count: its body has limits of its own.
async fn too_long(turns: Option<watch::Receiver<Turn>>, limit: Duration) {
    if let Some(mut turns) = turns {
        loop {
            let whose = *turns.borrow_and_update();
            let gone = match whose {
                Turn::Client => turns.changed().await.is_err(),
                Turn::Origin => match tokio::time::timeout(limit, turns.changed()).await {
                    Ok(changed) => changed.is_err(),
                    Err(_) => return,
                },
            };
            if gone {
                break;
            }
        }
    }
    tokio::time::sleep(limit).await;
}

impl From<BodyFault> for OriginError {
    fn from(fault: BodyFault) -> Self {
        match fault {
            BodyFault::TooLarge(most) => Self::RequestTooLarge(most),
            BodyFault::Silent => Self::RequestSilent,
            BodyFault::BrokeOff => Self::RequestBroken,
        }
    }
}

/// An error with its causes, in one line.
fn causes(error: &hyper::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
