//! Which release is active, and how it gets here.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use thiserror::Error;
use tidegate_domain::{Digest, SiteName};
use tidegate_net::Backoff;
use tidegate_site::{MAX_MANIFEST_BYTES, Manifest, ManifestError, SinceTable};
use tokio::sync::{Notify, watch};

use super::blobs::{BlobError, Blobs};
use crate::link::ActiveRelease;

/// How many published releases are fetched ahead; older ones are dropped.
const MAX_PREPARED: usize = 4;

/// Tries for one blob before the whole release begins anew.
const FETCH_TRIES: usize = 5;

/// A release that can be served.
#[derive(Debug)]
pub struct Release {
    /// What it is.
    pub active: ActiveRelease,
    /// What it holds.
    pub manifest: Arc<Manifest>,
    /// Since when each URL has its bytes.
    pub since: SinceTable,
}

#[derive(Debug, Clone, Default)]
enum Current {
    /// The site has no release.
    #[default]
    None,
    /// It has one that is not here yet. Nothing older is served in its place.
    Coming(ActiveRelease),
    /// It is here.
    Here(Arc<Release>),
}

/// The releases of one site.
#[derive(Debug)]
pub struct SitePages {
    name: SiteName,
    blobs: Arc<Blobs>,
    current: watch::Sender<Current>,
    /// Manifests of published releases whose blobs are all on disk, oldest first.
    prepared: Mutex<Vec<(Digest, Arc<Manifest>)>>,
    /// Releases whose blobs are being fetched.
    fetching: AtomicUsize,
    /// Rung when a release has been fetched ahead.
    news: Arc<Notify>,
}

#[derive(Debug, Error)]
enum LoadError {
    #[error(transparent)]
    Blob(#[from] BlobError),
    #[error(transparent)]
    Manifest(#[from] ManifestError),
}

impl SitePages {
    /// A site without a release.
    #[must_use]
    pub fn new(name: SiteName, blobs: Arc<Blobs>, news: Arc<Notify>) -> Arc<Self> {
        Arc::new(Self {
            name,
            blobs,
            current: watch::Sender::default(),
            prepared: Mutex::default(),
            fetching: AtomicUsize::new(0),
            news,
        })
    }

    /// Switches to a release. Returns at once: requests that begin from now on wait
    /// for it, and get nothing older.
    pub fn activate(self: &Arc<Self>, active: ActiveRelease) {
        let is_here = |current: &Current| matches!(current, Current::Here(release) if release.active == active);
        let switched = self.current.send_if_modified(|current| {
            let switches = !is_here(current);
            if switches {
                *current = Current::Coming(active.clone());
            }
            switches
        });
        if !switched {
            return;
        }
        let site = self.clone();
        tokio::spawn(async move {
            site.load(active).await;
        });
    }

    /// Stops serving any release.
    pub fn deactivate(&self) {
        self.current.send_replace(Current::None);
    }

    /// Fetches what a published release needs, ahead of its activation.
    pub fn prepare(self: &Arc<Self>, release: Digest) {
        if self.is_prepared(&release) {
            return;
        }
        let site = self.clone();
        tokio::spawn(async move {
            match site.fetch(release).await {
                Ok(manifest) => {
                    tracing::info!(site = %site.name, %release, "fetched a release ahead");
                    let mut prepared = site.prepared.lock();
                    prepared.retain(|(digest, _)| *digest != release);
                    if prepared.len() == MAX_PREPARED {
                        prepared.remove(0);
                    }
                    prepared.push((release, manifest));
                    site.news.notify_one();
                }
                Err(error) => {
                    tracing::warn!(site = %site.name, %release, %error, "cannot fetch a release ahead");
                }
            }
        });
    }

    pub(super) fn blobs(&self) -> &Blobs {
        &self.blobs
    }

    /// Releases whose blobs are all here.
    #[must_use]
    pub fn prepared(&self) -> Vec<Digest> {
        self.prepared
            .lock()
            .iter()
            .map(|(digest, _)| *digest)
            .collect()
    }

    /// The active release; waits up to `patience` for one that is coming.
    ///
    /// # Errors
    /// It did not come in time.
    pub async fn current(&self, patience: Duration) -> Result<Option<Arc<Release>>, NotHere> {
        if let Some(settled) = settled(&self.current.borrow()) {
            return Ok(settled);
        }
        let mut changes = self.current.subscribe();
        let arrived = changes.wait_for(|current| settled(current).is_some());
        match tokio::time::timeout(patience, arrived).await {
            // The sender lives in `self`.
            Ok(Ok(current)) => settled(&current).ok_or(NotHere),
            Ok(Err(_)) | Err(_) => Err(NotHere),
        }
    }

    /// The active release as it is at this moment.
    ///
    /// # Errors
    /// This one is active, and not here yet.
    pub(super) fn current_now(&self) -> Result<Option<Arc<Release>>, Digest> {
        match &*self.current.borrow() {
            Current::None => Ok(None),
            Current::Coming(active) => Err(active.release),
            Current::Here(release) => Ok(Some(release.clone())),
        }
    }

    /// The digests of all blobs that are worth keeping, in hex.
    pub fn wanted_blobs(&self) -> Vec<String> {
        let mut manifests: HashMap<Digest, Arc<Manifest>> =
            self.prepared.lock().iter().cloned().collect();
        let mut wanted = Vec::new();
        match &*self.current.borrow() {
            Current::None => {}
            Current::Coming(active) => {
                wanted.extend([active.release.to_hex(), active.since.to_hex()]);
            }
            Current::Here(release) => {
                wanted.push(release.active.since.to_hex());
                manifests.insert(release.active.release, release.manifest.clone());
            }
        }
        for (release, manifest) in &manifests {
            wanted.push(release.to_hex());
            wanted.extend(manifest.blobs().map(|(digest, _)| digest.to_hex()));
        }
        wanted
    }

    /// Whether blobs are on their way, so that it is not known which are wanted.
    #[must_use]
    pub fn is_fetching(&self) -> bool {
        self.fetching.load(Ordering::Acquire) > 0
            || matches!(&*self.current.borrow(), Current::Coming(_))
    }

    fn is_prepared(&self, release: &Digest) -> bool {
        self.prepared
            .lock()
            .iter()
            .any(|(digest, _)| digest == release)
    }

    /// Loads until it succeeds or another release is activated.
    async fn load(&self, active: ActiveRelease) {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));
        loop {
            match self.try_load(&active).await {
                Ok(release) => {
                    let release = Arc::new(release);
                    self.current.send_if_modified(|current| {
                        let still_wanted = matches!(current, Current::Coming(a) if *a == active);
                        if still_wanted {
                            *current = Current::Here(release.clone());
                        }
                        still_wanted
                    });
                    tracing::info!(site = %self.name, release = %active.release, "serving a release");
                    self.keep(active.release).await;
                    return;
                }
                Err(error) => {
                    let wait = backoff.next_wait();
                    tracing::warn!(site = %self.name, %error, ?wait, "cannot load the active release");
                    tokio::time::sleep(wait).await;
                }
            }
            if !matches!(&*self.current.borrow(), Current::Coming(a) if *a == active) {
                return;
            }
        }
    }

