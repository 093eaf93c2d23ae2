//! Gives the fleet what it needs of the log and the state.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use prost::Message as _;
use tidegate_domain::{EdgeId, Epoch, FieldError, InstanceId, Revision, SiteName};
use tidegate_proto::storage::v1 as storage;
use tidegate_proto::{time_from_wire, time_to_wire};

use crate::alive::Alive;
use crate::fleet::{
    FleetStore, LeaseRecord, News, Part, Run, RunEnd, SiteSet, Snapshot, Step, StoreError,
};
use crate::log::{Facts, HistoryFact, LeaseFact};
use crate::state::Reader;

/// See the module.
pub(crate) struct Durable {
    facts: Arc<dyn Facts>,
    reader: Reader,
    _alive: Alive,
}

impl Durable {
    pub(crate) fn new(facts: Arc<dyn Facts>, reader: Reader, alive: Alive) -> Self {
        Self {
            facts,
            reader,
            _alive: alive,
        }
    }
}

fn failed(error: impl std::fmt::Display) -> StoreError {
    StoreError(error.to_string())
}

impl FleetStore for Durable {
    fn lease_records(&self) -> Result<Vec<LeaseRecord>, StoreError> {
        let leases = self.facts.leases().map_err(failed)?;
        let records = leases.into_iter().map(|fact| LeaseRecord {
            instance: fact.instance,
            edge: fact.edge,
            lease: fact.lease,
        });
        Ok(records.collect())
    }

    fn put_lease(&self, record: LeaseRecord) -> BoxFuture<'_, Result<(), StoreError>> {
        let fact = LeaseFact {
            instance: record.instance,
            edge: record.edge,
            lease: record.lease,
        };
        async { self.facts.put_lease(fact).await.map_err(failed) }.boxed()
    }

    fn remove_lease(&self, instance: InstanceId) -> BoxFuture<'_, Result<(), StoreError>> {
        async { self.facts.remove_lease(instance).await.map_err(failed) }.boxed()
    }

    fn runs(&self) -> Result<Vec<(InstanceId, Run)>, StoreError> {
        let runs = self.facts.runs().map_err(failed)?.into_iter();
        let runs = runs.map(|(instance, record)| Ok((instance, run_from_record(&record)?)));
        runs.collect::<Result<_, FieldError>>().map_err(failed)
    }

    fn put_history(&self, news: News) -> BoxFuture<'_, Result<(), StoreError>> {
        let runs = news.runs.into_iter();
        let fact = HistoryFact {
            runs: runs.map(|(id, run)| (id, run.map(run_to_record))).collect(),
            applied: records_of(news.parts),
        };
        async { self.facts.put_history(fact).await.map_err(failed) }.boxed()
    }

    fn applied_since(
        &self,
        from: Revision,
        visit: &mut dyn FnMut(&InstanceId, Part) -> bool,
    ) -> Result<(), StoreError> {
        let visited = self.facts.effects(from, &mut |record| {
            record.applied.into_iter().all(|applied| {
                match InstanceId::parse(&applied.instance_id) {
                    Ok(instance) => visit(&instance, part_from_record(applied)),
                    Err(_) => true,
                }
            })
        });
        visited.map_err(failed)
    }

    fn ensure_recent_write(&self, within: Duration) -> BoxFuture<'_, Result<(), StoreError>> {
        async move {
            let written = self.facts.ensure_recent_write(within).await;
            written.map_err(failed)
        }
        .boxed()
    }

    fn begin_history(&self, from: Epoch) -> BoxFuture<'_, Result<Epoch, StoreError>> {
        async move { self.facts.begin_history(from).await.map_err(failed) }.boxed()
    }

    fn unknown_leases(&self) -> Result<Option<Duration>, StoreError> {
        self.facts.unknown_leases().map_err(failed)
    }

    fn forget_unknown_leases(&self, of: Epoch) -> BoxFuture<'_, Result<(), StoreError>> {
        async move {
            let forgotten = self.facts.forget_unknown_leases(of).await;
            forgotten.map_err(failed)
        }
        .boxed()
    }

    fn former_stale(&self) -> Result<Vec<(SiteName, Duration)>, StoreError> {
        self.facts.former_stale().map_err(failed)
    }

    fn forget_former_stale(
        &self,
        site: SiteName,
        as_of: Revision,
    ) -> BoxFuture<'_, Result<(), StoreError>> {
        async move {
            let forgotten = self.facts.forget_former_stale(site, as_of).await;
            forgotten.map_err(failed)
        }
        .boxed()
    }

    fn snapshot(&self, sites: &SiteSet) -> Result<Snapshot, StoreError> {
        let (revision, views) = self.reader.snapshot(|site| sites.contains(site.as_str()));
        Ok(Snapshot {
            revision,
            sites: Box::new(views.into_iter().map(|view| view.to_snapshot())),
        })
    }
}

