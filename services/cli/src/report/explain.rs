//! What each edge would do with a URL, and why.

use std::fmt::Write as _;

use serde::Serialize;
use tidegate_proto::v1;

use super::audit::Record;
use super::{bytes, count, mode, seconds};
use crate::output::{Report, Style, plain};

/// What each edge would do with a URL.
#[derive(Debug, Serialize)]
pub(crate) struct Explained {
    site: String,
    url: String,
    head: u64,
    edges: Vec<Edge>,
    last_invalidation: Option<Record>,
}

#[derive(Debug, Serialize)]
struct Edge {
    edge_id: String,
    instance_id: String,
    /// None if it did not answer in time.
    answer: Option<Answer>,
}

#[derive(Debug, Serialize)]
struct Answer {
    verdict: &'static str,
    reason: String,
    applied: u64,
    /// Seconds; none without a lease.
    lease_left: Option<f64>,
    release: Option<String>,
    copy: Option<StoredCopy>,
    variants: u32,
    key: String,
}

#[derive(Debug, Serialize)]
struct StoredCopy {
    status: u32,
    /// Seconds.
    stored_ago: Option<f64>,
    fill_revision: u64,
    earlier_era: bool,
    tags: Vec<String>,
    /// Seconds; negative if it is stale.
    fresh_for: Option<f64>,
    size: u64,
    etag: Option<String>,
    last_invalidation: Option<LastInvalidation>,
}

#[derive(Debug, Serialize)]
struct LastInvalidation {
    revision: u64,
    mode: &'static str,
    tag: String,
    after_fill: bool,
}

impl From<v1::ExplainUrlResponse> for Explained {
    fn from(wire: v1::ExplainUrlResponse) -> Self {
        let edges = wire.edges.into_iter().map(|it| Edge {
            edge_id: it.edge_id,
            instance_id: it.instance_id,
            answer: it.answer.map(Answer::from),
        });
        Self {
            site: wire.site,
            url: wire.url,
            head: wire.head,
            edges: edges.collect(),
            last_invalidation: wire.last_invalidation.map(Record::from),
        }
    }
}

impl From<v1::ExplainAnswer> for Answer {
    fn from(wire: v1::ExplainAnswer) -> Self {
        Self {
            verdict: verdict(wire.verdict),
            reason: wire.reason,
            applied: wire.applied,
            lease_left: seconds(wire.lease_left.as_ref()),
            release: Some(wire.release).filter(|it| !it.is_empty()),
            copy: wire.copy.map(StoredCopy::from),
            variants: wire.variants,
            key: wire.key,
        }
    }
}

impl From<v1::StoredCopy> for StoredCopy {
    fn from(wire: v1::StoredCopy) -> Self {
        let last = wire.last_invalidation.map(|it| LastInvalidation {
            revision: it.revision,
            mode: mode(it.mode),
            tag: it.tag,
            after_fill: it.after_fill,
        });
        Self {
            status: wire.status,
            stored_ago: seconds(wire.stored_ago.as_ref()),
            fill_revision: wire.fill_revision,
            earlier_era: wire.earlier_era,
            tags: wire.tags,
            fresh_for: seconds(wire.fresh_for.as_ref()),
            size: wire.size,
            etag: Some(wire.etag).filter(|it| !it.is_empty()),
            last_invalidation: last,
        }
    }
}

fn verdict(wire: i32) -> &'static str {
    match v1::ExplainVerdict::try_from(wire) {
        Ok(v1::ExplainVerdict::Release) => "RELEASE",
        Ok(v1::ExplainVerdict::Hit) => "HIT",
        Ok(v1::ExplainVerdict::Stale) => "STALE",
        Ok(v1::ExplainVerdict::Revalidate) => "REVALIDATE",
        Ok(v1::ExplainVerdict::Fetch) => "FETCH",
        Ok(v1::ExplainVerdict::Pass) => "PASS",
        Ok(v1::ExplainVerdict::Refuse) => "REFUSE",
        Ok(v1::ExplainVerdict::Unspecified) | Err(_) => "UNKNOWN",
    }
}

impl Explained {
    /// Whether every edge that was asked has answered.
    pub(crate) fn is_complete(&self) -> bool {
        self.edges.iter().all(|edge| edge.answer.is_some())
    }
}

impl Report for Explained {
    fn text(&self, _: Style) -> String {
        let mut text = format!(
            "{} on site {}, head {}\n",
            plain(&self.url),
            plain(&self.site),
            self.head
        );
        if let Some(record) = &self.last_invalidation {
            let _ = writeln!(text, "last invalidated by {}", record.summary());
        }
        if self.edges.is_empty() {
            text.push_str("no edge has an open stream\n");
        }
        for edge in &self.edges {
            let name = plain(&edge.edge_id);
            match &edge.answer {
                None => {
                    let _ = writeln!(text, "{name}: no answer in time");
                }
                Some(answer) => {
                    let reason = plain(&answer.reason);
                    let _ = writeln!(text, "{name}: {}: {reason}", answer.verdict);
                    answer.describe(&mut text);
                }
            }
        }
        text
    }
}

