//! Beginning another history with what is left of one, and what has to be remembered
//! for that day.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tidegate_domain::{Epoch, Revision, SiteName, Term};
use tidegate_proto::duration_to_wire;
use tidegate_proto::storage::v1 as storage;

use super::open::{LogSettings, OpenError};
use super::sequencer::{SCHEMA, Sequencer, head_of, id};
use super::shared::Shared;
use crate::state::{Overlay, Store, StoreError, keys, tables, void_entries};

impl Sequencer {
    /// Goes on as another history, of which every cursor is new. Whatever was pushed
    /// may have been invalidated in the part that was lost, and whoever came to hold a
    /// lease in that part is not known.
    pub(crate) fn begin_history(&self) -> Result<(), StoreError> {
        let mut overlay = Overlay::new(&*self.shared.store);
        let before = self.shared.epoch();
        let random = Epoch(id(&self.settings));
        let epoch = if random == before {
            Epoch(before.0.wrapping_add(1).max(1))
        } else {
            random
        };
        let meta = storage::StoreMeta {
            schema: SCHEMA,
            epoch: epoch.0,
        };
        overlay.put_message(keys::STORE_META.to_vec(), &meta);
        let longest = longest_lease(&self.shared, &overlay)?;
        put_bound(&mut overlay, keys::UNKNOWN_LEASES, longest);
        void_entries(&mut overlay, self.shared.head().next())?;
        self.begin_term(Term(id(&self.settings)), Some(epoch), overlay)
    }
}

/// The longest lease that is known to have been granted, or may have been.
fn longest_lease(shared: &Shared, overlay: &Overlay<'_>) -> Result<Duration, StoreError> {
    let longest = tables::lease_bound(overlay, keys::LONGEST_LEASE)?.unwrap_or_default();
    let unknown = tables::lease_bound(overlay, keys::UNKNOWN_LEASES)?.unwrap_or_default();
    let recorded = shared
        .leases()
        .map_err(|e| StoreError::Read(e.to_string()))?;
    let recorded = recorded.iter().map(|lease| lease.lease).max();
    Ok(longest.max(unknown).max(recorded.unwrap_or_default()))
}

/// Notes that a lease of this length may be held, by whomever.
pub(crate) fn note_lease(overlay: &mut Overlay<'_>, lease: Duration) -> Result<(), StoreError> {
    let longest = tables::lease_bound(overlay, keys::LONGEST_LEASE)?;
    if longest.is_none_or(|longest| longest < lease) {
        put_bound(overlay, keys::LONGEST_LEASE, lease);
    }
    Ok(())
}

/// Notes, in a log that is begun, that a lease of this length may be held from a control
/// plane before it: a volume that was lost looks like one that is new.
pub(crate) fn note_former(overlay: &mut Overlay<'_>, lease: Duration) {
    tracing::info!(
        ?lease,
        "the data folder is new: edges of an earlier control plane may hold leases, so \
         nothing is complete before these are over (--new-fleet: there was none)"
    );
    put_bound(overlay, keys::UNKNOWN_LEASES, lease);
}

fn put_bound(overlay: &mut Overlay<'_>, key: &[u8], lease: Duration) {
    let record = storage::LeaseBoundRecord {
        lease: Some(duration_to_wire(lease)),
    };
    overlay.put_message(key.to_vec(), &record);
}

pub(crate) fn forget_former_stale(
    overlay: &mut Overlay<'_>,
    site: &SiteName,
    as_of: Revision,
) -> Result<(), StoreError> {
    let key = keys::former_stale(site);
    let record: Option<storage::FormerStaleRecord> = tables::read(overlay, &key)?;
    if record.is_some_and(|record| record.revision <= as_of.0) {
        overlay.remove(key);
    }
    Ok(())
}

/// What a restored store goes on as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Restored {
    /// The history that was found, and its newest revision.
    pub found: (Epoch, Revision),
    /// The history.
    pub epoch: Epoch,
    /// Its newest revision.
    pub head: Revision,
}

/// Lets a store that was filled from a backup go on as another history. A lease that
/// was granted since the backup may be as long as `longest_lease`.
///
/// # Errors
/// The store failed, or holds what no backup holds.
pub fn restore(
    store: Arc<dyn Store>,
    settings: LogSettings,
    folder: &Path,
    longest_lease: Duration,
) -> Result<Restored, OpenError> {
    let failed = |source| OpenError::Store {
        folder: folder.to_owned(),
        source,
    };
    let head = head_of(&*store).map_err(failed)?;
    let sequencer = Sequencer::open(store, settings, folder)?;
    let found = (sequencer.shared.epoch(), head);
    let mut overlay = Overlay::new(&*sequencer.shared.store);
    note_lease(&mut overlay, longest_lease).map_err(failed)?;
    sequencer.write(overlay).map_err(failed)?;
    sequencer.begin_history().map_err(failed)?;
    Ok(Restored {
        found,
        epoch: sequencer.shared.epoch(),
        head: sequencer.shared.head(),
    })
}
