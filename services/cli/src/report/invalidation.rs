//! Invalidations: what one did, what one would match, what there have been.

use std::fmt::Write as _;

use comfy_table::Cell;
use serde::Serialize;
use tidegate_proto::v1;

use super::count;
use crate::output::{Report, Style, Tone, finish, plain, table, toned};

/// How far a change has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub(crate) enum Completion {
    Accepted,
    Complete,
    Partial,
    Unknown,
}

impl Completion {
    pub(crate) fn of(wire: i32) -> Self {
        match v1::CompletionStatus::try_from(wire) {
            Ok(v1::CompletionStatus::Accepted) => Self::Accepted,
            Ok(v1::CompletionStatus::Complete) => Self::Complete,
            Ok(v1::CompletionStatus::Partial) => Self::Partial,
            Ok(v1::CompletionStatus::Unspecified) | Err(_) => Self::Unknown,
        }
    }

    /// For people.
    pub(crate) fn sentence(self) -> &'static str {
        match self {
            Self::Accepted => "accepted and durable; the edges were not waited for",
            Self::Complete => "complete: no edge serves the old content any more",
            Self::Partial => "INCOMPLETE: the wait ended before every edge had answered",
            Self::Unknown => "of a status that this version does not know",
        }
    }
}

/// What one edge did with a change.
#[derive(Debug, Serialize)]
pub(crate) struct EdgeOutcome {
    edge_id: String,
    instance_id: String,
    outcome: &'static str,
}

pub(crate) fn outcomes(wire: Vec<v1::EdgeOutcome>) -> Vec<EdgeOutcome> {
    wire.into_iter()
        .map(|it| EdgeOutcome {
            outcome: outcome(it.outcome),
            edge_id: it.edge_id,
            instance_id: it.instance_id,
        })
        .collect()
}

pub(crate) fn outcome(wire: i32) -> &'static str {
    match v1::EdgeOutcomeKind::try_from(wire) {
        Ok(v1::EdgeOutcomeKind::Applied) => "APPLIED",
        Ok(v1::EdgeOutcomeKind::Fenced) => "FENCED",
        Ok(v1::EdgeOutcomeKind::Pending) => "PENDING",
        Ok(v1::EdgeOutcomeKind::Unspecified) | Err(_) => "UNKNOWN",
    }
}

/// A table of outcomes; empty for none.
pub(crate) fn outcome_table(edges: &[EdgeOutcome], style: Style) -> String {
    if edges.is_empty() {
        return String::new();
    }
    let mut rows = table(style, &["EDGE", "OUTCOME"]);
    for edge in edges {
        let tone = match edge.outcome {
            "APPLIED" => Tone::Good,
            "FENCED" => Tone::Warning,
            _ => Tone::Bad,
        };
        rows.add_row([
            Cell::new(plain(&edge.edge_id)),
            toned(style, edge.outcome, tone),
        ]);
    }
    finish(&rows)
}

/// What an invalidation did.
#[derive(Debug, Serialize)]
pub(crate) struct Invalidated {
    revision: u64,
    cursor: String,
    pub(crate) status: Completion,
    edges: Vec<EdgeOutcome>,
}

impl From<v1::InvalidateResponse> for Invalidated {
    fn from(wire: v1::InvalidateResponse) -> Self {
        Self {
            revision: wire.revision,
            cursor: wire.cursor,
            status: Completion::of(wire.status),
            edges: outcomes(wire.edges),
        }
    }
}

impl Report for Invalidated {
    fn text(&self, style: Style) -> String {
        let head = format!("revision {}: {}\n", self.revision, self.status.sentence());
        head + &outcome_table(&self.edges, style)
    }
}

/// What an invalidation would match.
#[derive(Debug, Serialize)]
pub(crate) struct Preview {
    patterns: Vec<String>,
    entries: u64,
    edges: Vec<PreviewOutcome>,
}

#[derive(Debug, Serialize)]
struct PreviewOutcome {
    edge_id: String,
    instance_id: String,
    answered: bool,
    tags: u64,
    responses: u64,
}

impl From<v1::PreviewInvalidationResponse> for Preview {
    fn from(wire: v1::PreviewInvalidationResponse) -> Self {
        let edges = wire.edges.into_iter().map(|it| PreviewOutcome {
            edge_id: it.edge_id,
            instance_id: it.instance_id,
            answered: it.answered,
            tags: it.tags,
            responses: it.responses,
        });
        Self {
            patterns: wire.patterns,
            entries: wire.entries,
            edges: edges.collect(),
        }
    }
}

impl Preview {
    /// Whether every edge that was asked has answered.
    pub(crate) fn is_complete(&self) -> bool {
        self.edges.iter().all(|edge| edge.answered)
    }
}

impl Report for Preview {
    fn text(&self, style: Style) -> String {
        let mut text = String::from("nothing was changed; this would match:\n");
        for pattern in &self.patterns {
            let _ = writeln!(text, "  {}", plain(pattern));
        }
        let entries = count(self.entries, "pushed entry", "pushed entries");
        let _ = writeln!(text, "{entries}");
        let mut rows = table(style, &["EDGE", "TAGS", "RESPONSES"]);
        for edge in &self.edges {
            let figure = |n: u64| {
                if edge.answered {
                    Cell::new(n)
                } else {
                    toned(style, "no answer", Tone::Warning)
                }
            };
            rows.add_row([
                Cell::new(plain(&edge.edge_id)),
                figure(edge.tags),
                figure(edge.responses),
            ]);
        }
        if !self.edges.is_empty() {
            text.push_str(&finish(&rows));
        }
        text
    }
}

/// The first few of many.
pub(crate) fn some_of(texts: &[String]) -> String {
    const SHOWN: usize = 4;
    let shown: Vec<_> = texts.iter().take(SHOWN).map(|it| plain(it)).collect();
    match texts.len().checked_sub(SHOWN) {
        Some(more @ 1..) => format!("{} and {more} more", shown.join(" ")),
        _ => shown.join(" "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn response(status: v1::CompletionStatus) -> v1::InvalidateResponse {
        v1::InvalidateResponse {
            revision: 7,
            cursor: "c".into(),
            status: status.into(),
            edges: vec![v1::EdgeOutcome {
                edge_id: "e1".into(),
                instance_id: "i".into(),
                outcome: v1::EdgeOutcomeKind::Applied.into(),
            }],
        }
    }

    #[test]
    fn an_invalidation_is_json_with_the_names_of_the_protocol() {
        let report = Invalidated::from(response(v1::CompletionStatus::Complete));
        let json = serde_json::to_value(&report).unwrap();
        let expected = serde_json::json!({
            "revision": 7, "cursor": "c", "status": "COMPLETE",
            "edges": [{"edge_id": "e1", "instance_id": "i", "outcome": "APPLIED"}],
        });
        assert_eq!(json, expected);
    }

    #[test]
    fn people_read_how_far_it_came_and_what_each_edge_did() {
        let text = Invalidated::from(response(v1::CompletionStatus::Partial));
        let text = text.text(Style::default());
        assert!(text.starts_with("revision 7: INCOMPLETE"), "{text}");
        assert!(text.contains("e1    APPLIED"), "{text}");
    }

    #[test]
    fn many_patterns_are_counted() {
        let patterns: Vec<_> = (0..6).map(|n| format!("t{n}")).collect();
        assert_eq!(some_of(&patterns), "t0 t1 t2 t3 and 2 more");
        assert_eq!(some_of(&patterns[..4]), "t0 t1 t2 t3");
    }
}
