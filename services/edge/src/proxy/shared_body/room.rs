//! What a body that is kept elsewhere takes of the budget.

use std::sync::Arc;

use super::Budget;

/// Given back when it is dropped.
#[derive(Debug)]
pub(in crate::proxy) struct Room {
    budget: Arc<Budget>,
    bytes: u64,
}

impl Room {
    /// None yet.
    pub(in crate::proxy) fn of(budget: &Arc<Budget>) -> Self {
        Self {
            budget: budget.clone(),
            bytes: 0,
        }
    }

    /// Takes so many bytes more, if they are left.
    pub(in crate::proxy) fn take(&mut self, bytes: u64) -> bool {
        let fits = self.budget.take(bytes);
        match fits {
            true => self.bytes += bytes,
            false => self.budget.crowd_out(),
        }
        fits
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.budget.give_back(self.bytes);
    }
}
