//! What happens: one event, one line.

use prost::Message as _;
use serde::Serialize;
use serde_json::{Value, json};
use tidegate_proto::v1::event::Kind;
use tidegate_proto::{EVENT_VERSION, v1};

use super::invalidation::some_of;
use super::{cause, mode, or_dash, seconds, short_id, time};
use crate::output::{Report, Style, plain};

/// One thing that happened.
#[derive(Debug, Serialize)]
pub(crate) struct Watched {
    cursor: String,
    event: Event,
}

#[derive(Debug, Serialize)]
struct Event {
    revision: u64,
    version: u32,
    site: String,
    time: Option<String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    traceparent: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    tracestate: String,
    kind: &'static str,
    /// The fields of the kind, under its name.
    #[serde(flatten)]
    fields: serde_json::Map<String, Value>,
    #[serde(skip)]
    summary: String,
}

impl Watched {
    pub(crate) fn new(cursor: String, event: v1::Event) -> Self {
        let (kind, fields, summary) = read(&event);
        Self {
            cursor,
            event: Event {
                revision: event.revision,
                version: event.version,
                site: event.site,
                time: time(event.time.as_ref()),
                traceparent: event.traceparent,
                tracestate: event.tracestate,
                kind,
                fields: std::iter::once((kind.to_owned(), fields)).collect(),
                summary,
            },
        }
    }
}

impl Report for Watched {
    fn text(&self, _: Style) -> String {
        let event = &self.event;
        let site = match event.site.as_str() {
            "" => "-".to_owned(),
            site => plain(site),
        };
        format!(
            "{}  {:>6}  {site}  {}  {}\n",
            or_dash(event.time.clone()),
            event.revision,
            event.kind,
            event.summary,
        )
    }
}

/// Name, fields and summary of what happened. An event that cannot be read whole is
/// not read at all.
fn read(event: &v1::Event) -> (&'static str, Value, String) {
    let known = event.version <= EVENT_VERSION;
    match event.kind.as_ref().filter(|_| known) {
        Some(Kind::Invalidated(it)) => (
            "invalidated",
            json!({
                "patterns": it.patterns,
                "mode": mode(it.mode),
                "spread": seconds(it.spread.as_ref()),
                "cause": cause(it.cause),
            }),
            format!(
                "{} {} by {}",
                mode(it.mode).to_lowercase(),
                some_of(&it.patterns),
                cause(it.cause).to_lowercase()
            ),
        ),
        Some(Kind::Preloaded(it)) => (
            "preloaded",
            json!({"urls": it.urls, "audience": it.audience}),
            some_of(&it.urls) + &audience(&it.audience),
        ),
        Some(Kind::Published(it)) => (
            "published",
            json!({"type": it.r#type, "data": it.data, "audience": it.audience}),
            format!(
                "{} {}{}",
                plain(&it.r#type),
                shortened(&it.data),
                audience(&it.audience)
            ),
        ),
        Some(Kind::SiteChanged(it)) => {
            let hosts = it
                .config
                .as_ref()
                .map(|c| c.hosts.clone())
                .unwrap_or_default();
            let summary = format!("hosts {}", some_of(&hosts));
            ("site_changed", json!({"hosts": hosts}), summary)
        }
        Some(Kind::SiteDeleted(_)) => ("site_deleted", json!({}), String::new()),
        Some(Kind::ReleasePublished(it)) => (
            "release_published",
            json!({"release": it.release}),
            plain(&short_id(&it.release)),
        ),
        Some(Kind::ReleaseActivated(it)) => {
            let release = it
                .active
                .as_ref()
                .map_or("", |active| active.release.as_str());
            let activated_at = it
                .active
                .as_ref()
                .and_then(|it| time(it.activated_at.as_ref()));
            let differ = it.patterns.len();
            (
                "release_activated",
                json!({"release": release, "activated_at": activated_at, "patterns": it.patterns}),
                format!("{}, {differ} URLs differ", plain(&short_id(release))),
            )
        }
        Some(Kind::Noted(_)) => ("noted", json!({}), String::new()),
        None => (
            "unknown",
            json!({"bytes": event.encoded_len()}),
            "this version of tidegate cannot read it".to_owned(),
        ),
    }
}

fn audience(patterns: &[String]) -> String {
    if patterns.is_empty() {
        return String::new();
    }
    format!(" for {}", some_of(patterns))
}

fn shortened(data: &str) -> String {
    const SHOWN_CHARS: usize = 80;
    let mut shown: String = data.chars().take(SHOWN_CHARS).collect();
    if shown.len() < data.len() {
        shown.push('…');
    }
    plain(&shown)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(version: u32, kind: Kind) -> v1::Event {
        v1::Event {
            revision: 17,
            version,
            site: "dev".into(),
            time: Some(prost_types::Timestamp {
                seconds: 1_700_000_000,
                nanos: 0,
            }),
            kind: Some(kind),
            ..v1::Event::default()
        }
    }

    fn invalidated() -> Kind {
        Kind::Invalidated(v1::Invalidated {
            patterns: vec!["item:42".into()],
            mode: v1::InvalidationMode::Hard.into(),
            spread: None,
            cause: v1::InvalidationCause::Call.into(),
        })
    }

    #[test]
    fn an_event_is_one_line_for_people() {
        let line = Watched::new("c".into(), event(1, invalidated())).text(Style::default());
        assert_eq!(
            line,
            "2023-11-14T22:13:20.000Z      17  dev  invalidated  hard item:42 by call\n"
        );
    }

    #[test]
    fn an_event_is_one_object_for_programs() {
        let json = serde_json::to_value(Watched::new("c".into(), event(1, invalidated()))).unwrap();
        assert_eq!(json["cursor"], "c");
        assert_eq!(json["event"]["kind"], "invalidated");
        assert_eq!(json["event"]["invalidated"]["patterns"][0], "item:42");
        assert_eq!(json["event"]["invalidated"]["mode"], "HARD");
    }

    #[test]
    fn an_event_of_a_later_version_is_not_half_read() {
        let line = Watched::new("c".into(), event(2, invalidated())).text(Style::default());
        assert!(
            line.contains("unknown") && !line.contains("item:42"),
            "{line}"
        );
    }

    #[test]
    fn data_of_strangers_stays_on_its_line() {
        let kind = Kind::Published(v1::Published {
            r#type: "t".into(),
            data: format!("a\n\u{1b}[2J{}", "x".repeat(500)),
            audience: Vec::new(),
        });
        let line = Watched::new("c".into(), event(1, kind)).text(Style::default());
        assert_eq!(line.lines().count(), 1, "{line}");
        assert!(!line.contains('\u{1b}') && line.len() < 200, "{line}");
    }
}
