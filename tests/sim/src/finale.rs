//! The end of a simulation: faults are over. Everything has to come right within a
//! bounded time, and nothing that was promised may be gone.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;

use crate::backend::Backend;
use crate::cast::{EDGES, Stage};
use crate::hear::Listener;
use crate::items::{ITEMS, Kind, Selector};
use crate::visit::{Answer, Ask, visit};

/// Within this time after the last fault the fleet is whole again.
const WITHIN: Duration = Duration::from_secs(30);
/// How often that is looked at.
const LOOK: Duration = Duration::from_millis(250);

/// Whether the end was reached.
#[derive(Debug, Default)]
pub struct Verdict {
    /// Whether it was.
    pub is_reached: bool,
}

/// Checks everything that can be checked only in the end.
pub async fn finale(stage: Stage, mut backend: Backend, listeners: &[Arc<Listener>]) {
    let whole = tokio::time::timeout(WITHIN, fleet_is_whole(&backend)).await;
    if whole.is_err() {
        let (edges, head) = backend.edges().await;
        let told = format!("the fleet is not whole at head {head}: {edges:?}");
        stage.trace.violated("finale", &told);
        return;
    }
    stage.trace.note("finale", "the fleet is whole");
    hits_happen_again(&stage).await;
    if !backend
        .invalidate(Selector::Tag("item:*".to_owned()), false, true)
        .await
    {
        let told = "an invalidation is not complete in a fleet that is whole";
        stage.trace.violated("finale", told);
    }
    listeners_catch_up(&stage, &backend, listeners).await;
    for listener in listeners {
        listener.judge(&stage);
    }
    nothing_acknowledged_is_lost(&stage, &backend).await;
    stage.trace.note("finale", "done");
}

async fn fleet_is_whole(backend: &Backend) {
    loop {
        let (edges, head) = backend.edges().await;
        let current = edges
            .iter()
            .filter(|edge| edge.connected && edge.applied == head && edge.lease_left.is_some());
        if current.count() == EDGES {
            return;
        }
        tokio::time::sleep(LOOK).await;
    }
}

async fn hits_happen_again(stage: &Stage) {
    for edge in 0..EDGES {
        for item in 0..ITEMS {
            let ask = Ask {
                edge,
                item,
                variant: None,
                token: None,
                copy: None,
            };
            let mut last = None;
            let mut is_served = false;
            // The first may find a copy that was being refreshed, or fill the cache.
            for _ in 0..6 {
                last = visit(stage, "finale", &ask).await;
                is_served = last.as_ref().is_some_and(|answer| is_right(item, answer));
                if is_served {
                    break;
                }
            }
            if !is_served {
                let told = match last {
                    Some(answer) => format!("{} {}", answer.status, answer.cache_status()),
                    None => "no answer".to_owned(),
                };
                let told = format!("edge-{} item {item}: no hit: {told}", edge + 1);
                stage.trace.violated("finale", &told);
            }
        }
    }
}

fn is_right(item: usize, answer: &Answer) -> bool {
    let is_stored = answer.is_hit() || Kind::of(item) == Kind::Asked;
    answer.status == StatusCode::OK && is_stored
}

async fn listeners_catch_up(stage: &Stage, backend: &Backend, listeners: &[Arc<Listener>]) {
    let (_, head) = backend.edges().await;
    let all = async {
        loop {
            let behind =
                |listener: &&Arc<Listener>| listener.newest().is_none_or(|at| at.revision.0 < head);
            if listeners.iter().find(behind).is_none() {
                return;
            }
            tokio::time::sleep(LOOK).await;
        }
    };
    if tokio::time::timeout(WITHIN, all).await.is_err() {
        for listener in listeners {
            let newest = listener.newest().map(|at| at.revision.0);
            let told = format!("heard up to {newest:?} of {head}");
            if newest.is_none_or(|newest| newest < head) {
                stage.trace.violated(&listener.name, &told);
            }
        }
    }
}

async fn nothing_acknowledged_is_lost(stage: &Stage, backend: &Backend) {
    let audit = match backend.audit().await {
        Ok(audit) => audit,
        Err(status) => {
            let told = format!("the audit trail cannot be read: {}", status.message());
            stage.trace.violated("finale", &told);
            return;
        }
    };
    let mut by_reason: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for (revision, reason) in audit {
        by_reason.entry(reason).or_default().push(revision);
    }
    for accepted in stage.truth.accepted() {
        let told = accepted.at.revision.0;
        let held = by_reason.get(&accepted.reason);
        if held.is_none_or(|held| held != &[told]) {
            let what = format!("{} was told {told}, the log says {held:?}", accepted.reason);
            stage.trace.violated("finale", &what);
        }
        // What edges and browsers are told comes from there.
        let pattern = accepted.what.selector.pattern();
        if !stage.truth.has_logged(accepted.at.revision, &pattern) {
            let what = format!("{}: no event for {pattern} at {told}", accepted.reason);
            stage.trace.violated("finale", &what);
        }
    }
}
