//! Stored responses that are on disk: back to memory before a request is decided, so that
//! whatever is decided of it rests on what is stored, wherever that was.

use std::sync::Arc;

use super::site::ProxySite;
use crate::cache::disk::{Asleep, Sought};
use crate::cache::key::Key;
use crate::cache::storage::is_useless;
use crate::cache::stored::Stored;

impl ProxySite {
    /// Brings back what is on disk under a key. All who ask for it meanwhile wait for the
    /// same read, each no longer than the disk may take.
    pub(super) async fn awaken(self: &Arc<Self>, key: Key) {
        let Some(disk) = self.shared.storage.disk() else {
            return;
        };
        match disk.seek(&key) {
            Sought::Nothing => {}
            Sought::Waiting(resource) => {
                let responses = resource.variants().to_vec();
                self.shared.storage.bring_back(&key, responses, || true);
            }
            Sought::BeingRead(patience) => patience.wait().await,
            // It was brought back after this request looked into memory.
            Sought::OnDisk(reading) if self.shared.storage.peek(&key.as_ref()).is_some() => {
                reading.cancel();
            }
            Sought::OnDisk(reading) => {
                let site = self.clone();
                let take = move |responses| site.take_back(&key, responses);
                reading.begin(take).wait().await;
            }
        }
    }

    /// Gives each response its place between fetches and invalidations again, and stores
    /// what can be of use.
    fn take_back(&self, key: &Key, responses: Vec<Asleep>) {
        let storage = &self.shared.storage;
        let now = self.shared.now();
        let responses: Vec<Arc<Stored>> = responses
            .into_iter()
            .map(|asleep| {
                let tags = asleep.tags().with_implicit(&key.host, &key.url);
                let fill = (asleep.filled, asleep.serial);
                let fence = self.tags.hold_again(fill, asleep.soft_since, &tags, now);
                asleep.awake(fence)
            })
            .filter(|stored| !is_useless(stored, now))
            .collect();
        let is_wanted = || storage.disk().is_some_and(|disk| disk.is_wanted(key));
        match responses.is_empty() {
            true if is_wanted() => storage.remove(key),
            true => {}
            false => storage.bring_back(key, responses, is_wanted),
        }
    }
}
