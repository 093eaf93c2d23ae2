//! The audit trail: who invalidated what, when and why, and what each edge did.

use std::fmt::Write as _;

use comfy_table::Cell;
use prost_types::Timestamp;
use serde::Serialize;
use tidegate_proto::{time_from_wire, v1};

use super::invalidation::{outcome, some_of};
use super::{cause, mode, or_dash, time};
use crate::output::{Report, Style, Tone, finish, plain, table, toned};

/// Past invalidations, newest first.
#[derive(Debug, Serialize)]
pub(crate) struct Audit {
    invalidations: Vec<Record>,
}

/// One invalidation in full.
#[derive(Debug, Serialize)]
#[serde(transparent)]
pub(crate) struct Detail(Record);

/// An invalidation on the audit trail.
#[derive(Debug, Serialize)]
pub(crate) struct Record {
    revision: u64,
    time: Option<String>,
    caller: String,
    reason: String,
    patterns: Vec<String>,
    mode: &'static str,
    cause: &'static str,
    edges: Vec<Effect>,
}

/// What one edge did.
#[derive(Debug, Serialize)]
struct Effect {
    edge_id: String,
    instance_id: String,
    outcome: &'static str,
    applied_at: Option<String>,
    /// None if the edge did not say.
    evicted: Option<u64>,
    fenced_at: Option<String>,
    /// Seconds from when it was accepted to when it was applied, for people.
    #[serde(skip)]
    took: Option<f64>,
}

impl From<v1::InvalidationRecord> for Record {
    fn from(wire: v1::InvalidationRecord) -> Self {
        let accepted = wire.time;
        let edges = wire.edges.into_iter().map(|it| Effect {
            edge_id: it.edge_id,
            instance_id: it.instance_id,
            outcome: outcome(it.outcome),
            applied_at: time(it.applied_at.as_ref()),
            evicted: it.evicted,
            fenced_at: time(it.fenced_at.as_ref()),
            took: seconds_between(accepted.as_ref(), it.applied_at.as_ref()),
        });
        Self {
            revision: wire.revision,
            time: time(wire.time.as_ref()),
            caller: wire.caller,
            reason: wire.reason,
            patterns: wire.patterns,
            mode: mode(wire.mode),
            cause: cause(wire.cause),
            edges: edges.collect(),
        }
    }
}

impl Record {
    /// In a few words, for people.
    pub(crate) fn summary(&self) -> String {
        let reason = match self.reason.as_str() {
            "" => String::new(),
            reason => format!(": {}", plain(reason)),
        };
        format!(
            "revision {} ({}, {}) at {}{reason}",
            self.revision,
            self.mode,
            some_of(&self.patterns),
            or_dash(self.time.clone()),
        )
    }
}

fn seconds_between(from: Option<&Timestamp>, to: Option<&Timestamp>) -> Option<f64> {
    let (from, to) = (from?, to?);
    let between = time_from_wire(Some(to)).duration_since(time_from_wire(Some(from)));
    // A clock that was set back says nothing.
    between.ok().map(|it| it.as_secs_f64())
}

impl From<Vec<v1::InvalidationRecord>> for Audit {
    fn from(wire: Vec<v1::InvalidationRecord>) -> Self {
        Self {
            invalidations: wire.into_iter().map(Record::from).collect(),
        }
    }
}

impl From<Record> for Detail {
    fn from(record: Record) -> Self {
        Self(record)
    }
}

impl Report for Audit {
    fn text(&self, style: Style) -> String {
        if self.invalidations.is_empty() {
            return "no invalidations\n".to_owned();
        }
        let header = [
            "REVISION", "TIME", "CALLER", "CAUSE", "MODE", "EDGES", "EVICTED", "PATTERNS", "REASON",
        ];
        let mut rows = table(style, &header);
        for record in &self.invalidations {
            rows.add_row([
                Cell::new(record.revision),
                Cell::new(or_dash(record.time.clone())),
                Cell::new(plain(&record.caller)),
                Cell::new(record.cause),
                Cell::new(record.mode),
                Cell::new(applied_of(&record.edges)),
                Cell::new(or_dash(evicted_of(&record.edges))),
                Cell::new(some_of(&record.patterns)),
                Cell::new(plain(&record.reason)),
            ]);
        }
        finish(&rows)
    }
}

