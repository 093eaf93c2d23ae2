//! One request to the origin, from the choice of a server to the head of the response.

use std::error::Error as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http::header::{CONTENT_LENGTH, EXPECT, SET_COOKIE, TRANSFER_ENCODING};
use http::uri::{Authority, Scheme as UriScheme};
use http::{
    Extensions, HeaderMap, HeaderName, HeaderValue, Method, Request, Response, Uri, Version,
};
use hyper::body::Incoming;
use hyper_util::client::legacy::Error as ClientError;
use tidegate_domain::PathAndQuery;
use tidegate_domain::site::{CheckedSite, Scheme};
use tidegate_net::Dialer;
use tokio::sync::{Semaphore, oneshot};

use super::body::{BodyFault, OriginBody, Place, RequestBody};
use super::connect::{TooSlow, Used};
use super::error::OriginError;
use super::fields::remove_hop_by_hop;
use super::upstream::{Server, by_load};
use crate::interim::Interim;

/// Servers that are tried for one request, if no connection is made.
const MAX_TRIES: usize = 3;

/// A request for the origin. Its fields are as the origin is to get them.
pub struct OriginRequest {
    /// Method.
    pub method: Method,
    /// Path and query.
    pub url: PathAndQuery,
    /// Fields; see [`super::fields::to_origin`].
    pub fields: HeaderMap,
    /// Body.
    pub body: RequestBody,
    /// Where interim responses go.
    pub interim: Option<Interim>,
}

/// The origin of a site.
#[derive(Debug)]
pub struct Origin {
    servers: Vec<Server>,
    places: Arc<Semaphore>,
    turn: AtomicUsize,
    host: Option<HeaderValue>,
    first_byte_timeout: Duration,
    between_bytes_timeout: Duration,
}

impl Origin {
    /// The origin that the site names; `None` if it names none.
    ///
    /// # Errors
    /// A certificate or a name for TLS cannot be used.
    pub fn new(site: &CheckedSite, dialer: &Dialer) -> Result<Option<Self>, OriginError> {
        let Some(config) = &site.config().origin else {
            return Ok(None);
        };
        let servers = site
            .upstreams()
            .iter()
            .zip(&config.upstreams)
            .map(|(url, upstream)| Server::new(url.clone(), upstream, config, dialer))
            .collect::<Result<_, _>>()?;
        let host = match config.host_header.as_str() {
            "" => None,
            host => Some(HeaderValue::from_str(host).map_err(|_| {
                OriginError::Misconfigured(format!("host_header \"{host}\" is no field value"))
            })?),
        };
        Ok(Some(Self {
            servers,
            places: Arc::new(Semaphore::new(config.max_in_flight as usize)),
            turn: AtomicUsize::new(0),
            host,
            first_byte_timeout: config.first_byte_timeout,
            between_bytes_timeout: config.between_bytes_timeout,
        }))
    }

    /// What the site says the origin is called.
    #[must_use]
    pub fn host(&self) -> Option<&HeaderValue> {
        self.host.as_ref()
    }

    /// Sends a request and waits for the head of the response. Dropping the future or
    /// the body of the response ends the request.
    ///
    /// It is tried again only where that is safe: on another server if no connection
    /// was made, and once on a fresh connection if an idempotent request without a body
    /// met one that had been used before and was closed (RFC 9110, section 9.2.2).
    ///
    /// # Errors
    /// Why there is no response.
    pub async fn send(&self, request: OriginRequest) -> Result<Response<OriginBody>, OriginError> {
        if request.body.is_too_large() {
            return Err(OriginError::RequestTooLarge);
        }
        let site_place = self
            .places
            .clone()
            .try_acquire_owned()
            .map_err(|_| OriginError::Busy)?;
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let mut servers = by_load(&self.servers, turn).into_iter().take(MAX_TRIES);
        let mut server = servers
            .next()
            .ok_or_else(|| OriginError::Misconfigured("it has no upstreams".into()))?;
        let repeatable = Repeatable::of(&request);
        let (mut attempt, mut retried) = (request, false);
        loop {
            let in_flight = server.enter();
            let failed = match self.attempt(server, attempt).await {
                Ok(response) => {
                    let place = Place {
                        _site: site_place,
                        _upstream: in_flight,
                    };
                    let silence = self.between_bytes_timeout;
                    return Ok(response.map(|body| OriginBody::new(body, silence, place)));
                }
                Err(failed) => failed,
            };
            drop(in_flight);
            let Some(again) = repeatable.as_ref() else {
                return Err(failed.error);
            };
            if failed.error.is_connect() {
                match servers.next() {
                    Some(next) => server = next,
                    None => return Err(failed.error),
                }
            } else if failed.was_reused && again.is_idempotent() && !retried {
                retried = true;
            } else {
                return Err(failed.error);
            }
            attempt = again.request();
        }
    }

