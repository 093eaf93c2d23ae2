//! Calls that wait until a change is final.
//!
//! Each waiter watches the one instance that was found to hold it up, so an
//! acknowledgement wakes only those it may concern.

use std::collections::BTreeMap;
use std::sync::Arc;

use tidegate_domain::{InstanceId, Revision};
use tokio::sync::Notify;

/// The place of a waiter.
pub(crate) type Place = (Revision, u64);

#[derive(Debug, Default)]
pub(crate) struct Waiters {
    next: u64,
    waiting: BTreeMap<Place, Waiter>,
}

#[derive(Debug)]
struct Waiter {
    held_up_by: Option<InstanceId>,
    wake: Arc<Notify>,
}

impl Waiters {
    /// Begins to wait for `revision`. The number of waiters is bounded by the
    /// permits that callers need first.
    pub(crate) fn enlist(&mut self, revision: Revision) -> (Place, Arc<Notify>) {
        self.next += 1;
        let place = (revision, self.next);
        let wake = Arc::new(Notify::new());
        let waiter = Waiter {
            held_up_by: None,
            wake: wake.clone(),
        };
        self.waiting.insert(place, waiter);
        (place, wake)
    }

    pub(crate) fn watch(&mut self, place: Place, instance: Option<InstanceId>) {
        if let Some(waiter) = self.waiting.get_mut(&place) {
            waiter.held_up_by = instance;
        }
    }

    pub(crate) fn remove(&mut self, place: Place) {
        self.waiting.remove(&place);
    }

    /// An instance that had applied `before` has now applied `now`.
    pub(crate) fn applied(&self, instance: &InstanceId, before: Revision, now: Revision) {
        let news = (before.next(), 0)..=(now, u64::MAX);
        wake(self.waiting.range(news).map(|(_, w)| w), instance);
    }

    /// Everyone is to look again.
    pub(crate) fn look_again(&self) {
        for waiter in self.waiting.values() {
            waiter.wake.notify_one();
        }
    }

    /// An instance is gone.
    pub(crate) fn gone(&self, instance: &InstanceId) {
        wake(self.waiting.values(), instance);
    }
}

fn wake<'a>(waiters: impl Iterator<Item = &'a Waiter>, instance: &InstanceId) {
    for waiter in waiters.filter(|w| w.held_up_by.as_ref() == Some(instance)) {
        waiter.wake.notify_one();
    }
}
