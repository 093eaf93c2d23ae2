//! The bytes of server-sent events (WHATWG HTML, section 9.2.6).

use std::collections::HashMap;
use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;
use tidegate_domain::{Cursor, Mode, TagPattern};

use super::event::{Kind, SiteEvent};
use super::hearing::Hearing;

/// Whether a connection gets plain arrays or objects that say more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Detail {
    Plain,
    Full,
}

/// Appends one event. Whatever line ends `data` holds become lines of their own, so
/// no text can add a field or end the event.
pub(super) fn write(out: &mut Vec<u8>, id: Option<&str>, event_type: &str, data: &str) {
    if let Some(id) = id {
        line(out, "id", id);
    }
    line(out, "event", event_type);
    let mut rest = data;
    while let Some(end) = rest.find(['\r', '\n']) {
        line(out, "data", &rest[..end]);
        let width = if rest[end..].starts_with("\r\n") {
            2
        } else {
            1
        };
        rest = &rest[end + width..];
    }
    line(out, "data", rest);
    out.push(b'\n');
}

fn line(out: &mut Vec<u8>, field: &str, value: &str) {
    debug_assert!(!value.contains(['\r', '\n']));
    out.extend_from_slice(field.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value.as_bytes());
    out.push(b'\n');
}

/// The first event of a connection. `id` is the position that the browser may
/// resume from, none if a reset follows at once.
pub(super) fn write_connected(
    out: &mut Vec<u8>,
    retry: Duration,
    id: Option<&Cursor>,
    cursor: &Cursor,
    heartbeat: Duration,
    spread: Duration,
) {
    #[derive(Serialize)]
    struct Connected {
        cursor: String,
        /// In seconds.
        heartbeat: f64,
        spread_ms: u64,
    }
    line(out, "retry", &retry.as_millis().to_string());
    let data = json(&Connected {
        cursor: cursor.to_string(),
        heartbeat: heartbeat.as_secs_f64(),
        spread_ms: millis(spread),
    });
    let id = id.map(ToString::to_string);
    write(out, id.as_deref(), "connected", &data);
}

pub(super) fn write_reset(out: &mut Vec<u8>, at: &Cursor, reason: &str, detail: Detail) {
    #[derive(Serialize)]
    struct Reset<'a> {
        reason: &'a str,
        revision: &'a str,
    }
    let id = at.to_string();
    let data = match detail {
        Detail::Plain => json(&reason),
        Detail::Full => json(&Reset {
            reason,
            revision: &id,
        }),
    };
    write(out, Some(&id), "reset", &data);
}

pub(super) fn heartbeat(at: &Cursor, detail: Detail) -> Bytes {
    #[derive(Serialize)]
    struct Heartbeat<'a> {
        revision: &'a str,
    }
    let id = at.to_string();
    // A browser passes over an event without data.
    let data = match detail {
        Detail::Plain => "{}".to_owned(),
        Detail::Full => json(&Heartbeat { revision: &id }),
    };
    let mut out = Vec::with_capacity(128);
    write(&mut out, Some(&id), "heartbeat", &data);
    out.into()
}

pub(super) fn reconnect(spread: Duration) -> Bytes {
    #[derive(Serialize)]
    struct Reconnect {
        spread_ms: u64,
    }
    let mut out = Vec::with_capacity(64);
    let data = json(&Reconnect {
        spread_ms: millis(spread),
    });
    write(&mut out, None, "reconnect", &data);
    out.into()
}

/// An invalidation as it is shown to a group.
pub(super) struct Invalidation<'a> {
    pub(super) at: &'a Cursor,
    /// Whether its id is said.
    pub(super) has_id: bool,
    pub(super) tags: &'a [TagPattern],
    pub(super) mode: Mode,
    pub(super) spread: Duration,
    pub(super) traceparent: &'a str,
}

impl Invalidation<'_> {
    pub(super) fn write(&self, out: &mut Vec<u8>, detail: Detail) {
        #[derive(Serialize)]
        struct Full<'a> {
            tags: &'a [&'a str],
            revision: &'a str,
            mode: &'a str,
            spread_ms: u64,
            #[serde(skip_serializing_if = "str::is_empty")]
            trace: &'a str,
        }
        let id = self.at.to_string();
        let tags: Vec<_> = self.tags.iter().map(TagPattern::as_str).collect();
        let data = match detail {
            Detail::Plain => json(&tags),
            Detail::Full => json(&Full {
                tags: &tags,
                revision: &id,
                mode: match self.mode {
                    Mode::Soft => "soft",
                    Mode::Hard => "hard",
                },
                spread_ms: millis(self.spread),
                trace: self.traceparent,
            }),
        };
        write(out, self.has_id.then_some(&*id), "invalidate", &data);
    }
}

