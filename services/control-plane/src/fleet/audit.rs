//! What each edge did with an invalidation: what is kept of runs, joined with where
//! they stand now.

use std::collections::HashMap;
use std::time::SystemTime;

use tidegate_domain::{EdgeId, InstanceId, Revision};

use super::Fleet;
use super::history::{Concerned, Part};
use super::store::StoreError;
use super::table::{LeaseEnd, Standing, Subject};

/// Bytes of one write, about: what is beyond waits for the next.
const WRITE_BYTES: usize = 1 << 20;
/// Parts that one question reads at most. What was applied later than they tell is
/// known to be applied, but not when.
const MAX_PARTS_READ: usize = 65_536;
/// Runs that are told of one invalidation; those that may still serve it come first.
const MAX_EFFECTS: usize = 10_000;

/// An invalidation that is asked about.
#[derive(Debug, Clone, Copy)]
pub struct Asked {
    /// Its revision.
    pub revision: Revision,
    /// When it was accepted.
    pub time: SystemTime,
    /// What it is waited for as.
    pub subject: Subject,
}

/// What one run of an edge did with an invalidation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Effect {
    /// The edge.
    pub edge: EdgeId,
    /// Its run.
    pub instance: InstanceId,
    /// Where it stands.
    pub standing: Standing,
    /// When it had applied it, if that is known.
    pub applied_at: Option<SystemTime>,
    /// Cached responses that carried a matching tag, if it said so.
    pub evicted: Option<u64>,
    /// From when on it had no lease while it had not applied it.
    pub fenced_at: Option<SystemTime>,
}

impl Fleet {
    /// What each run of an edge did with each of these invalidations, by edge and then
    /// by when the run was first heard. Blocks on the disk.
    ///
    /// # Errors
    /// The store failed.
    pub fn effects(&self, asked: &[Asked]) -> Result<Vec<Vec<Effect>>, StoreError> {
        let revisions = asked.iter().map(|asked| asked.revision);
        let (Some(first), Some(last)) = (revisions.clone().min(), revisions.max()) else {
            return Ok(Vec::new());
        };
        // What waits is read first: what is written in between is then found there.
        let mut concerned = self.inner.lock().history.concerned(first, last);
        concerned.sort_by(|a, b| a.place().cmp(&b.place()));
        self.read_parts(&mut concerned, first, last)?;
        let looked = self.look_at(asked, &concerned);
        let effects = asked.iter().zip(looked).map(|(asked, runs)| {
            let effects = runs.into_iter().map(|(run, live)| run.effect(asked, live));
            bounded(effects.collect())
        });
        Ok(effects.collect())
    }

