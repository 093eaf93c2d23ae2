//! Visitors: requests to any edge, each answer judged by what was forbidden when the
//! request left.

use std::time::Duration;

use http::header::{ETAG, HOST as HOST_FIELD, IF_NONE_MATCH};
use http::{HeaderMap, HeaderValue, Request, StatusCode};
use http_body_util::{BodyExt as _, Empty};
use hyper_util::rt::TokioIo;
use tidegate_domain::Cursor;

use crate::cast::{EDGE_PORT, EDGES, HOST, Stage, VISITORS, edge};
use crate::entropy;
use crate::items::{ITEMS, Kind, path};
use crate::origin::{VARIANT, read_text};
use crate::rng::Rng;

/// The longest that a visitor waits.
const PATIENCE: Duration = Duration::from_secs(8);
/// Time between two requests of one visitor, on average.
const PAUSE: Duration = Duration::from_millis(120);

/// One request.
#[derive(Debug, Clone)]
pub struct Ask {
    /// The edge.
    pub edge: usize,
    /// The item.
    pub item: usize,
    /// Which variant, where there are some.
    pub variant: Option<&'static str>,
    /// What the answer has to be at least as new as.
    pub token: Option<Cursor>,
    /// The entity tag of a copy that the visitor has.
    pub copy: Option<String>,
}

/// What came of it.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Status.
    pub status: StatusCode,
    /// Fields.
    pub fields: HeaderMap,
    /// Body, whole.
    pub text: String,
}

impl Answer {
    /// What the edge says of its cache.
    #[must_use]
    pub fn cache_status(&self) -> &str {
        let field = self.fields.get("cache-status");
        field.and_then(|field| field.to_str().ok()).unwrap_or("")
    }

    /// Whether the edge could not answer by itself, nor by what others had pushed or shared.
    fn needed_origin(&self) -> bool {
        let status = self.cache_status();
        let is_held = ["detail=shared", "detail=entry", "detail=fenced"];
        status.contains("fwd=") && !is_held.iter().any(|held| status.contains(held))
    }

    /// Whether the origin has answered it.
    fn is_of_origin(&self) -> bool {
        let is_well = matches!(self.status, StatusCode::OK | StatusCode::NOT_MODIFIED);
        is_well && self.needed_origin() && !self.cache_status().contains("detail=stale-if-error")
    }

    /// Whether the edge did not ask the origin because that had failed again and again.
    fn is_refused_by_breaker(&self) -> bool {
        self.status == StatusCode::SERVICE_UNAVAILABLE
            && self.cache_status().contains("detail=origin-left-alone")
    }

    /// Whether the copy was used without asking.
    #[must_use]
    pub fn is_hit(&self) -> bool {
        self.cache_status().starts_with("tidegate; hit")
    }
}

/// Asks as visitors do, until everything settles.
pub async fn wander(stage: Stage, name: String, mut rng: Rng) {
    let mut copies: [Option<String>; ITEMS] = Default::default();
    while !stage.truth.is_settling() {
        tokio::time::sleep(rng.around(PAUSE)).await;
        let item = rng.index(ITEMS);
        let variants = [Some("a"), Some("b"), None];
        let token = rng
            .percent(25)
            .then(|| stage.truth.token(rng.any()))
            .flatten();
        let ask = Ask {
            edge: rng.index(EDGES),
            item,
            variant: *rng.pick(&variants),
            token,
            copy: copies[item].clone().filter(|_| rng.percent(30)),
        };
        if let Some(answer) = visit(&stage, &name, &ask).await {
            let tag = answer.fields.get(ETAG).and_then(|tag| tag.to_str().ok());
            copies[item] = tag.map(str::to_owned);
        }
    }
}

