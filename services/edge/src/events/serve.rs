//! From a request to an answer.

use std::sync::Arc;

use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode};

use super::body::{EventsBody, Live};
use super::caps::Full;
use super::request::{Ask, Call};
use super::site::SiteEvents;

impl SiteEvents {
    /// Answers a request for the site's events.
    ///
    /// 200 with a stream; 204 to a preflight; 400 names the parameter that is wrong;
    /// 405 for other methods; 503 with `Retry-After` when there are too many
    /// connections or the edge drains. A browser that is ahead of this edge, or
    /// needs what only the control plane remembers, waits for the answer, bounded by
    /// [`Limits`](super::Limits).
    pub async fn serve(self: &Arc<Self>, call: Call<'_>) -> Response<EventsBody> {
        let rules = self.rules();
        let mut response = match *call.method {
            Method::GET | Method::HEAD => self.open(&call).await,
            Method::OPTIONS => {
                let mut response = answer(StatusCode::NO_CONTENT, "");
                response
                    .headers_mut()
                    .insert(ALLOW, HeaderValue::from_static("GET, HEAD, OPTIONS"));
                rules
                    .cors
                    .apply_preflight(call.headers, response.headers_mut());
                return response;
            }
            _ => {
                let text = "this resource answers GET, HEAD and OPTIONS\n";
                let mut response = answer(StatusCode::METHOD_NOT_ALLOWED, text);
                response
                    .headers_mut()
                    .insert(ALLOW, HeaderValue::from_static("GET, HEAD, OPTIONS"));
                response
            }
        };
        rules.cors.apply(call.headers, response.headers_mut());
        response
    }

    async fn open(self: &Arc<Self>, call: &Call<'_>) -> Response<EventsBody> {
        let ask = match Ask::parse(call) {
            Ok(ask) => ask,
            Err(error) => return answer(StatusCode::BAD_REQUEST, format!("{error}\n")),
        };
        if *call.method == Method::HEAD {
            return stream(EventsBody::text(""));
        }
        let rules = self.rules();
        let (all, each) = (rules.max_connections, rules.max_connections_per_address);
        let permit = match self.caps.admit(call.peer, all, each) {
            Ok(permit) => permit,
            Err(Full::Site) => return busy("too many open connections\n"),
            Err(Full::Address) => return busy("too many open connections from this address\n"),
        };
        let Ok(begun) = self.begin(ask).await else {
            return busy("this edge is about to stop\n");
        };
        stream(EventsBody::live(Live::new(
            begun.member,
            begun.reader,
            begun.seen,
            begun.opening,
            self.end_of_life(),
            permit,
        )))
    }

    /// 80 to 100 % of a lifetime from now on, so that those who came together do
    /// not leave together.
    fn end_of_life(&self) -> u64 {
        let lifetime = self.limits.lifetime.mul_f64(rand::random_range(0.8..=1.0));
        (self.standing.clock().boot() + lifetime).as_nanos()
    }
}

fn stream(body: EventsBody) -> Response<EventsBody> {
    let mut response = Response::new(body);
    fields(response.headers_mut(), "text/event-stream");
    // Asks reverse proxies not to hold events back.
    response.headers_mut().insert(
        HeaderName::from_static("x-accel-buffering"),
        HeaderValue::from_static("no"),
    );
    response
}

fn busy(text: &'static str) -> Response<EventsBody> {
    let mut response = answer(StatusCode::SERVICE_UNAVAILABLE, text);
    // Random, so that those who were refused together do not come back together.
    let seconds: u16 = rand::random_range(2..=10);
    response
        .headers_mut()
        .insert(RETRY_AFTER, HeaderValue::from(seconds));
    response
}

fn answer(status: StatusCode, text: impl Into<bytes::Bytes>) -> Response<EventsBody> {
    let mut response = Response::new(EventsBody::text(text));
    *response.status_mut() = status;
    fields(response.headers_mut(), "text/plain; charset=utf-8");
    response
}

fn fields(headers: &mut HeaderMap, content_type: &'static str) {
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
}
