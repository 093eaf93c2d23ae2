//! Applies commands, deterministically, to an ordered key-value store, and answers
//! questions about what came of them.
//!
//! No clock, no randomness, no network may enter: the same commands at the same
//! revisions make the same keys and values on every replica. [`State::apply`] is
//! the only way in; [`Reader`] is the way out.
//!
//! From below: [`Store`] (sled or memory), [`Overlay`] (a batch that is being
//! made), `keys` and `tables` (what is kept where), one file for each group of
//! commands, and on top what others see.

mod apply;
mod audit;
mod catalog;
mod chunks;
mod entry;
mod entry_index;
mod fence;
mod folder;
mod invalidation;
pub(crate) mod keys;
mod lookup;
mod memory;
mod named;
mod overlay;
mod page;
mod reader;
mod release;
mod schedule;
mod shared_entry;
mod site;
mod sled_store;
mod store;
pub(crate) mod tables;

pub use apply::{Applied, EntryQuota, Rules, State};
pub(crate) use catalog::Catalog;
pub use catalog::SiteView;
pub(crate) use entry_index::{sweep_dead as sweep_dead_entries, void_all as void_entries};
pub(crate) use folder::DataFolder;
pub use lookup::{FoundEntry, Freshness};
pub use memory::MemoryStore;
pub use named::{NamedBlob, named_blobs};
pub use overlay::Overlay;
pub use page::{Page, PageRequest};
pub use reader::{Reader, ReaderError, ReleaseBlobs};
pub use schedule::{MAX_SCHEDULES, Scheduled, is_astray};
pub use sled_store::{FatalHandler, SledOptions, SledStore, StoreOpenError};
pub use store::{Direction, KeyRange, Pair, Store, StoreError, View, WriteSet};

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
