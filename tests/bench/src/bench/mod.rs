//! One file a question. A bench starts its servers, drives them in turns and fills
//! tables; a new one is a file here, a constant below and a line in `cli`.

mod commits;
mod hits;
mod memory;
mod propagation;
mod resume;
mod sse;
mod tags;

use crate::context::Context;
use crate::report::Section;

/// A bench by its name.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bench {
    pub(crate) name: &'static str,
    pub(crate) run: fn(&Context) -> anyhow::Result<Vec<Section>>,
}

pub(crate) const HITS: Bench = Bench {
    name: "hits",
    run: hits::run,
};
pub(crate) const COMMITS: Bench = Bench {
    name: "commits",
    run: commits::run,
};
pub(crate) const SSE: Bench = Bench {
    name: "sse",
    run: sse::run,
};
pub(crate) const PROPAGATION: Bench = Bench {
    name: "propagation",
    run: propagation::run,
};
pub(crate) const TAGS: Bench = Bench {
    name: "tags",
    run: tags::run,
};
pub(crate) const RESUME: Bench = Bench {
    name: "resume",
    run: resume::run,
};
pub(crate) const MEMORY: Bench = Bench {
    name: "memory",
    run: memory::run,
};
/// Every bench, in the order of `all`.
pub(crate) const ALL: &[Bench] = &[HITS, COMMITS, SSE, PROPAGATION, TAGS, MEMORY, RESUME];

/// How Tidegate's own rows are called.
const TIDEGATE: &str = "Tidegate";