    async fn attempt(
        &self,
        server: &Server,
        request: OriginRequest,
    ) -> Result<Response<Incoming>, Failed> {
        let mut body = request.body;
        let sent = body.when_sent();
        let mut fields = request.fields;
        if body.is_empty() {
            // Fields that announce a body which does not follow would make the origin
            // take the next request on the connection for it.
            for about_body in [CONTENT_LENGTH, TRANSFER_ENCODING, EXPECT] {
                fields.remove(about_body);
            }
        }
        let mut message = Request::new(body);
        *message.method_mut() = request.method;
        *message.uri_mut() = uri(server, &request.url)?;
        *message.version_mut() = Version::HTTP_11;
        *message.headers_mut() = fields;
        if let Some(interim) = request.interim {
            hyper::ext::on_informational(&mut message, move |said| {
                interim.say(said.status(), &announced(said.headers()));
            });
        }
        let upstream = || server.url.to_string();
        tokio::select! {
            answered = server.client.request(message) => match answered {
                Ok(mut response) => {
                    // RFC 9112, section 6.3: it says nothing about the length then.
                    if response.headers().contains_key(TRANSFER_ENCODING) {
                        response.headers_mut().remove(CONTENT_LENGTH);
                    }
                    if let Some(used) = response.extensions().get::<Used>() {
                        used.set();
                    }
                    Ok(response)
                }
                Err(error) => Err(Failed::of(&error, upstream())),
            },
            () = after(sent, self.first_byte_timeout) => {
                Err(OriginError::FirstByteTimeout(upstream()).into())
            }
        }
    }
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

/// Waits until the request is out, then for the time.
async fn after(sent: oneshot::Receiver<()>, time: Duration) {
    // It is never sent to, only dropped.
    let _ = sent.await;
    tokio::time::sleep(time).await;
}

fn uri(server: &Server, url: &PathAndQuery) -> Result<Uri, OriginError> {
    let wrong = |e: http::Error| OriginError::Misconfigured(e.to_string());
    let scheme = match server.url.scheme {
        Scheme::Http => UriScheme::HTTP,
        Scheme::Https => UriScheme::HTTPS,
    };
    let authority = Authority::try_from(server.url.authority()).map_err(|e| wrong(e.into()))?;
    Uri::builder()
        .scheme(scheme)
        .authority(authority)
        .path_and_query(url.as_str())
        .build()
        .map_err(wrong)
}

/// A failure, and whether it may be the connection's.
struct Failed {
    error: OriginError,
    was_reused: bool,
}

impl From<OriginError> for Failed {
    fn from(error: OriginError) -> Self {
        Self {
            error,
            was_reused: false,
        }
    }
}

impl Failed {
    fn of(error: &ClientError, upstream: String) -> Self {
        if error.is_connect() {
            return if is_too_slow(error) {
                OriginError::ConnectTimeout(upstream).into()
            } else {
                let cause = causes(error);
                OriginError::Connect { upstream, cause }.into()
            };
        }
        let mut extras = Extensions::new();
        if let Some(connected) = error.connect_info() {
            connected.get_extras(&mut extras);
        }
        let was_reused = extras.get::<Used>().is_some_and(Used::get);
        let hyper = error
            .source()
            .and_then(|e| e.downcast_ref::<hyper::Error>());
        let error = if hyper.is_some_and(|e| e.is_user()) {
            broken_request(error)
        } else {
            let cause = causes(error);
            OriginError::Broken { upstream, cause }
        };
        Self { error, was_reused }
    }
}

impl OriginError {
    fn is_connect(&self) -> bool {
        matches!(self, Self::Connect { .. } | Self::ConnectTimeout(_))
    }
}

/// What the client has done wrong with its body.
fn broken_request(error: &ClientError) -> OriginError {
    let mut cause = error.source();
    while let Some(error) = cause {
        match error.downcast_ref::<BodyFault>() {
            Some(BodyFault::TooLarge) => return OriginError::RequestTooLarge,
            Some(BodyFault::Silent) => return OriginError::RequestSilent,
            None => cause = error.source(),
        }
    }
    OriginError::RequestBroken
}

fn is_too_slow(error: &ClientError) -> bool {
    let mut cause = error.source();
    while let Some(error) = cause {
        let timed_out = error
            .downcast_ref::<std::io::Error>()
            .is_some_and(|e| e.kind() == std::io::ErrorKind::TimedOut);
        if error.is::<TooSlow>() || timed_out {
            return true;
        }
        cause = error.source();
    }
    false
}

/// An error with its causes, in one line.
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

/// A request that can be made a second time: it has no body.
struct Repeatable {
    method: Method,
    url: PathAndQuery,
    fields: HeaderMap,
    interim: Option<Interim>,
}

impl Repeatable {
    fn of(request: &OriginRequest) -> Option<Self> {
        request.body.is_empty().then(|| Self {
            method: request.method.clone(),
            url: request.url.clone(),
            fields: request.fields.clone(),
            interim: request.interim.clone(),
        })
    }

