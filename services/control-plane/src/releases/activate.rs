//! Switches a site to a release: computes what differs from the one that is
//! active, and proposes both as one command.

use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use tidegate_domain::{Digest, Revision, SiteName, Tag, TagPattern};
use tidegate_site::{Changes, SinceTable};

use super::{ReleaseError, Releases, held_blob, held_manifest};
use crate::blobs::BlobStore;
use crate::command::{Command, Outcome, Proposal, Refusal};
use crate::state::SiteView;

/// Differences above this many URLs are told as "every URL".
const MAX_URLS: usize = 10_000;
/// Activations that come in between are answered by computing anew, so often.
const ATTEMPTS: usize = 5;

/// A release to activate.
#[derive(Debug, Clone)]
pub struct Activation {
    /// The site.
    pub site: SiteName,
    /// The release.
    pub release: Digest,
    /// Why.
    pub reason: String,
    /// How long to wait at most until connected edges hold the release.
    pub prepare: Duration,
}

/// What came of an activation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Activated {
    /// Revision of the switch; of the last one if nothing changed.
    pub revision: Revision,
    /// Whether another release was active before.
    pub changed: bool,
    /// URLs that differ.
    pub urls: usize,
}

struct Difference {
    patterns: Vec<TagPattern>,
    urls: usize,
    since: Digest,
}

impl Releases {
    /// Activates a release. `propose` makes the command a proposal of the caller.
    ///
    /// # Errors
    /// The site or the release is not there, too many activations come in between,
    /// or the log does not take the command.
    pub async fn activate(
        &self,
        activation: Activation,
        propose: impl Fn(Command) -> Proposal,
    ) -> Result<Activated, ReleaseError> {
        let Activation {
            site,
            release,
            reason,
            prepare,
        } = activation;
        let view = self.view(&site)?;
        let is_new = view.prepared.contains(&release.to_string());
        // Edges fetch releases that were published and not activated yet; others
        // they would not report.
        if is_new && !self.fleet.wait_prepared(&site, &release, prepare).await {
            tracing::warn!(%site, %release, "activating a release that not every edge holds yet");
        }
        for _ in 0..ATTEMPTS {
            let view = self.view(&site)?;
            if is_active(&view, &release) {
                return Ok(Activated {
                    revision: view.activation_revision,
                    changed: false,
                    urls: 0,
                });
            }
            let from = view.activation_revision;
            let difference = self.difference(view, release).await?;
            let command = Command::ActivateRelease {
                site: site.clone(),
                release,
                from,
                since: difference.since,
                patterns: difference.patterns,
                reason: reason.clone(),
            };
            match self.log.propose(propose(command)).await? {
                Outcome::Applied { revision, .. } => {
                    return Ok(Activated {
                        revision,
                        changed: true,
                        urls: difference.urls,
                    });
                }
                Outcome::Unchanged { revision } => {
                    return Ok(Activated {
                        revision,
                        changed: false,
                        urls: 0,
                    });
                }
                Outcome::Refused(Refusal::ActivationMoved) => {}
                Outcome::Refused(refusal) => return Err(ReleaseError::Refused(refusal)),
            }
        }
        Err(ReleaseError::Refused(Refusal::ActivationMoved))
    }

    fn view(&self, site: &SiteName) -> Result<Arc<SiteView>, ReleaseError> {
        let view = self.reader.site(site);
        view.ok_or_else(|| ReleaseError::NoSuchSite(site.clone()))
    }

    /// Computes what differs and stores the table of times.
    async fn difference(
        &self,
        view: Arc<SiteView>,
        release: Digest,
    ) -> Result<Difference, ReleaseError> {
        let (reader, blobs) = (self.reader.clone(), self.blobs.clone());
        let now = self.clock.wall().duration_since(UNIX_EPOCH);
        let now = now.unwrap_or_default().as_secs();
        self.heavy(move || {
            let known = reader.release(&view.name, &release);
            if known.map_err(ReleaseError::internal)?.is_none() {
                return Err(ReleaseError::Refused(Refusal::NoSuchRelease));
            }
            difference(&*blobs, &view, &release, now)
        })
        .await
    }
}

fn is_active(view: &SiteView, release: &Digest) -> bool {
    let active = view.active.as_ref();
    active.is_some_and(|active| active.release == release.to_string())
}

fn difference(
    blobs: &dyn BlobStore,
    view: &SiteView,
    release: &Digest,
    now: u64,
) -> Result<Difference, ReleaseError> {
    let new = held_manifest(blobs, release)?;
    let before = match &view.active {
        None => None,
        Some(active) => {
            let digest = |text: &str| text.parse::<Digest>().map_err(ReleaseError::internal);
            let manifest = held_manifest(blobs, &digest(&active.release)?)?;
            let table = held_blob(blobs, &digest(&active.since_digest)?)?;
            let table = SinceTable::parse(&table).map_err(ReleaseError::internal)?;
            Some((table, manifest))
        }
    };
    let changes = Changes::between(before.as_ref().map(|(_, manifest)| manifest), &new);
    let table = SinceTable::next(before.as_ref().map(|(t, m)| (t, m)), &new, now);
    let since = blobs
        .put_bytes(&table.to_json())
        .map_err(ReleaseError::internal)?;
    Ok(Difference {
        patterns: patterns(&changes)?,
        urls: changes.len(),
        since,
    })
}

fn patterns(changes: &Changes) -> Result<Vec<TagPattern>, ReleaseError> {
    if changes.len() <= MAX_URLS {
        return Ok(changes.tags().iter().map(Tag::to_pattern).collect());
    }
    let every_url = TagPattern::parse("url:*").map_err(ReleaseError::internal)?;
    Ok(vec![every_url])
}
