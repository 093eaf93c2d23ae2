//! From text to a value, or to a sentence that says what is allowed.

use std::fmt;
use std::ops::RangeInclusive;
use std::time::Duration;

use http::Uri;
use tidegate_domain::site::UpstreamUrl;
use tidegate_domain::{
    Cursor, EdgeId, EventType, FieldError, PathAndQuery, ScheduleName, SiteName, Tag, TagPattern,
    normalize_host,
};

/// Longest reason, in bytes.
const MAX_REASON_BYTES: usize = 1_024;
/// Longest idempotency key, in bytes.
const MAX_KEY_BYTES: usize = 128;
/// Longest label of a release, in characters.
const MAX_LABEL_CHARS: usize = 128;

/// Where the control plane's gRPC server listens: `http://host:port`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ControlUrl(Uri);

impl ControlUrl {
    /// The address as a URI without a path.
    #[must_use]
    pub fn uri(&self) -> &Uri {
        &self.0
    }
}

impl fmt::Display for ControlUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.to_string().trim_end_matches('/'))
    }
}

pub(super) fn control_url(text: &str) -> Result<ControlUrl, String> {
    let allowed = || "allowed: http://HOST:PORT, such as http://127.0.0.1:7420".to_owned();
    let uri: Uri = text.parse().map_err(|_| allowed())?;
    let plain =
        uri.scheme_str() == Some("http") && matches!(uri.path(), "" | "/") && uri.query().is_none();
    let authority = uri.authority().filter(|it| !it.as_str().contains('@'));
    match authority {
        Some(authority) if plain && !authority.host().is_empty() => Ok(ControlUrl(uri)),
        _ => Err(allowed()),
    }
}

pub(super) fn origin_url(text: &str) -> Result<String, String> {
    let url = UpstreamUrl::parse(text).map_err(|e| format!("allowed: {}", e.allowed))?;
    Ok(url.to_string())
}

pub(super) fn edge_id(text: &str) -> Result<EdgeId, String> {
    EdgeId::parse(text).map_err(allowed)
}

pub(super) fn site_name(text: &str) -> Result<SiteName, String> {
    SiteName::parse(text).map_err(allowed)
}

pub(super) fn schedule_name(text: &str) -> Result<ScheduleName, String> {
    ScheduleName::parse(text).map_err(allowed)
}

pub(super) fn tag_pattern(text: &str) -> Result<TagPattern, String> {
    TagPattern::parse(text).map_err(allowed)
}

pub(super) fn tag(text: &str) -> Result<Tag, String> {
    Tag::parse(text).map_err(allowed)
}

pub(super) fn event_type(text: &str) -> Result<EventType, String> {
    EventType::parse(text).map_err(allowed)
}

/// A path with an optional query.
pub(super) fn path(text: &str) -> Result<String, String> {
    PathAndQuery::parse(text).map_err(allowed)?;
    Ok(text.to_owned())
}

/// A path with an optional query, or an absolute URL. Whether its host is one of the
/// site's is for the control plane to say.
pub(super) fn url(text: &str) -> Result<String, String> {
    let after_scheme = ["http://", "https://"]
        .iter()
        .find_map(|scheme| text.strip_prefix(scheme));
    let Some(rest) = after_scheme else {
        PathAndQuery::parse(text)
            .map_err(|error| format!("{}, or http://HOST/PATH", allowed(error)))?;
        return Ok(text.to_owned());
    };
    let at = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(at);
    normalize_host(authority).map_err(allowed)?;
    let slash = if path.starts_with('/') { "" } else { "/" };
    PathAndQuery::parse(&format!("{slash}{path}")).map_err(allowed)?;
    Ok(text.to_owned())
}

pub(super) fn cursor(text: &str) -> Result<String, String> {
    let parsed: Result<Cursor, _> = text.parse();
    parsed.map_err(|_| {
        "allowed: a cursor as `watch` and `invalidate` give it with --output json".to_owned()
    })?;
    Ok(text.to_owned())
}

pub(super) fn reason(text: &str) -> Result<String, String> {
    if text.len() > MAX_REASON_BYTES {
        return Err(format!("allowed: at most {MAX_REASON_BYTES} bytes"));
    }
    Ok(text.to_owned())
}

pub(super) fn idempotency_key(text: &str) -> Result<String, String> {
    let visible = text.bytes().all(|b| b.is_ascii_graphic());
    if text.is_empty() || text.len() > MAX_KEY_BYTES || !visible {
        return Err(format!(
            "allowed: 1 to {MAX_KEY_BYTES} visible ASCII characters"
        ));
    }
    Ok(text.to_owned())
}

pub(super) fn label(text: &str) -> Result<String, String> {
    if text.chars().count() > MAX_LABEL_CHARS {
        return Err(format!("allowed: at most {MAX_LABEL_CHARS} characters"));
    }
    Ok(text.to_owned())
}

/// A header field, `NAME: VALUE`.
pub(super) fn header(text: &str) -> Result<(String, String), String> {
    let wrong = || "allowed: \"NAME: VALUE\", such as \"content-type: text/html\"".to_owned();
    let (name, value) = text.split_once(':').ok_or_else(wrong)?;
    let value = value.trim();
    http::HeaderName::try_from(name).map_err(|_| wrong())?;
    http::HeaderValue::try_from(value).map_err(|_| wrong())?;
    Ok((name.to_ascii_lowercase(), value.to_owned()))
}

pub(super) fn wait_timeout(text: &str) -> Result<Duration, String> {
    duration(text, Duration::from_millis(1)..=Duration::from_secs(600))
}

pub(super) fn spread(text: &str) -> Result<Duration, String> {
    duration(text, Duration::ZERO..=Duration::from_secs(3_600))
}

pub(super) fn ttl(text: &str) -> Result<Duration, String> {
    const YEAR: u64 = 365 * 86_400;
    duration(text, Duration::from_secs(1)..=Duration::from_secs(YEAR))
}

pub(super) fn every(text: &str) -> Result<Duration, String> {
    const DAY: u64 = 86_400;
    duration(
        text,
        Duration::from_secs(1)..=Duration::from_secs(366 * DAY),
    )
}

pub(super) fn longest_lease(text: &str) -> Result<Duration, String> {
    duration(text, Duration::ZERO..=Duration::from_secs(2 * 24 * 3_600))
}

fn duration(text: &str, range: RangeInclusive<Duration>) -> Result<Duration, String> {
    let parsed = humantime::parse_duration(text).ok();
    parsed.filter(|it| range.contains(it)).ok_or_else(|| {
        format!(
            "allowed: a number with a unit, such as \"250ms\" or \"10s\", from {} to {}",
            humantime::format_duration(*range.start()),
            humantime::format_duration(*range.end()),
        )
    })
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "the shape `map_err` asks for"
)]
fn allowed(error: FieldError) -> String {
    format!("allowed: {}", error.allowed)
}