impl Answer {
    /// Writing to a string does not fail.
    fn describe(&self, text: &mut String) {
        if let Some(copy) = &self.copy {
            copy.describe(text);
        }
        if let Some(release) = &self.release {
            let _ = writeln!(text, "  release {}", plain(release));
        }
        if self.variants > 0 {
            let variants = count(self.variants.into(), "variant", "variants");
            let _ = writeln!(text, "  {variants} stored as {}", plain(&self.key));
        }
        let lease = match self.lease_left {
            Some(left) => format!("a lease for {left:.1} s"),
            None => "no lease".to_owned(),
        };
        let _ = writeln!(text, "  revision {} applied, {lease}", self.applied);
    }
}

impl StoredCopy {
    fn describe(&self, text: &mut String) {
        let _ = write!(
            text,
            "  status {}, {}, stored {:.1} s ago",
            self.status,
            bytes(self.size),
            self.stored_ago.unwrap_or_default(),
        );
        match self.fresh_for.unwrap_or_default() {
            left @ 0.0.. => _ = write!(text, ", fresh for {left:.1} s"),
            over => _ = write!(text, ", stale for {:.1} s", -over),
        }
        let _ = write!(text, ", fetch began at revision {}", self.fill_revision);
        if self.earlier_era {
            text.push_str(" of an earlier era");
        }
        if let Some(etag) = &self.etag {
            let _ = write!(text, ", etag {}", plain(etag));
        }
        let _ = writeln!(text, "\n  tags {}", plain(&self.tags.join(" ")));
        if let Some(last) = &self.last_invalidation {
            let (LastInvalidation { revision, mode, .. }, tag) = (last, plain(&last.tag));
            let counts = match last.after_fill {
                true => "after its fetch began",
                false => "before its fetch began, so it does not count",
            };
            let _ = writeln!(
                text,
                "  hit on {tag} at revision {revision}, {mode}: {counts}"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn response() -> v1::ExplainUrlResponse {
        let duration = |seconds, nanos| Some(prost_types::Duration { seconds, nanos });
        let copy = v1::StoredCopy {
            status: 200,
            stored_ago: duration(605, 0),
            fill_revision: 5,
            tags: vec!["url:/a".into(), "item:42".into()],
            fresh_for: duration(-5, -500_000_000),
            size: 2_048,
            etag: "\"1\"".into(),
            last_invalidation: Some(v1::LastInvalidation {
                revision: 7,
                mode: v1::InvalidationMode::Hard.into(),
                tag: "item:42".into(),
                after_fill: true,
            }),
            ..v1::StoredCopy::default()
        };
        let answer = v1::ExplainAnswer {
            verdict: v1::ExplainVerdict::Revalidate.into(),
            reason: "tag item:42 was hard-invalidated".into(),
            applied: 9,
            lease_left: duration(8, 0),
            copy: Some(copy),
            variants: 2,
            key: "a.example/a".into(),
            ..v1::ExplainAnswer::default()
        };
        let edge = |name: &str, answer| v1::EdgeExplanation {
            edge_id: name.into(),
            instance_id: "i".into(),
            answer,
        };
        v1::ExplainUrlResponse {
            site: "shop".into(),
            url: "/a".into(),
            edges: vec![edge("e1", Some(answer)), edge("e2", None)],
            last_invalidation: None,
            head: 9,
        }
    }

    #[test]
    fn an_explanation_is_json_with_the_names_of_the_protocol() {
        let explained = Explained::from(response());
        assert!(!explained.is_complete());
        let json = serde_json::to_value(&explained).unwrap();
        let expected = serde_json::json!({
            "site": "shop", "url": "/a", "head": 9, "last_invalidation": null,
            "edges": [
                {"edge_id": "e1", "instance_id": "i", "answer": {
                    "verdict": "REVALIDATE", "reason": "tag item:42 was hard-invalidated",
                    "applied": 9, "lease_left": 8.0, "release": null, "variants": 2,
                    "key": "a.example/a",
                    "copy": {
                        "status": 200, "stored_ago": 605.0, "fill_revision": 5,
                        "earlier_era": false, "tags": ["url:/a", "item:42"], "fresh_for": -5.5,
                        "size": 2048, "etag": "\"1\"",
                        "last_invalidation": {
                            "revision": 7, "mode": "HARD", "tag": "item:42", "after_fill": true,
                        },
                    },
                }},
                {"edge_id": "e2", "instance_id": "i", "answer": null},
            ],
        });
        assert_eq!(json, expected);
    }

    #[test]
    fn people_read_a_few_lines_an_edge() {
        let text = Explained::from(response()).text(Style::default());
        let expected = "\
/a on site shop, head 9
e1: REVALIDATE: tag item:42 was hard-invalidated
  status 200, 2.00 KiB, stored 605.0 s ago, stale for 5.5 s, fetch began at revision 5, etag \"1\"
  tags url:/a item:42
  hit on item:42 at revision 7, HARD: after its fetch began
  2 variants stored as a.example/a
  revision 9 applied, a lease for 8.0 s
e2: no answer in time
";
        assert_eq!(text, expected);
    }
}
