//! The origin: items whose version backends change, answered in all the ways that make
//! caching hard.

use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream;
use http::header::{CACHE_CONTROL, DATE, ETAG, IF_NONE_MATCH, VARY};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tidegate_net::Listener as _;

use crate::cast::Stage;
use crate::entropy;
use crate::items::{ITEMS, Kind, tags};
use crate::net::SimListener;
use crate::rng::Rng;

type Body = UnsyncBoxBody<Bytes, std::io::Error>;

/// The field by which a varying item is chosen.
pub const VARIANT: &str = "x-variant";

/// An edge may give up an answer that takes longer, whatever it takes besides.
const LONG: Duration = Duration::from_secs(3);

/// Serves for ever.
pub async fn serve(mut listener: SimListener, stage: Stage, mut rng: Rng) {
    loop {
        let (stream, _) = listener.accept().await;
        let stage = stage.clone();
        let rng = Rng::new(rng.any(), 0);
        tokio::spawn(async move {
            let rng = parking_lot::Mutex::new(rng);
            let service = service_fn(|request: Request<Incoming>| {
                let own = Rng::new(rng.lock().any(), 1);
                let stage = stage.clone();
                async move { Ok::<_, std::io::Error>(answer(&request, &stage, own).await) }
            });
            let connection = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .serve_connection(TokioIo::new(stream), service);
            // Clients come and go.
            let _ = connection.await;
        });
    }
}

async fn answer(request: &Request<Incoming>, stage: &Stage, mut rng: Rng) -> Response<Body> {
    let (truth, trace) = (&stage.truth, &stage.trace);
    let path = request.uri().path().to_owned();
    let Some(item) = item_of(&path) else {
        return plain(StatusCode::NOT_FOUND);
    };
    // The data is read somewhere between the arrival and the answer, and what is slow
    // is as old as the moment in which it was read.
    if rng.percent(20) {
        tokio::time::sleep(rng.between(Duration::ZERO, Duration::from_millis(300))).await;
    }
    if truth.origin_is_down() {
        trace.count("origin failed");
        return plain(StatusCode::SERVICE_UNAVAILABLE);
    }
    let version = truth.version(item);
    let variant = variant(item, request.headers());
    let delay = match rng.below(10) {
        0 => rng.around(Duration::from_millis(1_500)),
        1..=3 => rng.around(Duration::from_millis(100)),
        _ => Duration::ZERO,
    };
    if delay > LONG {
        stage.calm.origin_takes(delay);
    }
    tokio::time::sleep(delay).await;
    let kind = Kind::of(item);
    let tag = format!("\"{item}-{version}-{variant}\"");
    let asked = request.headers().get(IF_NONE_MATCH);
    let holds = asked.is_some_and(|asked| asked.to_str().is_ok_and(|asked| asked == tag));
    let is_same = kind != Kind::Bare && holds;
    trace.note(
        "origin",
        &format!("{path} version {version} {variant} same={is_same} after {delay:?}"),
    );
    let mut response = if is_same {
        trace.count("origin answered 304");
        Response::new(empty())
    } else {
        Response::new(body(item, version, &variant, kind, &mut rng))
    };
    if is_same {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
    }
    let fields = response.headers_mut();
    let mut set = |name: &'static str, value: &str| {
        if let Ok(value) = HeaderValue::from_str(value) {
            fields.insert(name, value);
        }
    };
    set(DATE.as_str(), &httpdate::fmt_http_date(entropy::calendar()));
    set(CACHE_CONTROL.as_str(), cache_control(kind));
    // What a 304 leaves out stays as it was.
    if !is_same || rng.percent(50) {
        set("cache-tag", &tags(item, version).join(","));
    }
    if kind != Kind::Bare {
        set(ETAG.as_str(), &tag);
    }
    if kind == Kind::Varying {
        set(VARY.as_str(), VARIANT);
    }
    response
}

fn cache_control(kind: Kind) -> &'static str {
    match kind {
        Kind::Brief => "max-age=1, stale-while-revalidate=20, stale-if-error=20",
        Kind::Asked => "no-cache",
        _ => "max-age=600, stale-if-error=60",
    }
}

fn item_of(path: &str) -> Option<usize> {
    let item = path.strip_prefix("/items/")?.parse().ok()?;
    (item < ITEMS).then_some(item)
}

fn variant(item: usize, fields: &HeaderMap) -> String {
    let asked = fields.get(VARIANT).and_then(|value| value.to_str().ok());
    match asked {
        Some(asked) if Kind::of(item) == Kind::Varying => asked.to_owned(),
        _ => "any".to_owned(),
    }
}

/// The text of a version, which says at both ends what it is.
#[must_use]
pub fn text(item: usize, version: u64, variant: &str, padding: usize) -> String {
    let filler = "~".repeat(padding);
    format!("item={item} version={version} variant={variant} {filler} end={version}")
}

/// The item and the version that a text says it is, if it is whole.
#[must_use]
pub fn read_text(text: &str) -> Option<(usize, u64, String)> {
    let mut words = text.split(' ');
    let mut value = |name: &str| {
        let word = words.next()?;
        word.strip_prefix(name)?
            .strip_prefix('=')
            .map(str::to_owned)
    };
    let item = value("item")?.parse().ok()?;
    let version: u64 = value("version")?.parse().ok()?;
    let variant = value("variant")?;
    let end = text.rsplit_once(" end=")?.1;
    (end.parse() == Ok(version)).then_some((item, version, variant))
}

fn body(item: usize, version: u64, variant: &str, kind: Kind, rng: &mut Rng) -> Body {
    let padding = rng.index(2_000);
    let text = text(item, version, variant, padding);
    if kind != Kind::Slow {
        return Full::new(Bytes::from(text))
            .map_err(|never| match never {})
            .boxed_unsync();
    }
    let pause = rng.around(Duration::from_millis(150));
    let half = text.len() / 2;
    let halves = [text[..half].to_owned(), text[half..].to_owned()];
    let pieces = stream::iter(halves).then(move |piece| async move {
        tokio::time::sleep(pause).await;
        Ok(Frame::data(Bytes::from(piece)))
    });
    StreamBody::new(pieces).boxed_unsync()
}

fn empty() -> Body {
    Full::new(Bytes::new())
        .map_err(|never| match never {})
        .boxed_unsync()
}

fn plain(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(empty());
    *response.status_mut() = status;
    let no_store = HeaderValue::from_static("no-store");
    response.headers_mut().insert(CACHE_CONTROL, no_store);
    if let Ok(date) = HeaderValue::from_str(&httpdate::fmt_http_date(entropy::calendar())) {
        response.headers_mut().insert(DATE, date);
    }
    response
}
