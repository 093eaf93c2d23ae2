//! What all unfinished bodies may take together.

use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes that all unfinished bodies may take together.
#[derive(Debug)]
pub(in crate::proxy) struct Budget {
    left: AtomicU64,
    crowded_out: AtomicU64,
}

impl Budget {
    pub(in crate::proxy) fn new(bytes: u64) -> Self {
        Self {
            left: AtomicU64::new(bytes),
            crowded_out: AtomicU64::new(0),
        }
    }

    pub(super) fn take(&self, bytes: u64) -> bool {
        self.left
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |left| {
                left.checked_sub(bytes)
            })
            .is_ok()
    }

    /// A body found no room beside the others.
    pub(super) fn crowd_out(&self) {
        self.crowded_out.fetch_add(1, Ordering::Relaxed);
    }

    /// Bodies that found no room beside the others, since the start.
    pub(in crate::proxy) fn crowded_out(&self) -> u64 {
        self.crowded_out.load(Ordering::Relaxed)
    }

    pub(super) fn give_back(&self, bytes: u64) {
        self.left.fetch_add(bytes, Ordering::AcqRel);
    }

    #[cfg(test)]
    pub(super) fn left(&self) -> u64 {
        self.left.load(Ordering::Relaxed)
    }
}
