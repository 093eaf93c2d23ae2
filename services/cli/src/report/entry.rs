//! Pushed entries.

use std::fmt::Write as _;

use comfy_table::Cell;
use serde::Serialize;
use tidegate_proto::v1;

use super::{bytes, or_dash, seconds, time};
use crate::output::{Report, Style, Tone, finish, plain, table, toned};

/// Entries by URL, without bodies.
#[derive(Debug, Serialize)]
pub(crate) struct Entries {
    entries: Vec<Summary>,
}

#[derive(Debug, Serialize)]
struct Summary {
    url: String,
    status: u32,
    tags: Vec<String>,
    size: u64,
    revision: u64,
    expires_at: Option<String>,
    fresh: bool,
}

impl From<Vec<v1::EntrySummary>> for Entries {
    fn from(wire: Vec<v1::EntrySummary>) -> Self {
        let entries = wire.into_iter().map(|it| Summary {
            url: it.url,
            status: it.status,
            tags: it.tags,
            size: it.size,
            revision: it.revision,
            expires_at: time(it.expires_at.as_ref()),
            fresh: it.fresh,
        });
        Self {
            entries: entries.collect(),
        }
    }
}

impl Report for Entries {
    fn text(&self, style: Style) -> String {
        if self.entries.is_empty() {
            return "no entries\n".to_owned();
        }
        let header = [
            "URL", "STATUS", "SIZE", "STATE", "EXPIRES", "REVISION", "TAGS",
        ];
        let mut rows = table(style, &header);
        for entry in &self.entries {
            rows.add_row([
                Cell::new(plain(&entry.url)),
                Cell::new(entry.status),
                Cell::new(bytes(entry.size)),
                state(style, entry.fresh),
                Cell::new(or_dash(entry.expires_at.clone())),
                Cell::new(entry.revision),
                Cell::new(plain(&entry.tags.join(" "))),
            ]);
        }
        finish(&rows)
    }
}

fn state(style: Style, fresh: bool) -> Cell {
    if fresh {
        toned(style, "fresh", Tone::Good)
    } else {
        toned(style, "not served", Tone::Quiet)
    }
}

/// One entry. Its body is text if it is UTF-8, else Base64.
#[derive(Debug, Serialize)]
pub(crate) struct Entry {
    url: String,
    status: u32,
    headers: Vec<Field>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body_base64: Option<String>,
    size: usize,
    tags: Vec<String>,
    ttl: Option<f64>,
    vary: Vec<Field>,
    revision: u64,
    fresh: bool,
}

#[derive(Debug, Serialize)]
struct Field {
    name: String,
    value: String,
}

fn fields(wire: Vec<v1::HeaderField>) -> Vec<Field> {
    wire.into_iter()
        .map(|it| Field {
            name: it.name,
            value: String::from_utf8_lossy(&it.value).into_owned(),
        })
        .collect()
}

impl Entry {
    pub(crate) fn new(entry: v1::Entry, revision: u64, fresh: bool) -> Self {
        let size = entry.body.len();
        let (body, body_base64) = match std::str::from_utf8(&entry.body) {
            Ok(text) => (Some(text.to_owned()), None),
            Err(_) => (None, Some(base64(&entry.body))),
        };
        Self {
            url: entry.url,
            status: entry.status,
            headers: fields(entry.headers),
            body,
            body_base64,
            size,
            tags: entry.tags,
            ttl: seconds(entry.ttl.as_ref()),
            vary: fields(entry.vary),
            revision,
            fresh,
        }
    }
}

impl Report for Entry {
    fn text(&self, _: Style) -> String {
        let state = if self.fresh { "fresh" } else { "not served" };
        let mut text = format!(
            "{}  status {}, revision {}, {state}, ttl {}s, {}\n",
            plain(&self.url),
            self.status,
            self.revision,
            self.ttl.unwrap_or_default(),
            bytes(self.size as u64),
        );
        for tag in &self.tags {
            let _ = writeln!(text, "tag   {}", plain(tag));
        }
        for field in &self.vary {
            let _ = writeln!(
                text,
                "vary  {}: {}",
                plain(&field.name),
                plain(&field.value)
            );
        }
        for field in &self.headers {
            let _ = writeln!(
                text,
                "field {}: {}",
                plain(&field.name),
                plain(&field.value)
            );
        }
        text.push_str("the body: --body FILE, or --body - for standard output\n");
        text
    }
}

fn base64(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_that_is_no_text_is_base64() {
        let entry = |body: &[u8]| v1::Entry {
            body: body.to_vec().into(),
            ..v1::Entry::default()
        };
        let json = |body| serde_json::to_value(Entry::new(entry(body), 1, true)).unwrap();
        assert_eq!(json(b"text")["body"], "text");
        assert_eq!(json(&[0xff, 0])["body_base64"], "/wA=");
        assert_eq!(json(&[0xff, 0]).get("body"), None);
    }
}
