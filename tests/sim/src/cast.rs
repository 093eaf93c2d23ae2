//! Who is there: the machines by name, and what all actors share.

use std::sync::Arc;

use crate::calm::Calm;
use crate::net::{Host, Net};
use crate::trace::Trace;
use crate::truth::Truth;

/// Edges.
pub const EDGES: usize = 3;
/// The control plane.
pub const PLANE: Host = 0;
/// The origin.
pub const ORIGIN: Host = 1 + EDGES;
/// Where visitors are.
pub const VISITORS: Host = 2 + EDGES;
/// Where backends are.
pub const BACKENDS: Host = 3 + EDGES;
/// The names of the machines.
pub const NAMES: [&str; 4 + EDGES] = [
    "plane", "edge-1", "edge-2", "edge-3", "origin", "visitors", "backends",
];

/// The site.
pub const SITE: &str = "shop";
/// Its host.
pub const HOST: &str = "shop.example";
/// Where edges serve pages.
pub const EDGE_PORT: u16 = 80;
/// Where the control plane serves gRPC.
pub const PLANE_PORT: u16 = 7_420;
/// Where health is served, by both.
pub const ADMIN_PORT: u16 = 7_421;

/// The machine of an edge.
#[must_use]
pub fn edge(index: usize) -> Host {
    1 + index
}

/// What all actors share.
#[derive(Debug, Clone)]
pub struct Stage {
    /// The network.
    pub net: Net,
    /// What is true.
    pub truth: Arc<Truth>,
    /// What happens.
    pub trace: Arc<Trace>,
    /// Whom nothing stands in the way of.
    pub calm: Arc<Calm>,
}
