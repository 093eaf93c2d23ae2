//! What edges did with invalidations, beside the log and in its commits: the audit
//! trail joins it. It is told in many small pieces, so that pieces of one moment
//! share a record, and the records are bounded by age and by bytes.

use std::time::SystemTime;

use prost::Message as _;
use tidegate_domain::{InstanceId, Revision};
use tidegate_proto::storage::v1 as storage;
use tidegate_proto::time_to_wire;

use super::ReadError;
use super::shared::Shared;
use crate::state::{Direction, KeyRange, Overlay, Store, StoreError, View as _, keys, tables};

/// Records at the end that are looked at for one that is whole.
const LOOKED_AT: usize = 16;

/// What became known about edges.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct HistoryFact {
    /// Runs of edges as they are now; `None`: the run is forgotten.
    pub runs: Vec<(InstanceId, Option<storage::RunRecord>)>,
    /// What edges have applied, one record for each element.
    pub applied: Vec<Vec<storage::AppliedRecord>>,
}

/// Writes what became known when `head` was the newest revision. If that fails, nothing
/// of it is written.
pub(crate) fn put(
    overlay: &mut Overlay<'_>,
    head: Revision,
    now: SystemTime,
    fact: HistoryFact,
) -> Result<(), StoreError> {
    let range = KeyRange::prefix(keys::EFFECTS);
    let last = overlay.scan(&range, 1, Direction::Backward)?;
    let last = last.first().map(|(key, _)| tables::number_of(key));
    let mut number = last.transpose()?.map_or(0, |last| last.0 + 1);
    let mut bytes_before = written_in_all(overlay)?.unwrap_or_default();
    for (instance, run) in fact.runs {
        match run {
            Some(run) => overlay.put_message(keys::run(instance.as_str()), &run),
            None => overlay.remove(keys::run(instance.as_str())),
        }
    }
    for applied in fact.applied {
        let record = storage::EffectsRecord {
            time: Some(time_to_wire(now)),
            bytes_before,
            applied,
        };
        bytes_before += record.encoded_len() as u64;
        overlay.put_message(keys::effects(head, number), &record);
        number += 1;
    }
    Ok(())
}

/// Bytes of all records that were ever written, by the last one that is whole. None: there
/// is none among those at the end.
pub(crate) fn written_in_all(overlay: &Overlay<'_>) -> Result<Option<u64>, StoreError> {
    let range = KeyRange::prefix(keys::EFFECTS);
    let last = overlay.scan(&range, LOOKED_AT, Direction::Backward)?;
    let mut whole = last.iter().filter_map(|(key, value)| {
        let record: storage::EffectsRecord = tables::decode(key, value).ok()?;
        Some(record.bytes_before + value.len() as u64)
    });
    Ok(whole.next())
}

impl Shared {
    pub(crate) fn runs(&self) -> Result<Vec<(InstanceId, storage::RunRecord)>, ReadError> {
        let mut runs = Vec::new();
        let range = KeyRange::prefix(keys::RUNS);
        tables::each(&*self.store, range, Direction::Forward, |(key, value)| {
            let instance = key.strip_prefix(keys::RUNS).unwrap_or_default();
            let instance =
                std::str::from_utf8(instance).map_err(|e| StoreError::damaged(key, &e))?;
            let instance = InstanceId::parse(instance).map_err(|e| StoreError::damaged(key, &e))?;
            runs.push((instance, tables::decode(key, value)?));
            Ok(true)
        })?;
        Ok(runs)
    }

    pub(crate) fn effects(
        &self,
        from: Revision,
        visit: &mut dyn FnMut(storage::EffectsRecord) -> bool,
    ) -> Result<(), ReadError> {
        let mut range = KeyRange::prefix(keys::EFFECTS);
        range.start = keys::effects_from(from);
        let store: &dyn Store = &*self.store;
        tables::each(store, range, Direction::Forward, |(key, value)| {
            Ok(visit(tables::decode(key, value)?))
        })?;
        Ok(())
    }
}

#[cfg(test)]
#[path = "effects_tests.rs"]
mod tests;
