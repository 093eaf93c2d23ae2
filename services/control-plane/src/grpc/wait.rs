//! `wait_for`: waiting until a change is final, on the wire.

use std::time::Duration;

use tidegate_domain::{FieldError, Revision};
use tidegate_proto::{time_from_wire, time_to_wire, v1};

use super::context::Context;
use super::fault::Fault;
use super::fields;
use crate::fleet::{Asked, EdgeStanding, Effect, Fleet, Standing, Subject, WaitPermit};
use crate::state::ReaderError;

/// The longest a call may ask to wait.
pub(crate) const MAX_WAIT: Duration = Duration::from_secs(600);

/// Outcomes in one answer: thousands would not fit into the 4 MiB that callers take.
const MAX_OUTCOMES: usize = 1_000;

/// How a call waits. Made before it changes anything.
pub(crate) struct Wait {
    permit: Option<WaitPermit>,
    timeout: Duration,
}

/// How far a change has come.
pub(crate) struct Reached {
    pub(crate) status: v1::CompletionStatus,
    pub(crate) edges: Vec<v1::EdgeOutcome>,
}

impl Wait {
    /// Reads what a call asks for. It waits no longer than its caller's own deadline.
    pub(crate) fn read(
        context: &Context,
        wait_for: i32,
        timeout: Option<&prost_types::Duration>,
        budget: Option<Duration>,
    ) -> Result<Self, Fault> {
        let default = context.limits.wait_timeout;
        let timeout = fields::duration("wait_timeout", timeout, default, Duration::ZERO, MAX_WAIT)?;
        let permit = match v1::WaitFor::try_from(wait_for) {
            Ok(v1::WaitFor::Unspecified | v1::WaitFor::None) => None,
            Ok(v1::WaitFor::AllEdges) => Some(context.fleet.permit_to_wait()?),
            Err(_) => return Err(FieldError::new("wait_for", wait_for, "NONE or ALL_EDGES").into()),
        };
        Ok(Self {
            permit,
            timeout: budget.map_or(timeout, |budget| timeout.min(budget)),
        })
    }

    /// The same wait when a part of the time is over.
    pub(crate) fn less(self, elapsed: Duration) -> Self {
        Self {
            timeout: self.timeout.saturating_sub(elapsed),
            ..self
        }
    }

    /// Waits, if the call asked for it.
    pub(crate) async fn until_final(
        self,
        context: &Context,
        revision: Revision,
        subject: Subject,
    ) -> Reached {
        let Some(permit) = self.permit else {
            return Reached {
                status: v1::CompletionStatus::Accepted,
                edges: Vec::new(),
            };
        };
        let completion = context
            .fleet
            .wait(permit, revision, subject, self.timeout)
            .await;
        Reached {
            status: if completion.complete {
                v1::CompletionStatus::Complete
            } else {
                v1::CompletionStatus::Partial
            },
            edges: outcomes(completion.edges),
        }
    }
}

/// At most [`MAX_OUTCOMES`]; if there are more, those come first that hold it up.
fn outcomes(mut edges: Vec<EdgeStanding>) -> Vec<v1::EdgeOutcome> {
    if edges.len() > MAX_OUTCOMES {
        // Stable, so that the order within each kind stays.
        edges.sort_by_key(|edge| edge.standing != Standing::Pending);
        edges.truncate(MAX_OUTCOMES);
    }
    edges.iter().map(outcome).collect()
}

fn outcome(edge: &EdgeStanding) -> v1::EdgeOutcome {
    v1::EdgeOutcome {
        edge_id: edge.edge.to_string(),
        instance_id: edge.instance.to_string(),
        outcome: kind(edge.standing).into(),
    }
}

/// Adds to records of the audit trail what each edge did. Blocks on the disk.
pub(crate) fn add_effects(
    fleet: &Fleet,
    content: Subject,
    records: &mut [v1::InvalidationRecord],
) -> Result<(), ReaderError> {
    let asked = records.iter().map(|record| Asked {
        revision: Revision(record.revision),
        time: time_from_wire(record.time.as_ref()),
        subject: match record.cause() {
            v1::InvalidationCause::Release => Subject::Release,
            _ => content,
        },
    });
    let effects = fleet.effects(&asked.collect::<Vec<_>>());
    let effects = effects.map_err(|e| crate::state::StoreError::Read(e.to_string()))?;
    for (record, effects) in records.iter_mut().zip(effects) {
        record.edges = effects.iter().map(effect).collect();
    }
    Ok(())
}

/// What an edge did, as far as is known now.
pub(crate) fn effect(effect: &Effect) -> v1::EdgeEffect {
    v1::EdgeEffect {
        edge_id: effect.edge.to_string(),
        instance_id: effect.instance.to_string(),
        outcome: kind(effect.standing).into(),
        applied_at: effect.applied_at.map(time_to_wire),
        evicted: effect.evicted,
        fenced_at: effect.fenced_at.map(time_to_wire),
    }
}

fn kind(standing: Standing) -> v1::EdgeOutcomeKind {
    match standing {
        Standing::Applied => v1::EdgeOutcomeKind::Applied,
        Standing::Fenced => v1::EdgeOutcomeKind::Fenced,
        Standing::Pending => v1::EdgeOutcomeKind::Pending,
    }
}

#[cfg(test)]
mod tests {
    use prost::Message as _;
    use tidegate_domain::{EdgeId, InstanceId};

    use super::*;

    fn standing(n: usize, standing: Standing) -> EdgeStanding {
        // The longest names there are.
        let name = |kind: char| format!("{kind}{n:0>62}");
        EdgeStanding {
            edge: EdgeId::parse(&name('e')).unwrap(),
            instance: InstanceId::parse(&name('i')).unwrap(),
            standing,
        }
    }

    #[test]
    fn of_a_large_fleet_those_are_told_first_that_hold_a_call_up() {
        let edges = (0..10_000).map(|n| match n {
            9_990.. => standing(n, Standing::Pending),
            _ => standing(n, Standing::Applied),
        });
        let told = outcomes(edges.collect());
        assert_eq!(told.len(), 1_000);
        let pending = told
            .iter()
            .take_while(|e| e.outcome() == v1::EdgeOutcomeKind::Pending);
        assert_eq!(pending.count(), 10);
        assert!(told[10].edge_id.ends_with("000"), "then in their order");
        let answer = v1::InvalidateResponse {
            edges: told,
            ..v1::InvalidateResponse::default()
        };
        assert!(answer.encoded_len() < 1 << 20);
    }

    #[test]
    fn of_a_small_fleet_all_are_told_in_their_order() {
        let edges = vec![
            standing(1, Standing::Applied),
            standing(2, Standing::Pending),
        ];
        let told: Vec<_> = outcomes(edges).iter().map(|e| e.outcome()).collect();
        assert_eq!(
            told,
            [v1::EdgeOutcomeKind::Applied, v1::EdgeOutcomeKind::Pending]
        );
    }
}
