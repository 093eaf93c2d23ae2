//! Knowing when nobody uses the store any more, so that who waits for the end of
//! the control plane finds its data folder free.

use std::convert::Infallible;

use tokio::sync::mpsc;

/// Held by whatever uses the store, as its last field: fields are dropped in order.
#[derive(Debug, Clone)]
pub(crate) struct Alive {
    _sender: mpsc::Sender<Infallible>,
}

/// Sees the last [`Alive`] go.
#[derive(Debug)]
pub(crate) struct Survivor(mpsc::Receiver<Infallible>);

impl Alive {
    pub(crate) fn new() -> (Self, Survivor) {
        let (sender, receiver) = mpsc::channel(1);
        (Self { _sender: sender }, Survivor(receiver))
    }
}

impl Survivor {
    /// Resolves once the last [`Alive`] is gone.
    pub(crate) async fn alone(mut self) {
        // Nothing can be sent, so this is the end of all senders.
        let _ = self.0.recv().await;
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn the_survivor_waits_for_the_last_one() {
        let (one, survivor) = Alive::new();
        let two = one.clone();
        drop(one);
        let mut alone = Box::pin(survivor.alone());
        assert!(alone.as_mut().now_or_never().is_none());
        drop(two);
        alone.await;
    }
}
