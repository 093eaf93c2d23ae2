//! Stored responses that are on disk: back to memory before a request is decided, so that
//! whatever is decided of it rests on what is stored, wherever that was.

use std::sync::Arc;

use super::site::ProxySite;
use crate::cache::disk::{Asleep, Disk, Sought};
use crate::cache::key::Key;
use crate::cache::resource::Resource;
use crate::cache::storage::is_useless;
use crate::cache::stored::Stored;

impl ProxySite {
    /// Brings back what is on disk under a key. All who ask for it meanwhile wait for the
    /// same read, each no longer than the disk may take.
    pub(super) async fn awaken(self: &Arc<Self>, key: Key) {
        let Some(disk) = self.shared.storage.disk() else {
            return;
        };
        // What is written while it is looked at here is looked for once more.
        for _ in 0..2 {
            match disk.seek(&key) {
                Sought::Nothing => return,
                Sought::Waiting(resource) => {
                    if self.bring_back(disk, &key, &resource) {
                        return;
                    }
                }
                Sought::BeingRead(patience) => return patience.wait().await,
                // It was brought back after this request looked into memory.
                Sought::OnDisk(reading) if self.shared.storage.peek(&key.as_ref()).is_some() => {
                    return reading.cancel();
                }
                Sought::OnDisk(reading) => {
                    let site = self.clone();
                    let take = move |responses| site.take_back(&key, responses);
                    return reading.begin(take).wait().await;
                }
            }
        }
    }

    /// Puts back what waits to be written, if it still does: else something newer may have
    /// taken its place, or it was removed. Whether there is something in memory now.
    pub(super) fn bring_back(&self, disk: &Disk, key: &Key, resource: &Arc<Resource>) -> bool {
        let responses = resource.variants().to_vec();
        let waits = || disk.waits(key, resource);
        self.shared.storage.bring_back(key, responses, waits)
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
        storage.bring_back(key, responses, is_wanted);
    }
}