/// A record is closed once it has so many bytes: the store splits large ones.
const RECORD_BYTES: usize = 4 << 10;

/// Puts parts into records, in order.
fn records_of(parts: Vec<(InstanceId, Part)>) -> Vec<Vec<storage::AppliedRecord>> {
    let mut records: Vec<Vec<_>> = Vec::new();
    let mut bytes = RECORD_BYTES;
    for (instance, part) in parts {
        let applied = part_to_record(&instance, part);
        if bytes >= RECORD_BYTES {
            records.push(Vec::new());
            bytes = 0;
        }
        bytes += applied.encoded_len();
        if let Some(record) = records.last_mut() {
            record.push(applied);
        }
    }
    records
}

fn run_to_record(run: Run) -> storage::RunRecord {
    storage::RunRecord {
        edge_id: run.edge.to_string(),
        first_heard: Some(time_to_wire(run.first_heard)),
        joined: run.joined.0,
        end: run.end.map(|end| storage::RunEnd {
            time: Some(time_to_wire(end.time)),
            until: end.until.0,
            applied: end.applied.0,
            fenced_from: Some(time_to_wire(end.fenced_from)),
            left: end.left,
        }),
    }
}

fn run_from_record(record: &storage::RunRecord) -> Result<Run, FieldError> {
    Ok(Run {
        edge: EdgeId::parse(&record.edge_id)?,
        first_heard: time_from_wire(record.first_heard.as_ref()),
        joined: Revision(record.joined),
        end: record.end.as_ref().map(|end| RunEnd {
            time: time_from_wire(end.time.as_ref()),
            until: Revision(end.until),
            applied: Revision(end.applied),
            fenced_from: time_from_wire(end.fenced_from.as_ref()),
            left: end.left,
        }),
    })
}

fn part_to_record(instance: &InstanceId, part: Part) -> storage::AppliedRecord {
    storage::AppliedRecord {
        instance_id: instance.to_string(),
        first: part.first.0,
        last: part.last.0,
        fenced_from: part.fenced_from.map(time_to_wire),
        steps: part
            .steps
            .into_iter()
            .map(|step| storage::AppliedStep {
                first: step.first.0,
                last: step.last.0,
                at: step.at.map_or(0, unix_millis),
                evicted: step.evicted,
            })
            .collect(),
    }
}

fn part_from_record(record: storage::AppliedRecord) -> Part {
    Part {
        first: Revision(record.first),
        last: Revision(record.last),
        fenced_from: record.fenced_from.as_ref().map(|t| time_from_wire(Some(t))),
        steps: record
            .steps
            .into_iter()
            .map(|step| Step {
                first: Revision(step.first),
                last: Revision(step.last),
                at: Some(step.at).filter(|at| *at > 0).map(of_unix_millis),
                evicted: step.evicted,
            })
            .collect(),
    }
}

fn unix_millis(time: SystemTime) -> u64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(0))
}

fn of_unix_millis(millis: u64) -> SystemTime {
    let time = SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(millis));
    time.unwrap_or(SystemTime::UNIX_EPOCH)
}