    /// Fetches the rest of the active release, so that it is served whole while the
    /// control plane is down.
    async fn keep(&self, release: Digest) {
        if let Err(error) = self.fetch(release).await {
            tracing::warn!(site = %self.name, %error, "cannot fetch all of the active release; pages are fetched when asked for");
        }
    }

    async fn try_load(&self, active: &ActiveRelease) -> Result<Release, LoadError> {
        let known = self
            .prepared
            .lock()
            .iter()
            .find(|(d, _)| *d == active.release)
            .map(|(_, m)| m.clone());
        let manifest = match known {
            Some(manifest) => manifest,
            None => self.manifest(active.release).await?,
        };
        let since = self.blobs.read(active.since, MAX_MANIFEST_BYTES).await?;
        Ok(Release {
            active: active.clone(),
            manifest,
            since: SinceTable::parse(&since)?,
        })
    }

    async fn manifest(&self, release: Digest) -> Result<Arc<Manifest>, LoadError> {
        let json = self.blobs.read(release, MAX_MANIFEST_BYTES).await?;
        Ok(Arc::new(Manifest::parse(&json)?))
    }

    async fn fetch(&self, release: Digest) -> Result<Arc<Manifest>, LoadError> {
        self.fetching.fetch_add(1, Ordering::AcqRel);
        let fetched = self.fetch_all(release).await;
        self.fetching.fetch_sub(1, Ordering::AcqRel);
        fetched
    }

    async fn fetch_all(&self, release: Digest) -> Result<Arc<Manifest>, LoadError> {
        let manifest = self.manifest(release).await?;
        for (digest, size) in manifest.blobs() {
            let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(2));
            let mut tries = 0;
            while let Err(error) = self.blobs.ensure(digest, size).await {
                tries += 1;
                if tries == FETCH_TRIES {
                    return Err(error.into());
                }
                tokio::time::sleep(backoff.next_wait()).await;
            }
        }
        Ok(manifest)
    }
}

/// The active release is not here yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the active release is not here yet")]
pub struct NotHere;

fn settled(current: &Current) -> Option<Option<Arc<Release>>> {
    match current {
        Current::None => Some(None),
        Current::Coming(_) => None,
        Current::Here(release) => Some(Some(release.clone())),
    }
}