/// Asks once and judges the answer; `None` if there was none.
pub async fn visit(stage: &Stage, who: &str, ask: &Ask) -> Option<Answer> {
    let asked_at = entropy::now();
    let demand = stage.truth.demand(ask.item, ask.token, asked_at);
    let was_calm = stage.calm.is_calm(ask.edge);
    let ends = stage.calm.ends(ask.edge);
    let losses = stage.truth.losses();
    let asked = tokio::time::timeout(PATIENCE, get(stage, ask)).await;
    let what = format!(
        "edge-{} {} {:?} token={:?}",
        ask.edge + 1,
        path(ask.item),
        ask.variant,
        ask.token.map(|token| token.revision.0)
    );
    let answer = match asked {
        Ok(Ok(answer)) => answer,
        Ok(Err(error)) => {
            stage.trace.note(who, &format!("{what}: {error}"));
            stage.trace.count("request failed");
            return None;
        }
        Err(_) => {
            stage.trace.note(who, &format!("{what}: no answer"));
            stage.trace.count("request unanswered");
            return None;
        }
    };
    let status = answer.cache_status().to_owned();
    let seen = match answer.status {
        StatusCode::OK => match read_text(&answer.text) {
            Some((item, version, variant)) if item == ask.item => {
                let wanted = ask.variant.unwrap_or("any");
                if Kind::of(item) == Kind::Varying && variant != wanted {
                    let told = format!("{what}: variant {variant} for {wanted} ({status})");
                    stage.trace.violated(who, &told);
                }
                Some(version)
            }
            _ => {
                let told = format!("{what}: a body that is none: {:.60}", answer.text);
                stage.trace.violated(who, &told);
                None
            }
        },
        StatusCode::NOT_MODIFIED => ask.copy.as_deref().and_then(version_of),
        _ => None,
    };
    let line = format!(
        "{what}: {} version {seen:?} {status}",
        answer.status.as_u16()
    );
    stage.trace.note(who, &line);
    tally(stage, &answer, ask);
    if let Some(why) = seen.and_then(|version| demand.forbids(version))
        && still_forbidden(stage, ask.item, seen, losses)
    {
        let told = format!("{what}: version {seen:?} {why} ({status})");
        stage.trace.violated(who, &told);
    }
    let is_refused = answer.status.is_server_error() || answer.status.is_client_error();
    if answer.needed_origin() {
        let is_answered = answer.is_of_origin();
        stage.calm.needed_origin(ask.edge, asked_at, is_answered);
    }
    let is_probing =
        answer.is_refused_by_breaker() && stage.calm.may_leave_origin_alone(ask.edge, asked_at);
    if was_calm && ask.token.is_none() {
        stage.trace.count("asked of a calm edge");
        if is_probing {
            stage.trace.count("refused while an edge found out");
        }
        // P10, whatever becomes of the control plane.
        if is_refused && !is_probing && stage.calm.is_calm(ask.edge) {
            let told = format!(
                "{what}: {} from an edge in no trouble ({status})",
                answer.status
            );
            stage.trace.violated(who, &told);
        }
    }
    if answer.status == StatusCode::OK {
        stage.calm.served(ask.edge, ends);
    }
    Some(answer)
}

/// Whether it is so also by what is known now, if the log was rolled back meanwhile: the
/// request may have arrived after that.
fn still_forbidden(stage: &Stage, item: usize, seen: Option<u64>, losses: usize) -> bool {
    let now = stage.truth.demand(item, None, entropy::now());
    let forbids = seen.and_then(|version| now.forbids(version));
    stage.truth.losses() == losses || forbids.is_some()
}

/// The version of an entity tag `"item-version-variant"`.
fn version_of(tag: &str) -> Option<u64> {
    tag.trim_matches('"').split('-').nth(1)?.parse().ok()
}

fn tally(stage: &Stage, answer: &Answer, ask: &Ask) {
    let status = answer.cache_status();
    let count = |what| stage.trace.count(what);
    match answer.status {
        StatusCode::OK => count("answer 200"),
        StatusCode::NOT_MODIFIED => count("answer 304"),
        status if status.is_server_error() => count("answer 5xx"),
        _ => count("answer other"),
    }
    if status.contains("detail=fenced") {
        count("fenced");
    }
    if status.contains("ttl=-") {
        count("stale hit");
    } else if answer.is_hit() {
        count("hit");
    }
    if status.contains("fwd-status=304") {
        count("revalidated");
    }
    if status.contains("collapsed") {
        count("collapsed");
    }
    if status.contains("fwd=uri-miss") {
        count("miss");
    }
    if status.contains("detail=shared") {
        count("shared response served");
    }
    if status.contains("detail=entry") {
        count("pushed entry served");
    }
    if ask.token.is_some() {
        count("with a token");
    }
}

async fn get(stage: &Stage, ask: &Ask) -> anyhow::Result<Answer> {
    let stream = stage
        .net
        .connect(VISITORS, edge(ask.edge), EDGE_PORT)
        .await?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection);
    let mut request = Request::get(path(ask.item)).header(HOST_FIELD, HOST);
    if let Some(variant) = ask.variant {
        request = request.header(VARIANT, variant);
    }
    if let Some(token) = &ask.token {
        request = request.header("tidegate-min-revision", token.to_string());
    }
    if let Some(copy) = &ask.copy {
        request = request.header(IF_NONE_MATCH, HeaderValue::from_str(copy)?);
    }
    let answered = async {
        let response = sender
            .send_request(request.body(Empty::<bytes::Bytes>::new())?)
            .await?;
        let (head, body) = response.into_parts();
        let body = body.collect().await?.to_bytes();
        Ok(Answer {
            status: head.status,
            fields: head.headers,
            text: String::from_utf8_lossy(&body).into_owned(),
        })
    };
    let answer = answered.await;
    connection.abort();
    answer
}