    /// The runs that each of the invalidations concerns, with where they stand now.
    /// Grants wait meanwhile, so no more is done here.
    fn look_at<'a>(
        &self,
        asked: &[Asked],
        concerned: &'a [Concerned],
    ) -> Vec<Vec<(&'a Concerned, Option<LeaseEnd>)>> {
        let now = (self.clock.boot(), self.clock.wall());
        let inner = self.inner.lock();
        let looked = asked.iter().map(|asked| {
            let runs = concerned.iter().filter(|run| run.is_about(asked.revision));
            runs.map(|run| (run, inner.table.lease_end(&run.instance, asked, now)))
                .collect()
        });
        looked.collect()
    }

    /// Adds what is durable of what the runs applied, oldest first.
    fn read_parts(
        &self,
        concerned: &mut [Concerned],
        first: Revision,
        last: Revision,
    ) -> Result<(), StoreError> {
        // Of each run, until it is known how it came to all that it has applied.
        let mut open: HashMap<_, _> = concerned
            .iter_mut()
            .filter(|run| run.applied.is_none_or(|applied| applied >= first))
            .map(|run| {
                // What is not durable yet is not looked for.
                let waiting = run.parts.first().map(|part| part.first.0.saturating_sub(1));
                let durable = Revision(waiting.unwrap_or(u64::MAX));
                let up_to = run.applied.unwrap_or(last).min(last).min(durable);
                (run.instance.clone(), (up_to, &mut run.parts, Vec::new()))
            })
            .collect();
        let (mut left, mut read) = (open.len(), 0);
        if left > 0 {
            self.store.applied_since(first, &mut |instance, part| {
                read += 1;
                if let Some((up_to, _, found)) = open.get_mut(instance) {
                    let done = part.last >= *up_to;
                    if part.last >= first {
                        found.push(part);
                    }
                    if done {
                        *up_to = Revision(u64::MAX);
                        left -= 1;
                    }
                }
                left > 0 && read < MAX_PARTS_READ
            })?;
        }
        for (_, parts, mut found) in open.into_values() {
            found.append(parts);
            *parts = found;
        }
        Ok(())
    }

    /// Writes what is new about runs. What cannot be written waits.
    pub async fn write_history(&self) {
        let news = {
            let inner = &mut *self.inner.lock();
            inner
                .history
                .sweep(self.clock.wall(), self.settings.keep_runs_for);
            inner.history.take(WRITE_BYTES)
        };
        if news.is_empty() {
            return;
        }
        let written = self.store.put_history(news.clone()).await;
        if let Err(error) = &written {
            tracing::warn!(%error, "what edges did could not be written; it waits");
        }
        let is_durable = written.is_ok();
        self.inner.lock().history.written(news, is_durable);
    }

    /// Runs of edges that the audit trail may tell of.
    #[must_use]
    pub fn kept_runs(&self) -> usize {
        self.inner.lock().history.len()
    }
}

/// At most [`MAX_EFFECTS`].
fn bounded(mut effects: Vec<Effect>) -> Vec<Effect> {
    if effects.len() > MAX_EFFECTS {
        // Stable, so that the order within each kind stays.
        effects.sort_by_key(|effect| effect.standing != Standing::Pending);
        effects.truncate(MAX_EFFECTS);
    }
    effects
}

impl Concerned {
    /// By edge, and then by when the run was first heard.
    fn place(&self) -> (&EdgeId, SystemTime, &InstanceId) {
        (&self.run.edge, self.run.first_heard, &self.instance)
    }

    fn is_about(&self, revision: Revision) -> bool {
        let until = self.run.end.as_ref().map(|end| end.until);
        self.run.joined < revision && until.is_none_or(|until| revision <= until)
    }

    fn effect(&self, asked: &Asked, live: Option<LeaseEnd>) -> Effect {
        let later = |from: SystemTime| from.max(asked.time);
        let effect = Effect {
            edge: self.run.edge.clone(),
            instance: self.instance.clone(),
            standing: Standing::Applied,
            applied_at: None,
            evicted: None,
            fenced_at: None,
        };
        let found = self.parts.iter().find_map(|part: &Part| {
            let step = part.step(asked.revision)?;
            Some((part, step))
        });
        if let Some((part, step)) = found {
            let alone = step.first == asked.revision && step.last == asked.revision;
            return Effect {
                applied_at: step.at,
                evicted: step.evicted.filter(|_| alone),
                fenced_at: part.fenced_from.map(later),
                ..effect
            };
        }
        let acknowledged = self.applied >= Some(asked.revision);
        if acknowledged || live == Some(LeaseEnd::Applied) {
            return effect;
        }
        let fenced_at = match (live, &self.run.end) {
            (Some(LeaseEnd::Fenced(from)), _) => Some(from.unwrap_or(self.run.first_heard)),
            // One that is only silent may go on with the release it knows.
            (None, Some(end)) if end.left || asked.subject != Subject::Release => {
                Some(end.fenced_from)
            }
            _ => None,
        };
        Effect {
            standing: match fenced_at {
                Some(_) => Standing::Fenced,
                None => Standing::Pending,
            },
            fenced_at: fenced_at.map(later),
            ..effect
        }
    }
}