/// Encodes one event for many groups, each distinct frame once.
pub(super) struct Encoder<'a> {
    event: &'a SiteEvent,
    has_id: bool,
    spread: Duration,
    invalidations: HashMap<(Detail, Vec<TagPattern>), Bytes>,
    plain: Option<Bytes>,
    full: Option<Bytes>,
}

impl<'a> Encoder<'a> {
    /// `spread` is that of the site, for an event that states none.
    pub(super) fn new(event: &'a SiteEvent, spread: Duration) -> Self {
        Self {
            event,
            has_id: true,
            spread,
            invalidations: HashMap::new(),
            plain: None,
            full: None,
        }
    }

    /// For an event that is told out of order, without its id.
    pub(super) fn late(event: &'a SiteEvent, spread: Duration) -> Self {
        Self {
            has_id: false,
            ..Self::new(event, spread)
        }
    }

    /// The frame of the event for a group, none if it does not hear it.
    pub(super) fn encode(&mut self, hearing: &Hearing, detail: Detail) -> Option<Bytes> {
        match &self.event.kind {
            Kind::Invalidate { patterns, .. } => {
                let tags = hearing.narrow(patterns);
                (!tags.is_empty()).then(|| self.invalidation(tags, detail))
            }
            Kind::Preload { audience, .. } | Kind::Custom { audience, .. } => hearing
                .is_among(audience)
                .then(|| self.same_for_all(detail)),
        }
    }

    fn invalidation(&mut self, tags: Vec<TagPattern>, detail: Detail) -> Bytes {
        let (event, spread, has_id) = (self.event, self.spread, self.has_id);
        let encode = |(detail, tags): &(Detail, Vec<TagPattern>)| {
            let mut out = Vec::with_capacity(128);
            let (mode, own) = match event.kind {
                Kind::Invalidate { mode, spread, .. } => (mode, spread),
                _ => (Mode::Hard, Duration::ZERO),
            };
            Invalidation {
                at: &event.cursor,
                has_id,
                tags,
                mode,
                spread: if own.is_zero() { spread } else { own },
                traceparent: &event.traceparent,
            }
            .write(&mut out, *detail);
            out.into()
        };
        self.invalidations
            .entry((detail, tags))
            .or_insert_with_key(encode)
            .clone()
    }

    fn same_for_all(&mut self, detail: Detail) -> Bytes {
        let (event, has_id) = (self.event, self.has_id);
        let place = match detail {
            Detail::Plain => &mut self.plain,
            Detail::Full => &mut self.full,
        };
        place
            .get_or_insert_with(|| {
                let mut out = Vec::with_capacity(256);
                write_message(&mut out, event, has_id, detail);
                out.into()
            })
            .clone()
    }
}

/// Appends a preload or a custom event; an invalidation has to be narrowed first.
fn write_message(out: &mut Vec<u8>, event: &SiteEvent, has_id: bool, detail: Detail) {
    #[derive(Serialize)]
    struct Preload<'a> {
        urls: &'a [&'a str],
        revision: &'a str,
        #[serde(skip_serializing_if = "str::is_empty")]
        trace: &'a str,
    }
    #[derive(Serialize)]
    struct Custom<'a> {
        data: &'a str,
        revision: &'a str,
        #[serde(skip_serializing_if = "str::is_empty")]
        trace: &'a str,
    }
    let cursor = event.cursor.to_string();
    let (revision, trace) = (cursor.as_str(), event.traceparent.as_str());
    let id = has_id.then_some(revision);
    match &event.kind {
        Kind::Invalidate { .. } => {}
        Kind::Preload { urls, .. } => {
            let urls: Vec<_> = urls.iter().map(|u| u.as_str()).collect();
            let data = match detail {
                Detail::Plain => json(&urls),
                Detail::Full => json(&Preload {
                    urls: &urls,
                    revision,
                    trace,
                }),
            };
            write(out, id, "preload", &data);
        }
        Kind::Custom {
            event_type, data, ..
        } => match detail {
            Detail::Plain => write(out, id, event_type.as_str(), data),
            Detail::Full => {
                let data = json(&Custom {
                    data,
                    revision,
                    trace,
                });
                write(out, id, event_type.as_str(), &data);
            }
        },
    }
}

fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value)
        .expect("serialising strings and numbers to memory cannot fail: no map keys, no I/O")
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
