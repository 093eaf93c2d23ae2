//! The edges.

use comfy_table::Cell;
use serde::Serialize;
use tidegate_proto::v1;

use super::{bytes, or_dash, seconds, time};
use crate::output::{Report, Style, Tone, finish, plain, table, toned};

/// The edges that are known.
#[derive(Debug, Serialize)]
pub(crate) struct Edges {
    head: u64,
    edges: Vec<Edge>,
}

#[derive(Debug, Serialize)]
struct Edge {
    edge_id: String,
    instance_id: String,
    applied: u64,
    lag: u64,
    connected: bool,
    /// Seconds; none without a lease.
    lease_left: Option<f64>,
    last_heartbeat: Option<String>,
    stats: Stats,
}

#[derive(Debug, Default, Serialize)]
struct Stats {
    requests: u64,
    hits: u64,
    connections: u64,
    cached_responses: u64,
    cached_bytes: u64,
    tags: u64,
    address: String,
}

impl Edges {
    pub(crate) fn new(head: u64, edges: Vec<v1::Edge>) -> Self {
        Self {
            head,
            edges: edges.into_iter().map(Edge::from).collect(),
        }
    }
}

impl From<v1::Edge> for Edge {
    fn from(wire: v1::Edge) -> Self {
        let stats = wire.stats.unwrap_or_default();
        Self {
            edge_id: wire.edge_id,
            instance_id: wire.instance_id,
            applied: wire.applied,
            lag: wire.lag,
            connected: wire.connected,
            lease_left: seconds(wire.lease_left.as_ref()),
            last_heartbeat: time(wire.last_heartbeat.as_ref()),
            stats: Stats {
                requests: stats.requests,
                hits: stats.hits,
                connections: stats.connections,
                cached_responses: stats.cached_responses,
                cached_bytes: stats.cached_bytes,
                tags: stats.tags,
                address: stats.address,
            },
        }
    }
}

impl Stats {
    fn hit_ratio(&self) -> Option<String> {
        (self.requests > 0).then(|| {
            #[expect(
                clippy::cast_precision_loss,
                reason = "a percentage for people needs no more"
            )]
            let ratio = self.hits as f64 / self.requests as f64;
            format!("{:.1}%", ratio * 100.0)
        })
    }
}

impl Report for Edges {
    fn text(&self, style: Style) -> String {
        if self.edges.is_empty() {
            return format!("head {}; no edges\n", self.head);
        }
        let header = [
            "EDGE",
            "STREAM",
            "APPLIED",
            "LAG",
            "LEASE",
            "HIT RATIO",
            "REQUESTS",
            "CACHED",
            "BROWSERS",
            "ADDRESS",
        ];
        let mut rows = table(style, &header);
        for edge in &self.edges {
            rows.add_row([
                Cell::new(plain(&edge.edge_id)),
                match edge.connected {
                    true => toned(style, "open", Tone::Good),
                    false => toned(style, "closed", Tone::Bad),
                },
                Cell::new(edge.applied),
                match edge.lag {
                    0 => Cell::new(0),
                    lag => toned(style, lag, Tone::Warning),
                },
                match edge.lease_left {
                    Some(left) => Cell::new(format!("{left:.1}s")),
                    None => toned(style, "none", Tone::Bad),
                },
                Cell::new(or_dash(edge.stats.hit_ratio())),
                Cell::new(edge.stats.requests),
                Cell::new(format!(
                    "{} ({})",
                    edge.stats.cached_responses,
                    bytes(edge.stats.cached_bytes)
                )),
                Cell::new(edge.stats.connections),
                Cell::new(plain(&edge.stats.address)),
            ]);
        }
        format!("head {}\n", self.head) + &finish(&rows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_edge_without_a_lease_says_so() {
        let edge = v1::Edge {
            edge_id: "e".into(),
            stats: Some(v1::EdgeStats {
                requests: 3,
                hits: 2,
                ..v1::EdgeStats::default()
            }),
            ..v1::Edge::default()
        };
        let report = Edges::new(9, vec![edge]);
        let text = report.text(Style::default());
        assert!(text.contains("none") && text.contains("66.7%"), "{text}");
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(json["head"], 9);
        assert_eq!(json["edges"][0]["lease_left"], serde_json::Value::Null);
        assert_eq!(json["edges"][0]["stats"]["hits"], 2);
    }
}