    fn is_idempotent(&self) -> bool {
        self.method.is_idempotent()
    }

    fn request(&self) -> OriginRequest {
        OriginRequest {
            method: self.method.clone(),
            url: self.url.clone(),
            fields: self.fields.clone(),
            body: RequestBody::empty(),
            interim: self.interim.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use http_body_util::StreamBody;
    use hyper::body::Frame;
    use tidegate_domain::site::SiteConfig;
    use tokio::io::AsyncReadExt as _;
    use tokio::net::TcpListener;
    use tokio::sync::mpsc;

    use crate::origin::{BodyLimits, BoxError};

    const LIMITS: BodyLimits = BodyLimits {
        max_bytes: 8,
        silence: Duration::from_millis(20),
    };

    /// An origin of one place whose server takes everything and says nothing.
    async fn listening() -> Origin {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                tokio::spawn(async move {
                    let mut bytes = [0; 1024];
                    while stream.read(&mut bytes).await.is_ok_and(|read| read > 0) {}
                });
            }
        });
        let config: SiteConfig = serde_json::from_value(serde_json::json!({
            "hosts": ["www.example.com"],
            "origin": { "upstreams": [{ "url": url }], "max_in_flight": 1 },
        }))
        .unwrap();
        Origin::new(&config.check().unwrap(), &Dialer::Tcp)
            .unwrap()
            .unwrap()
    }

    fn post(body: RequestBody) -> OriginRequest {
        OriginRequest {
            method: Method::POST,
            url: PathAndQuery::parse("/").unwrap(),
            fields: HeaderMap::new(),
            body,
            interim: None,
        }
    }

    #[tokio::test]
    async fn a_client_that_breaks_a_limit_of_its_body_loses_its_place() {
        type Piece = Result<Frame<Bytes>, BoxError>;
        let origin = listening().await;
        for (pieces, expected) in [
            (1, OriginError::RequestSilent),
            (3, OriginError::RequestTooLarge),
        ] {
            // A sender that stays keeps the body open.
            let (sender, receiver) = mpsc::channel::<Piece>(4);
            for _ in 0..pieces {
                let piece = Frame::data(Bytes::from_static(b"abcd"));
                sender.try_send(Ok(piece)).unwrap();
            }
            let stream = tokio_stream::wrappers::ReceiverStream::new(receiver);
            let body = RequestBody::new(StreamBody::new(stream), LIMITS);
            let sent = tokio::time::timeout(Duration::from_secs(20), origin.send(post(body)));
            let error = sent.await.expect("it is given up").err();
            assert_eq!(error, Some(expected));
            assert_eq!(origin.places.available_permits(), 1);
        }
        let announced = http_body_util::Full::new(Bytes::from_static(b"123456789"));
        let body = RequestBody::new(announced, LIMITS);
        let error = origin.send(post(body)).await.err();
        assert_eq!(error, Some(OriginError::RequestTooLarge));
    }
}
