//! Lets go of what is too old, bit by bit, between batches.

use std::time::{Duration, SystemTime};

use prost::Message as _;
use tidegate_domain::Revision;
use tidegate_proto::storage::v1 as storage;
use tidegate_proto::{time_from_wire, v1};

use super::effects;
use super::sequencer::Sequencer;
use crate::state::{
    Direction, KeyRange, Overlay, StoreError, View as _, keys, sweep_dead_entries, tables,
};

/// Records that one step removes of each kind.
const STEP: usize = 1_000;
/// Records that are looked at in one go, once the very first was too old. Most often
/// that is not, and nothing more is read.
const FRONT: usize = 16;
/// Sites whose audit records one step looks at; the next step goes on behind them.
const SITES: usize = 16;
/// How much longer an idempotency record stays than it counts, because the commands
/// that it is for bring their own time.
const IDEMPOTENCY_SLACK: Duration = Duration::from_secs(3_600);

/// What is kept, and how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// Records of the log: an edge further behind than these begins anew.
    pub max_records: u64,
    /// Age of a record of the log.
    pub max_age: Duration,
    /// How long a repeated call with the same idempotency key has one effect.
    pub idempotency: Duration,
    /// Age of a record of the audit trail.
    pub audit: Duration,
    /// Bytes of what the audit trail says of edges: when each of them had applied
    /// what. Beyond that the oldest goes first, and it is known only that they had.
    pub effect_bytes: u64,
}

impl Default for Retention {
    /// A million records of at most a week; idempotency keys for a day, audit records
    /// for 30 days, with at most 512 MiB about edges.
    fn default() -> Self {
        const DAY: Duration = Duration::from_secs(24 * 3_600);
        Self {
            max_records: 1_000_000,
            max_age: 7 * DAY,
            idempotency: DAY,
            audit: 30 * DAY,
            effect_bytes: 512 << 20,
        }
    }
}

impl Sequencer {
    /// Removes a bounded number of what is too old. Says whether there is more.
    pub(crate) fn maintain(&self) -> Result<bool, StoreError> {
        let now = self.settings.clock.wall();
        let mut more = self.retain_log(now)?;
        let mut overlay = Overlay::new(&*self.shared.store);
        more |= self.retain_idempotency(&mut overlay, now)?;
        more |= self.retain_audit(&mut overlay, now)?;
        more |= self.retain_effects(&mut overlay, now)?;
        more |= sweep_dead(&mut overlay)?;
        self.write(overlay)?;
        Ok(more)
    }

    /// Raises the floor to `target`, at most to the head.
    pub(crate) fn compact(&self, target: Revision) -> Result<(), StoreError> {
        let target = target.min(self.shared.head());
        while self.shared.floor() < target {
            let next = Revision(self.shared.floor().0 + STEP as u64).min(target);
            self.raise_floor(next)?;
        }
        Ok(())
    }

    fn retain_log(&self, now: SystemTime) -> Result<bool, StoreError> {
        let retention = &self.settings.retention;
        let too_many = self.shared.head().0.saturating_sub(retention.max_records);
        let floor = self.shared.floor();
        let last = Revision(floor.0 + STEP as u64).min(self.shared.head());
        let mut target = Revision(too_many).min(last).max(floor);
        if let Some(oldest_kept) = now.checked_sub(retention.max_age) {
            while target < last && self.recorded_before(target.next(), oldest_kept)? {
                target = target.next();
            }
        }
        if target > floor {
            self.raise_floor(target)?;
        }
        Ok(target == last && target < self.shared.head())
    }

    fn recorded_before(&self, revision: Revision, time: SystemTime) -> Result<bool, StoreError> {
        let key = keys::log(revision);
        let Some(record) = tables::read::<storage::LogRecord>(&*self.shared.store, &key)? else {
            return Ok(true);
        };
        let event = v1::Event::decode(record.event).map_err(|e| StoreError::damaged(&key, &e))?;
        Ok(time_from_wire(event.time.as_ref()) < time)
    }

    /// Removes the records up to `floor`, and the terms that ended before it.
    fn raise_floor(&self, floor: Revision) -> Result<(), StoreError> {
        let mut overlay = Overlay::new(&*self.shared.store);
        for revision in self.shared.floor().0 + 1..=floor.0 {
            overlay.remove(keys::log(Revision(revision)));
        }
        let until = KeyRange::prefix(keys::TERMS).below(&keys::term(floor.next()));
        let begun = overlay.scan(&until, STEP, Direction::Forward)?;
        // The last of them is the term of the floor itself.
        for (key, _) in begun.iter().take(begun.len().saturating_sub(1)) {
            overlay.remove(key.to_vec());
        }
        let record = storage::FloorRecord { revision: floor.0 };
        overlay.put_message(keys::FLOOR.to_vec(), &record);
        // Before the records go, so that no reader takes a gap for the log.
        self.shared.set_floor(floor);
        self.write(overlay)
    }

