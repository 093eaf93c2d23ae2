//! Records by key, decoded.

use std::time::Duration;

use prost::Message;
use tidegate_domain::site::CheckedSite;
use tidegate_domain::{Revision, SiteName, Term};
use tidegate_proto::storage::v1 as storage;
use tidegate_proto::{duration_from_wire, site_from_wire, v1};

use super::keys;
use super::store::{Direction, KeyRange, Pair, StoreError, View};

/// How many pairs are read at once where many are visited.
pub(crate) const PAGE: usize = 512;

pub(crate) fn decode<M: Message + Default>(key: &[u8], value: &[u8]) -> Result<M, StoreError> {
    M::decode(value).map_err(|error| StoreError::damaged(key, &error))
}

pub(crate) fn read<M: Message + Default>(
    view: &dyn View,
    key: &[u8],
) -> Result<Option<M>, StoreError> {
    view.get(key)?.map(|value| decode(key, &value)).transpose()
}

/// Visits the pairs of a range in order until `visit` returns `false`.
pub(crate) fn each(
    view: &dyn View,
    mut range: KeyRange,
    direction: Direction,
    mut visit: impl FnMut(&Pair) -> Result<bool, StoreError>,
) -> Result<(), StoreError> {
    loop {
        let pairs = view.scan(&range, PAGE, direction)?;
        for pair in &pairs {
            if !visit(pair)? {
                return Ok(());
            }
        }
        let Some((last, _)) = pairs.last().filter(|_| pairs.len() == PAGE) else {
            return Ok(());
        };
        range = match direction {
            Direction::Forward => range.above(last),
            Direction::Backward => range.below(last),
        };
    }
}

/// The largest key with this prefix.
pub(crate) fn last(view: &dyn View, prefix: &[u8]) -> Result<Option<Pair>, StoreError> {
    let pairs = view.scan(&KeyRange::prefix(prefix), 1, Direction::Backward)?;
    Ok(pairs.into_iter().next())
}

/// The number that ends a key.
pub(crate) fn number_of(key: &[u8]) -> Result<Revision, StoreError> {
    keys::trailing_number(key)
        .map(Revision)
        .ok_or_else(|| StoreError::damaged(key, "the key is too short"))
}

/// The last revision that is gone, by the record under `key`.
pub(crate) fn floor(view: &dyn View, key: &[u8]) -> Result<Revision, StoreError> {
    let record: Option<storage::FloorRecord> = read(view, key)?;
    Ok(Revision(record.unwrap_or_default().revision))
}

/// The length of leases under [`keys::LONGEST_LEASE`] or [`keys::UNKNOWN_LEASES`].
pub(crate) fn lease_bound(view: &dyn View, key: &[u8]) -> Result<Option<Duration>, StoreError> {
    let record: Option<storage::LeaseBoundRecord> = read(view, key)?;
    let length = record.map(|record| {
        duration_from_wire("lease", record.lease.as_ref(), Duration::ZERO)
            .map_err(|error| StoreError::damaged(key, &error))
    });
    length.transpose()
}

/// The term of the record at a revision that is not above the head.
pub(crate) fn term_at(view: &dyn View, revision: Revision) -> Result<Option<Term>, StoreError> {
    if revision < floor(view, keys::FLOOR)? {
        return Ok(None);
    }
    if revision == Revision::ZERO {
        return Ok(Some(Term(0)));
    }
    let range = KeyRange::prefix(keys::TERMS).below(&keys::term(revision.next()));
    let found = view.scan(&range, 1, Direction::Backward)?;
    let Some((key, value)) = found.first() else {
        return Ok(None);
    };
    let record: storage::TermRecord = decode(key, value)?;
    Ok(Some(Term(record.term)))
}

pub(crate) fn site(
    view: &dyn View,
    name: &SiteName,
) -> Result<Option<storage::SiteRecord>, StoreError> {
    read(view, &keys::site(name.as_str()))
}

pub(crate) fn site_config(view: &dyn View, name: &SiteName) -> Result<CheckedSite, StoreError> {
    let key = keys::site_config(name.as_str());
    let wire: v1::SiteConfig =
        read(view, &key)?.ok_or_else(|| StoreError::damaged(&key, "it is missing"))?;
    site_from_wire(wire).map_err(|error| StoreError::damaged(&key, &error))
}

/// The name of a site that ends a key behind `prefix`.
pub(crate) fn site_name(prefix: &[u8], key: &[u8]) -> Result<SiteName, StoreError> {
    key.strip_prefix(prefix)
        .and_then(|name| std::str::from_utf8(name).ok())
        .and_then(|name| SiteName::parse(name).ok())
        .ok_or_else(|| StoreError::damaged(key, "the key names no site"))
}
