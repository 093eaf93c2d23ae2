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

/// What a record says of its age.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Age {
    Old,
    Young,
    /// Nothing: it is damaged. It goes with an old one that came after it.
    Unknown,
}

impl Age {
    fn of(is_old: bool) -> Self {
        if is_old { Self::Old } else { Self::Young }
    }
}

impl Sequencer {
    /// Removes a bounded number of what is too old. Says whether there is more. What is
    /// damaged keeps nothing else from going.
    pub(crate) fn maintain(&self) -> Result<bool, StoreError> {
        let now = self.settings.clock.wall();
        let mut more = self.stepping_over("the log", |_| self.retain_log(now))?;
        more |= self.stepping_over("idempotency keys", |overlay| {
            self.retain_idempotency(overlay, now)
        })?;
        more |= self.stepping_over("the audit trail", |overlay| self.retain_audit(overlay, now))?;
        more |= self.stepping_over("what edges did", |overlay| {
            self.retain_effects(overlay, now)
        })?;
        more |= self.stepping_over("entries", sweep_dead)?;
        Ok(more)
    }

    /// Does and writes one part of it. If that finds what is damaged and cannot go on, it
    /// writes nothing, and the other parts go on.
    fn stepping_over(
        &self,
        part: &str,
        work: impl FnOnce(&mut Overlay<'_>) -> Result<bool, StoreError>,
    ) -> Result<bool, StoreError> {
        let mut overlay = Overlay::new(&*self.shared.store);
        match work(&mut overlay) {
            Ok(more) => {
                self.write(overlay)?;
                Ok(more)
            }
            Err(error @ StoreError::Damaged { .. }) => {
                self.complain(part, &error);
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    /// Says once that something is damaged.
    fn complain(&self, part: &str, error: &StoreError) {
        let text = error.to_string();
        if self.complaints.is_news(text.clone(), &text) {
            tracing::error!(%error, part, "a record is damaged; what is too old goes without it");
        }
    }

    /// How old a record is by what was read of it.
    fn age(&self, part: &str, is_old: Result<bool, StoreError>) -> Result<Age, StoreError> {
        match is_old {
            Ok(is_old) => Ok(Age::of(is_old)),
            Err(error @ StoreError::Damaged { .. }) => {
                self.complain(part, &error);
                Ok(Age::Unknown)
            }
            Err(error) => Err(error),
        }
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
            let mut next = target.next();
            while next <= last {
                match self.age("the log", self.recorded_before(next, oldest_kept))? {
                    Age::Old => target = next,
                    Age::Young => break,
                    Age::Unknown => {}
                }
                next = next.next();
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
        let mut unknown = Vec::new();
        let removed = remove_front(overlay, &range, STEP, |overlay, age_key, key| {
            let is_old = tables::number_of(age_key).and_then(|revision| {
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
            });
            let age = self.age("idempotency keys", is_old)?;
            if age == Age::Unknown {
                unknown.push((age_key.to_vec(), key.to_vec()));
            }
            Ok(age)
        })?;
        for (age_key, key) in unknown {
            if overlay.get(&age_key)?.is_none() {
                overlay.remove(key);
            }
        }
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
                let is_old = tables::decode::<storage::AuditRecord>(key, value);
                let is_old =
                    is_old.map(|record| time_from_wire(record.time.as_ref()) < oldest_kept);
                let age = self.age("the audit trail", is_old)?;
                if age == Age::Old && table == keys::AUDIT {
                    floor = floor.max(tables::number_of(key)?);
                }
                Ok::<_, StoreError>(age)
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
                if is_old(key, value)? != Age::Young {
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
        // None: there is none, or those at the end are damaged.
        let Some(written) = effects::written_in_all(overlay)? else {
            return Ok(false);
        };
        let retention = &self.settings.retention;
        let oldest_kept = now.checked_sub(retention.audit);
        let removed = remove_front(overlay, &range, STEP, |_, key, value| {
            let is_old = tables::decode::<storage::EffectsRecord>(key, value).map(|record| {
                let time = time_from_wire(record.time.as_ref());
                let old = oldest_kept.is_some_and(|kept| time < kept);
                let above = written.saturating_sub(record.bytes_before);
                old || above > retention.effect_bytes
            });
            self.age("what edges did", is_old)
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

/// Removes pairs from the front of a range for as long as they are old, and with each
/// those before it of which that is not known. Looks at `limit` at most; returns how many
/// it removed.
fn remove_front(
    overlay: &mut Overlay<'_>,
    range: &KeyRange,
    limit: usize,
    mut age: impl FnMut(&mut Overlay<'_>, &[u8], &[u8]) -> Result<Age, StoreError>,
) -> Result<usize, StoreError> {
    let mut range = range.clone();
    let (mut looked, mut removed) = (0, 0);
    let mut unknown = Vec::new();
    while looked < limit {
        let size = if looked == 0 { 1 } else { FRONT };
        let size = size.min(limit - looked);
        let front = overlay.scan(&range, size, Direction::Forward)?;
        for (key, value) in &front {
            looked += 1;
            match age(overlay, key, value)? {
                Age::Young => return Ok(removed),
                Age::Unknown => unknown.push(key.clone()),
                Age::Old => {
                    for key in unknown.drain(..).chain([key.clone()]) {
                        overlay.remove(key.to_vec());
                        removed += 1;
                    }
                }
            }
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