    fn retain_idempotency(
        &self,
        overlay: &mut Overlay<'_>,
        now: SystemTime,
    ) -> Result<bool, StoreError> {
        let life = self.settings.retention.idempotency + IDEMPOTENCY_SLACK;
        let Some(oldest_kept) = now.checked_sub(life) else {
            return Ok(false);
        };
        let range = KeyRange::prefix(keys::IDEMPOTENCY_AGES);
        let removed = remove_front(overlay, &range, STEP, |overlay, age_key, key| {
            let revision = tables::number_of(age_key)?;
            match tables::read::<storage::IdempotencyRecord>(overlay, key)? {
                // The key may have been used again since.
                Some(record) if record.revision == revision.0 => {
                    let old = time_from_wire(record.time.as_ref()) < oldest_kept;
                    if old {
                        overlay.remove(key.to_vec());
                    }
                    Ok(old)
                }
                _ => Ok(true),
            }
        })?;
        Ok(removed == STEP)
    }

    fn retain_audit(&self, overlay: &mut Overlay<'_>, now: SystemTime) -> Result<bool, StoreError> {
        let Some(oldest_kept) = now.checked_sub(self.settings.retention.audit) else {
            return Ok(false);
        };
        let mut left = STEP;
        let mut floor = tables::floor(overlay, keys::AUDIT_FLOOR)?;
        let mut turns = self.audit_turns.lock();
        for (table, turn) in [keys::AUDIT, keys::AUDIT_PUSH].into_iter().zip(&mut *turns) {
            let mut is_old = |key: &[u8], value: &[u8]| {
                let record: storage::AuditRecord = tables::decode(key, value)?;
                let old = time_from_wire(record.time.as_ref()) < oldest_kept;
                if old && table == keys::AUDIT {
                    floor = floor.max(tables::number_of(key)?);
                }
                Ok::<_, StoreError>(old)
            };
            for _ in 0..SITES {
                let mut sites = KeyRange::prefix(table);
                sites.start = sites.start.max(std::mem::take(turn));
                let first = overlay.scan(&sites, 1, Direction::Forward)?;
                // Behind the last site it begins with the first, in the next step.
                let Some((key, value)) = first.first() else {
                    break;
                };
                let range = KeyRange::prefix(site_prefix(table, key)?);
                if is_old(key, value)? {
                    left -=
                        remove_front(overlay, &range, left, |_, key, value| is_old(key, value))?;
                }
                if left == 0 {
                    *turn = range.start;
                    break;
                }
                *turn = range.end.unwrap_or_default();
            }
        }
        if left < STEP {
            let record = storage::FloorRecord { revision: floor.0 };
            overlay.put_message(keys::AUDIT_FLOOR.to_vec(), &record);
        }
        Ok(left == 0)
    }

    fn retain_effects(
        &self,
        overlay: &mut Overlay<'_>,
        now: SystemTime,
    ) -> Result<bool, StoreError> {
        let range = KeyRange::prefix(keys::EFFECTS);
        let last = overlay.scan(&range, 1, Direction::Backward)?;
        let Some((key, value)) = last.first() else {
            return Ok(false);
        };
        let retention = &self.settings.retention;
        let written = effects::written(key, value)?;
        let oldest_kept = now.checked_sub(retention.audit);
        let removed = remove_front(overlay, &range, STEP, |_, key, value| {
            let record: storage::EffectsRecord = tables::decode(key, value)?;
            let old = oldest_kept.is_some_and(|kept| time_from_wire(record.time.as_ref()) < kept);
            Ok(old || written - record.bytes_before > retention.effect_bytes)
        })?;
        Ok(removed == STEP)
    }
}

/// What the keys of a site's audit records begin with.
fn site_prefix(table: &[u8], key: &[u8]) -> Result<Vec<u8>, StoreError> {
    let site = key
        .get(table.len()..)
        .and_then(|rest| rest.split(|b| *b == b'/').next());
    let site = site.ok_or_else(|| StoreError::damaged(key, "the key names no site"))?;
    let name = tables::site_name(b"", site)?;
    Ok(keys::audits(table, name.as_str()))
}

/// Removes pairs from the front of a range for as long as `is_old`, at most `limit`.
/// Returns how many.
fn remove_front(
    overlay: &mut Overlay<'_>,
    range: &KeyRange,
    limit: usize,
    mut is_old: impl FnMut(&mut Overlay<'_>, &[u8], &[u8]) -> Result<bool, StoreError>,
) -> Result<usize, StoreError> {
    let mut range = range.clone();
    let mut removed = 0;
    while removed < limit {
        let size = if removed == 0 { 1 } else { FRONT };
        let size = size.min(limit - removed);
        let front = overlay.scan(&range, size, Direction::Forward)?;
        for (key, value) in &front {
            if !is_old(overlay, key, value)? {
                return Ok(removed);
            }
            overlay.remove(key.to_vec());
            removed += 1;
        }
        match front.last() {
            Some((last, _)) if front.len() == size => range = range.above(last),
            _ => break,
        }
    }
    Ok(removed)
}

/// Removes what was pushed and is below its site's floor. Says whether there is more.
fn sweep_dead(overlay: &mut Overlay<'_>) -> Result<bool, StoreError> {
    let sites = KeyRange::prefix(keys::DEAD_ENTRIES);
    let first = overlay.scan(&sites, 1, Direction::Forward)?;
    let Some((key, _)) = first.first() else {
        return Ok(false);
    };
    let site = tables::site_name(keys::DEAD_ENTRIES, key)?;
    sweep_dead_entries(overlay, &site, STEP)?;
    Ok(true)
}
