//! Adds a release once its content has been checked.

use std::fmt::Display;
use std::io::{self, Read};
use std::sync::Arc;

use tidegate_domain::{Digest, SiteName};
use tidegate_proto::v1;
use tidegate_site::{
    BlobReader, ContentError, MAX_MANIFEST_BYTES, Manifest, check_changed_content,
};

use super::{ReleaseError, Releases, held_manifest};
use crate::blobs::BlobStore;
use crate::command::{Command, Outcome, Proposal};

/// A release to publish.
#[derive(Debug, Clone)]
pub struct Publication {
    /// The site.
    pub site: SiteName,
    /// The manifest, uploaded before.
    pub manifest: Digest,
    /// What its publisher calls it.
    pub label: String,
}

/// A release that is published.
#[derive(Debug, Clone)]
pub struct Published {
    /// The release.
    pub release: v1::Release,
    /// Whether it was not there before.
    pub created: bool,
}

/// What the manifest and the blobs say of a release.
struct Facts {
    pages: u32,
    assets: u32,
    bytes: u64,
}

impl Releases {
    /// Publishes a release. `propose` makes the command a proposal of the caller.
    ///
    /// # Errors
    /// A rule is broken, blobs are missing, or the log does not take the command.
    pub async fn publish(
        &self,
        publication: Publication,
        propose: impl FnOnce(Command) -> Proposal,
    ) -> Result<Published, ReleaseError> {
        let Publication {
            site,
            manifest,
            label,
        } = publication;
        let Some(view) = self.reader.site(&site) else {
            return Err(ReleaseError::NoSuchSite(site));
        };
        let active = view.active.as_ref().map(|active| active.release.clone());
        let (reader, blobs) = (self.reader.clone(), self.blobs.clone());
        let of_site = site.clone();
        let facts = self
            .heavy(move || {
                let known = reader.release(&of_site, &manifest);
                if known.map_err(ReleaseError::internal)?.is_some() {
                    return Ok(None);
                }
                let active = active.and_then(|release| release.parse().ok());
                check(&blobs, &manifest, active.as_ref()).map(Some)
            })
            .await?;
        let created = match facts {
            // The very same release was published before.
            None => false,
            Some(facts) => {
                let command = Command::PublishRelease {
                    site: site.clone(),
                    manifest,
                    label,
                    pages: facts.pages,
                    assets: facts.assets,
                    bytes: facts.bytes,
                };
                match self.log.propose(propose(command)).await? {
                    Outcome::Applied { .. } => true,
                    Outcome::Unchanged { .. } => false,
                    Outcome::Refused(refusal) => return Err(ReleaseError::Refused(refusal)),
                }
            }
        };
        let reader = self.reader.clone();
        let release = self
            .heavy(move || {
                reader
                    .release(&site, &manifest)
                    .map_err(ReleaseError::internal)
            })
            .await?
            .ok_or(ReleaseError::Refused(
                crate::command::Refusal::NoSuchRelease,
            ))?;
        Ok(Published { release, created })
    }
}

/// Checks a release whole: manifest, presence of blobs, content.
fn check(
    blobs: &Arc<dyn BlobStore>,
    digest: &Digest,
    active: Option<&Digest>,
) -> Result<Facts, ReleaseError> {
    let json = blobs
        .read(digest, MAX_MANIFEST_BYTES as u64)
        .map_err(|e| broken("manifest_digest", &e))?
        .ok_or(ReleaseError::MissingBlobs {
            count: 1,
            first: *digest,
        })?;
    let manifest = Manifest::parse(&json).map_err(|e| broken(e.field(), &e))?;
    all_held(&**blobs, digest, &manifest)?;
    // What the active release has in just the same way was checked with it.
    let already = match active {
        Some(active) => held_manifest(&**blobs, active).ok(),
        None => None,
    };
    let source = Source(blobs);
    check_changed_content(&manifest, already.as_ref(), &source).map_err(|error| match error {
        ContentError::Rule(_) => broken(error.field(), &error),
        ContentError::Read { .. } => ReleaseError::internal(error),
    })?;
    Ok(Facts {
        pages: count(manifest.pages().len()),
        assets: count(manifest.assets().len()),
        bytes: manifest.resources().map(|(_, _, r)| r.size).sum(),
    })
}

fn broken(field: impl Into<String>, error: &dyn Display) -> ReleaseError {
    ReleaseError::Broken {
        field: field.into(),
        text: error.to_string(),
    }
}

/// Asking also touches the blobs, so that a collection spares them meanwhile.
fn all_held(
    blobs: &dyn BlobStore,
    digest: &Digest,
    manifest: &Manifest,
) -> Result<(), ReleaseError> {
    let mut needed: Vec<Digest> = manifest.blobs().map(|(digest, _)| digest).collect();
    needed.push(*digest);
    let missing = blobs.missing(&needed).map_err(ReleaseError::internal)?;
    match missing.first() {
        None => Ok(()),
        Some(first) => Err(ReleaseError::MissingBlobs {
            count: missing.len(),
            first: *first,
        }),
    }
}

/// Manifests are bounded far below this.
fn count(files: usize) -> u32 {
    u32::try_from(files).unwrap_or(u32::MAX)
}

struct Source<'a>(&'a Arc<dyn BlobStore>);

impl BlobReader for Source<'_> {
    fn open(&self, digest: &Digest) -> io::Result<Box<dyn Read + '_>> {
        let blob = self.0.open(digest).map_err(io::Error::other)?;
        let blob = blob.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
        Ok(blob.reader)
    }
}
