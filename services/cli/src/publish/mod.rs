//! From a folder to a release that is served: build, ask what is missing, upload,
//! publish, activate.
//!
//! Everything that `tidegate site publish` does is here and takes a [`Client`], so
//! that `tidegate dev` does the same inside one process.

mod blobs;
mod upload;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tidegate_domain::{Digest, SiteName};
use tidegate_proto::{duration_to_wire, v1};
use tidegate_site::{Build, BuildError, BuildOptions, Warning};

use crate::client::{Client, DEADLINE, deadline_for};
use crate::failure::Failure;

/// Publishing checks every page that changed.
const PUBLISH_DEADLINE: Duration = Duration::from_secs(300);

/// What to publish, and how.
#[derive(Debug, Clone)]
pub struct PublishOptions {
    /// The site.
    pub site: SiteName,
    /// How to build. Without effect on a folder that holds a built release.
    pub build: BuildOptions,
    /// What to call the release, at most 128 characters.
    pub label: String,
    /// Whether to serve it at once.
    pub activate: Option<Activate>,
}

/// How to switch to a release.
#[derive(Debug, Clone, Default)]
pub struct Activate {
    /// How long to wait for the edges; none not to wait.
    pub wait: Option<Duration>,
    /// Why, for the audit trail. At most 1,024 bytes.
    pub reason: String,
}

/// Is told how publishing goes on, from any thread.
pub trait Progress: tidegate_site::Progress + Send {
    /// The build is done.
    fn built(&self) {}

    /// This many blobs of this many bytes are missing and will be sent. After a
    /// failure it is called again with what is still missing.
    fn uploading(&self, blobs: u64, bytes: u64) {
        let _ = (blobs, bytes);
    }

    /// This many bytes were handed to the connection.
    fn sent(&self, bytes: u64) {
        let _ = bytes;
    }

    /// The upload broke for this reason and goes on after this time.
    fn broken(&self, cause: &str, wait: Duration) {
        let _ = (cause, wait);
    }

    /// Nothing is left to send.
    fn uploaded(&self) {}
}

/// Tells nobody.
impl Progress for () {}

/// A release that was published.
#[derive(Debug)]
pub struct Published {
    /// The release.
    pub release: v1::Release,
    /// False if this very release had been published before.
    pub created: bool,
    /// What the switch to it did, if it was asked for.
    pub activated: Option<v1::ActivateReleaseResponse>,
    /// What the author should look at.
    pub warnings: Vec<Warning>,
    /// Blobs of the release, its manifest among them.
    pub blobs: u64,
    /// Blobs that were missing and were sent.
    pub blobs_sent: u64,
    /// Their bytes.
    pub bytes_sent: u64,
}

/// Builds the folder, or takes the release that it holds, and publishes it.
///
/// # Errors
/// The folder breaks a rule, a file was changed meanwhile, the control plane cannot
/// be reached or refuses. Blobs sent by then stay there; the next try sends the rest.
pub async fn publish(
    client: &Client,
    dir: &Path,
    options: PublishOptions,
    progress: Arc<dyn Progress>,
) -> Result<Published, Failure> {
    let build = build(dir.to_owned(), options.build, progress.clone()).await?;
    progress.built();
    publish_build(
        client,
        build,
        options.site,
        options.label,
        options.activate,
        progress,
    )
    .await
}

/// Builds the folder on threads of its own, or takes the release that it holds.
pub(crate) async fn build(
    dir: PathBuf,
    options: BuildOptions,
    progress: Arc<dyn Progress>,
) -> Result<Build, Failure> {
    let shown = dir.display().to_string();
    let built = tokio::task::spawn_blocking(move || {
        if Build::is_in(&dir)? {
            return Build::read_from(&dir);
        }
        let progress: &dyn Progress = &*progress;
        tidegate_site::build(&dir, &options, progress)
    })
    .await;
    match built {
        Ok(built) => built.map_err(|error| build_failure(&shown, &error)),
        Err(ended) => Err(Failure::new(
            "BUILD",
            format!("{shown}: the build ended: {ended}"),
        )),
    }
}

fn build_failure(dir: &str, error: &BuildError) -> Failure {
    let message = error.to_string();
    if message.contains(dir) {
        return Failure::new("BUILD", message);
    }
    Failure::new("BUILD", format!("{dir}: {message}"))
}

async fn publish_build(
    client: &Client,
    build: Build,
    site: SiteName,
    label: String,
    activate: Option<Activate>,
    progress: Arc<dyn Progress>,
) -> Result<Published, Failure> {
    let manifest_digest = Digest::of(&build.manifest_json);
    let blobs = Arc::new(blobs::Blobs::of(&build, manifest_digest));
    let sent = upload::upload(client, &site, &blobs, &progress).await?;
    progress.uploaded();
    let request = v1::PublishReleaseRequest {
        site: site.to_string(),
        manifest_digest: manifest_digest.to_string(),
        label,
    };
    let published = client
        .safe(PUBLISH_DEADLINE, request, |request| async move {
            client.sites().publish_release(request).await
        })
        .await?;
    let mut release = published.release.unwrap_or_default();
    let activated = match activate {
        Some(how) => Some(self::activate(client, &site, &release.id, how).await?),
        None => None,
    };
    release.active |= activated.is_some();
    Ok(Published {
        release,
        created: published.created,
        activated,
        warnings: build.warnings,
        blobs: blobs.len() as u64,
        blobs_sent: sent.blobs,
        bytes_sent: sent.bytes,
    })
}

/// Switches a site to a release. Doing so twice changes nothing, so a connection
/// that breaks is no obstacle.
///
/// # Errors
/// There is no such site or release, or the control plane cannot be reached.
pub async fn activate(
    client: &Client,
    site: &SiteName,
    release: &str,
    how: Activate,
) -> Result<v1::ActivateReleaseResponse, Failure> {
    let request = v1::ActivateReleaseRequest {
        site: site.to_string(),
        release: release.to_owned(),
        wait_for: wait_for(how.wait).into(),
        wait_timeout: how.wait.map(duration_to_wire),
        reason: how.reason,
    };
    // Edges may fetch the release's blobs before it is switched to.
    let deadline = deadline_for(how.wait).max(4 * DEADLINE);
    client
        .safe(deadline, request, |request| async move {
            client.sites().activate_release(request).await
        })
        .await
}

/// What a call waits for.
pub(crate) fn wait_for(wait: Option<Duration>) -> v1::WaitFor {
    match wait {
        Some(_) => v1::WaitFor::AllEdges,
        None => v1::WaitFor::None,
    }
}
