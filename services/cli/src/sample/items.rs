//! The goods of the sample's origin: they exist by themselves and change on demand.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// Ids of items: `1..=MAX_ID`.
const MAX_ID: u32 = 999;
const NAMES: [&str; 6] = [
    "Brass tide clock",
    "Harbour lantern",
    "Oak mooring post",
    "Sluice wheel",
    "Storm glass",
    "Wool deck blanket",
];

/// What has changed so far; at most one version an id.
#[derive(Debug, Default)]
pub(super) struct Items {
    versions: Mutex<BTreeMap<u32, u64>>,
}

/// An item as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Item {
    pub(super) id: u32,
    pub(super) name: &'static str,
    pub(super) price_cents: u64,
    pub(super) version: u64,
}

impl Items {
    /// The item of this id; `None` if there is no such id.
    pub(super) fn get(&self, id: &str) -> Option<Item> {
        let id = parse(id)?;
        Some(item(id, *self.versions().get(&id).unwrap_or(&1)))
    }

    /// Gives the item its next version and price.
    pub(super) fn change(&self, id: &str) -> Option<Item> {
        let id = parse(id)?;
        let mut versions = self.versions();
        let version = versions.entry(id).or_insert(1);
        *version += 1;
        Some(item(id, *version))
    }

    fn versions(&self) -> std::sync::MutexGuard<'_, BTreeMap<u32, u64>> {
        // A number is whole even where a thread has panicked.
        self.versions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn parse(id: &str) -> Option<u32> {
    let number = id.parse().ok().filter(|it| (1..=MAX_ID).contains(it))?;
    // One URL an item: neither `042` nor `+42`.
    (id == number.to_string()).then_some(number)
}

/// Every version has another price.
fn item(id: u32, version: u64) -> Item {
    let steps = u64::from(id) * 7 + version * 37;
    Item {
        id,
        name: NAMES[id as usize % NAMES.len()],
        price_cents: 1_900 + steps % 1_009 * 10,
        version,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_another_version_with_another_price() {
        let items = Items::default();
        let before = items.get("42").unwrap();
        let after = items.change("42").unwrap();
        assert_eq!((before.version, after.version), (1, 2));
        assert_ne!(before.price_cents, after.price_cents);
        assert_eq!(items.get("42").unwrap(), after);
        assert_eq!(items.get("43").unwrap().version, 1);
    }

    #[test]
    fn an_item_has_one_id_only() {
        let items = Items::default();
        for bad in ["0", "1000", "042", "+42", "x", "", "4294967338"] {
            assert_eq!(items.get(bad), None, "{bad}");
            assert_eq!(items.change(bad), None, "{bad}");
        }
    }
}
