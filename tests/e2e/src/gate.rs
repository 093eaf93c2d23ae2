//! A point in the scripted origin at which requests wait until the test lets them go.

use std::sync::Arc;

use tokio::sync::watch;

use crate::wait::within;

/// A gate: closed when it is made, opened once.
#[derive(Debug, Clone)]
pub struct Gate {
    name: Arc<str>,
    arrived: Arc<watch::Sender<usize>>,
    open: Arc<watch::Sender<bool>>,
}

impl Gate {
    /// A gate that is closed.
    pub fn new(name: &str) -> Self {
        Self {
            name: name.into(),
            arrived: Arc::new(watch::Sender::new(0)),
            open: Arc::new(watch::Sender::new(false)),
        }
    }

    /// Waits until a request waits here.
    ///
    /// # Panics
    ///
    /// If none comes.
    pub async fn reached(&self) {
        self.reached_by(1).await;
    }

    /// Waits until so many requests have come here.
    ///
    /// # Panics
    ///
    /// If fewer come.
    pub async fn reached_by(&self, requests: usize) {
        let mut arrived = self.arrived.subscribe();
        let what = format!("{requests} requests at the gate of {}", self.name);
        within(&what, arrived.wait_for(|count| *count >= requests))
            .await
            .expect("the gate holds its own sender");
    }

    /// How many requests have come here.
    pub fn arrived(&self) -> usize {
        *self.arrived.borrow()
    }

    /// Lets all go that wait here, and all that come.
    pub fn open(&self) {
        self.open.send_replace(true);
    }

    /// Counts the caller in and waits until the gate is open.
    pub async fn pass(&self) {
        self.arrived.send_modify(|count| *count += 1);
        let mut open = self.open.subscribe();
        // The sender is held by `self`: it cannot be gone.
        let _ = open.wait_for(|open| *open).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_closed_gate_holds_and_an_open_one_does_not() {
        let gate = Gate::new("/a");
        let waiting = tokio::spawn({
            let gate = gate.clone();
            async move { gate.pass().await }
        });
        gate.reached().await;
        assert!(!waiting.is_finished());
        gate.open();
        waiting.await.unwrap();
        gate.pass().await;
        assert_eq!(gate.arrived(), 2);
    }
}
