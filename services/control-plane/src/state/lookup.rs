//! Finds the entry that answers a request.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use tidegate_domain::{PathAndQuery, Revision, SiteName};
use tidegate_proto::storage::v1 as storage;
use tidegate_proto::{duration_from_wire, time_from_wire, v1};

use super::store::{StoreError, View};
use super::{entry_index, tables};
use crate::command::EntryBody;

/// Whether an entry may be served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Freshness {
    /// It may.
    Fresh,
    /// Something it carries was invalidated softly.
    Stale,
    /// Its time is up.
    Expired,
}

/// An entry.
#[derive(Debug, Clone)]
pub struct FoundEntry {
    /// The response; without the body if that is a blob.
    pub entry: v1::Entry,
    /// Its body.
    pub body: EntryBody,
    /// Revision at which it was stored.
    pub revision: Revision,
    /// It is as valid as it says as of this revision.
    pub validated_as_of: Revision,
    /// Whether it may be served.
    pub freshness: Freshness,
    /// How long from now on; zero unless it is fresh.
    pub fresh_for: Duration,
    /// How long ago it was stored, and of one that is shared how old it was then.
    pub age: Duration,
    /// An edge shares it; a backend did not push it.
    pub shared: bool,
}

/// The entry made for such a request: the pushed one, or while there is none that is
/// fresh, the one that an edge shares. `request` has names in lower case; for what is
/// shared, `key` stands for the fields that it names, and each of them has to be named by
/// it: else it is a share of something else, however well the rest agrees.
///
/// What was shared before the site's configuration changed may be of another URL or
/// origin, and is none.
pub(crate) fn find(
    view: &dyn View,
    site: &SiteName,
    url: &PathAndQuery,
    request: &[(String, Bytes)],
    key: &[(String, Bytes)],
    now: SystemTime,
) -> Result<Option<storage::EntryRecord>, StoreError> {
    let totals = entry_index::totals(view, site)?;
    let variants = entry_index::variants(view, site, url)?;
    let live = variants.into_iter().map(|(_, record)| record);
    let live = live.filter(|record| record.revision >= totals.floor);
    let (mut shared, pushed) = live.partition::<Vec<_>, _>(|record| record.shared);
    let configured = tables::site(view, site)?.map_or(0, |site| site.revision);
    shared.retain(|record| record.revision > configured && names(record, key));
    let pushed = best(pushed, request, &[]);
    let is_fresh = |record: &storage::EntryRecord| {
        freshness(record, totals.soft_floor, now).0 == Freshness::Fresh
    };
    if pushed.as_ref().is_some_and(is_fresh) {
        return Ok(pushed);
    }
    let shared = best(shared, request, key);
    Ok(shared
        .filter(|it| pushed.is_none() || is_fresh(it))
        .or(pushed))
}

/// Whether the entry names all of these request fields.
fn names(record: &storage::EntryRecord, key: &[(String, Bytes)]) -> bool {
    let vary = record.entry.iter().flat_map(|entry| &entry.vary);
    key.iter()
        .all(|(name, _)| vary.clone().any(|field| field.name == *name))
}

/// Of the entries whose request fields agree, the one that names most of them, then
/// the newest.
fn best(
    records: Vec<storage::EntryRecord>,
    request: &[(String, Bytes)],
    key: &[(String, Bytes)],
) -> Option<storage::EntryRecord> {
    let records = records.into_iter();
    records
        .filter_map(|record| agreeing(&record, request, key).map(|fields| (fields, record)))
        .max_by_key(|(fields, record)| (*fields, record.revision))
        .map(|(_, record)| record)
}

/// How many request fields the entry names, if all of them agree.
fn agreeing(
    record: &storage::EntryRecord,
    request: &[(String, Bytes)],
    key: &[(String, Bytes)],
) -> Option<usize> {
    let vary = &record.entry.as_ref()?.vary;
    let value = |name: &str| match key.iter().find(|(known, _)| known == name) {
        Some((_, value)) => value.to_vec(),
        None => value_of(request, name),
    };
    vary.iter()
        .all(|field| value(&field.name) == field.value)
        .then_some(vary.len())
}

/// The value of a request field: several lines as one list (RFC 9110, section 5.3),
/// an absent one as empty.
fn value_of(request: &[(String, Bytes)], name: &str) -> Vec<u8> {
    let values = request.iter().filter(|(n, _)| n == name);
    values
        .map(|(_, value)| value.as_ref())
        .collect::<Vec<_>>()
        .join(&b", "[..])
}

/// Whether the entry may be served, and how long from `now` on.
pub(crate) fn freshness(
    record: &storage::EntryRecord,
    soft_floor: u64,
    now: SystemTime,
) -> (Freshness, Duration) {
    if record.soft_revision > 0 || record.revision < soft_floor {
        return (Freshness::Stale, Duration::ZERO);
    }
    // By a clock that was set back nobody knows for how long yet.
    if record.shared && time_from_wire(record.stored_at.as_ref()) > now {
        return (Freshness::Expired, Duration::ZERO);
    }
    match entry_index::expires(record).duration_since(now) {
        Ok(left) if !left.is_zero() => (Freshness::Fresh, left),
        _ => (Freshness::Expired, Duration::ZERO),
    }
}

impl FoundEntry {
    pub(crate) fn new(
        record: storage::EntryRecord,
        soft_floor: u64,
        validated_as_of: Revision,
        now: SystemTime,
    ) -> Result<Self, StoreError> {
        let (freshness, fresh_for) = freshness(&record, soft_floor, now);
        let stored = time_from_wire(record.stored_at.as_ref());
        let damaged = |reason: &str| StoreError::damaged(b"entry/", reason);
        let entry = record.entry.ok_or_else(|| damaged("it has no response"))?;
        let age_then = duration_from_wire("age", record.age.as_ref(), Duration::ZERO)
            .map_err(|_| damaged("its age is none"))?;
        let since = now.duration_since(stored).unwrap_or_default();
        let body = if record.body_digest.is_empty() {
            EntryBody::Inline(entry.body.clone())
        } else {
            EntryBody::Blob {
                digest: record
                    .body_digest
                    .parse()
                    .map_err(|_| damaged("its body has no digest"))?,
                size: record.size,
            }
        };
        Ok(Self {
            entry,
            body,
            revision: Revision(record.revision),
            validated_as_of,
            freshness,
            fresh_for,
            age: age_then.saturating_add(since),
            shared: record.shared,
        })
    }
}