impl Report for Detail {
    fn text(&self, style: Style) -> String {
        let record = &self.0;
        let mut text = String::new();
        // Writing to a string does not fail.
        let _ = writeln!(
            text,
            "revision {}, {}, at {}, by {} ({})",
            record.revision,
            record.mode,
            or_dash(record.time.clone()),
            or_dash(Some(plain(&record.caller)).filter(|it| !it.is_empty())),
            record.cause,
        );
        if !record.reason.is_empty() {
            let _ = writeln!(text, "reason: {}", plain(&record.reason));
        }
        for pattern in &record.patterns {
            let _ = writeln!(text, "  {}", plain(pattern));
        }
        if record.edges.is_empty() {
            text.push_str("no edge had anything to do with it\n");
            return text;
        }
        let header = [
            "EDGE",
            "OUTCOME",
            "APPLIED",
            "AFTER",
            "EVICTED",
            "NO LEASE FROM",
        ];
        let mut rows = table(style, &header);
        for edge in &record.edges {
            rows.add_row([
                Cell::new(plain(&edge.edge_id)),
                toned(style, edge.outcome, tone(edge.outcome)),
                Cell::new(or_dash(edge.applied_at.clone())),
                Cell::new(or_dash(edge.took.map(|it| format!("{it:.3}s")))),
                Cell::new(or_dash(edge.evicted.map(|it| it.to_string()))),
                Cell::new(or_dash(edge.fenced_at.clone())),
            ]);
        }
        text + &finish(&rows)
    }
}

/// What an outcome is to people.
fn tone(outcome: &str) -> Tone {
    match outcome {
        "APPLIED" => Tone::Good,
        "FENCED" => Tone::Warning,
        _ => Tone::Bad,
    }
}

/// `2/3` edges have applied it.
fn applied_of(edges: &[Effect]) -> String {
    let applied = edges.iter().filter(|it| it.outcome == "APPLIED").count();
    format!("{applied}/{}", edges.len())
}

/// How many cached responses it hit on all edges, if any of them said.
fn evicted_of(edges: &[Effect]) -> Option<String> {
    let said: Vec<u64> = edges.iter().filter_map(|it| it.evicted).collect();
    let sum = said.iter().fold(0_u64, |sum, it| sum.saturating_add(*it));
    (!said.is_empty()).then(|| sum.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64, nanos: i32) -> Option<Timestamp> {
        Some(Timestamp { seconds, nanos })
    }

    fn record() -> v1::InvalidationRecord {
        let applied = v1::EdgeEffect {
            edge_id: "e1".into(),
            instance_id: "i1".into(),
            outcome: v1::EdgeOutcomeKind::Applied.into(),
            applied_at: at(1_700_000_000, 12_000_000),
            evicted: Some(3),
            fenced_at: None,
        };
        let fenced = v1::EdgeEffect {
            edge_id: "e2".into(),
            outcome: v1::EdgeOutcomeKind::Fenced.into(),
            fenced_at: at(1_700_000_009, 0),
            ..v1::EdgeEffect::default()
        };
        v1::InvalidationRecord {
            revision: 7,
            time: at(1_700_000_000, 0),
            caller: "alice".into(),
            reason: "new price".into(),
            patterns: vec!["item:42".into()],
            mode: v1::InvalidationMode::Hard.into(),
            cause: v1::InvalidationCause::Call.into(),
            edges: vec![applied, fenced],
        }
    }

    #[test]
    fn a_record_is_json_with_the_names_of_the_protocol() {
        let json = serde_json::to_value(Audit::from(vec![record()])).unwrap();
        let expected = serde_json::json!({"invalidations": [{
            "revision": 7, "time": "2023-11-14T22:13:20.000Z", "caller": "alice",
            "reason": "new price", "patterns": ["item:42"], "mode": "HARD", "cause": "CALL",
            "edges": [
                {
                    "edge_id": "e1", "instance_id": "i1", "outcome": "APPLIED",
                    "applied_at": "2023-11-14T22:13:20.012Z", "evicted": 3, "fenced_at": null,
                },
                {
                    "edge_id": "e2", "instance_id": "", "outcome": "FENCED",
                    "applied_at": null, "evicted": null,
                    "fenced_at": "2023-11-14T22:13:29.000Z",
                },
            ],
        }]});
        assert_eq!(json, expected);
        let detail = serde_json::to_value(Detail(record().into())).unwrap();
        assert_eq!(detail, expected["invalidations"][0]);
    }

    #[test]
    fn people_read_what_each_edge_did_and_how_long_it_took() {
        let list = Audit::from(vec![record()]).text(Style::default());
        assert!(list.contains("1/2") && list.contains("item:42"), "{list}");
        let detail = Detail(record().into()).text(Style::default());
        for part in [
            "revision 7, HARD",
            "by alice",
            "new price",
            "0.012s",
            "FENCED",
        ] {
            assert!(detail.contains(part), "no {part:?} in: {detail}");
        }
    }
}
