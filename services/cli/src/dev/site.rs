//! What the site of `dev` is: a folder, an origin, both, or the bundled sample.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tempfile::TempDir;
use tidegate_domain::SiteName;
use tidegate_domain::site::{EventsConfig, OriginConfig, PagesConfig, SiteConfig, Upstream};
use tidegate_proto::v1;
use tidegate_site::{BuildOptions, Level};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::args::DevArgs;
use crate::client::{Client, DEADLINE, with_deadline};
use crate::failure::Failure;
use crate::publish::{Activate, PublishOptions, publish as publish_release};
use crate::sample;

/// Where pages and responses come from.
pub(super) struct Source {
    folder: Option<PathBuf>,
    origin: Option<String>,
    state_path: String,
    is_sample: bool,
    /// Removed with the rest, if the folder is the sample's.
    _temporary: Option<TempDir>,
}

impl Source {
    /// What the command line asks for.
    ///
    /// # Errors
    /// The folder is none.
    pub(super) fn choose(args: &DevArgs) -> Result<Self, Failure> {
        if let Some(dir) = args.dir.as_ref().filter(|dir| !dir.is_dir()) {
            return Err(Failure::usage(format!(
                "DIR: \"{}\" is not a folder; allowed: a folder of prebuilt pages and assets",
                dir.display()
            )));
        }
        Ok(Self {
            folder: args.dir.clone(),
            origin: args.origin.clone(),
            // An origin that renders pages answers the page's own path with its state
            // when it is asked with `X-APP-STATE`.
            state_path: "{path}".to_owned(),
            is_sample: args.dir.is_none() && args.origin.is_none(),
            _temporary: None,
        })
    }

    /// Unpacks the sample and starts its origin, if that is what was chosen.
    ///
    /// # Errors
    /// There is no room for it, or no free port.
    pub(super) async fn prepare(self, stop: &CancellationToken) -> Result<Self, Failure> {
        if !self.is_sample {
            return Ok(self);
        }
        let failed =
            |error: std::io::Error| Failure::new("SAMPLE", format!("the sample site: {error}"));
        let folder = tempfile::tempdir().map_err(failed)?;
        sample::unpack(folder.path()).map_err(failed)?;
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.map_err(failed)?;
        let origin = format!("http://{}", listener.local_addr().map_err(failed)?);
        tokio::spawn(sample::serve(listener, stop.clone()));
        Ok(Self {
            folder: Some(folder.path().to_owned()),
            origin: Some(origin),
            state_path: sample::STATE_PATH.to_owned(),
            is_sample: true,
            _temporary: Some(folder),
        })
    }

    /// The folder of pages and assets.
    pub(super) fn folder(&self) -> Option<&Path> {
        self.folder.as_deref()
    }

    fn config(&self) -> SiteConfig {
        SiteConfig {
            hosts: vec!["*".to_owned()],
            origin: self.origin.as_ref().map(|url| OriginConfig {
                upstreams: vec![Upstream {
                    url: url.clone(),
                    ..Upstream::default()
                }],
                ..OriginConfig::default()
            }),
            pages: PagesConfig {
                state_path: self.state_path.clone(),
                ..PagesConfig::default()
            },
            // One person and their tests: everything may be heard, from everywhere.
            events: EventsConfig {
                public_tags: vec!["*".to_owned()],
                allowed_origins: vec!["*".to_owned()],
                max_connections_per_address: 1_000_000,
                ..EventsConfig::default()
            },
            ..SiteConfig::default()
        }
    }
}

/// Creates the site or replaces its configuration; the revision of that. A release
/// that an earlier run left in the data folder goes if this run has no pages.
pub(super) async fn put(client: &Client, site: &SiteName, source: &Source) -> Result<u64, Failure> {
    if source.folder().is_none() {
        delete(client, site).await?;
    }
    let request = v1::PutSiteRequest {
        site: site.to_string(),
        config: Some(tidegate_proto::site_to_wire(&source.config())),
    };
    let answer = client
        .safe(DEADLINE, request, |request| async move {
            client.sites().put_site(request).await
        })
        .await?;
    Ok(answer.revision)
}

/// Deletes the site if there is one.
async fn delete(client: &Client, site: &SiteName) -> Result<(), Failure> {
    let request = v1::DeleteSiteRequest {
        site: site.to_string(),
    };
    let request = with_deadline(DEADLINE, request);
    match client.sites().delete_site(request).await {
        Ok(_) => Ok(()),
        Err(status) if status.code() == tonic::Code::NotFound => Ok(()),
        Err(status) => Err(Failure::new(
            "DEV",
            format!(
                "the site of an earlier run cannot be deleted: {}",
                status.message()
            ),
        )),
    }
}

/// Builds, publishes and activates the folder; the revision of the switch.
pub(super) async fn publish(
    client: &Client,
    site: &SiteName,
    folder: &Path,
) -> Result<u64, Failure> {
    let options = PublishOptions {
        site: site.clone(),
        build: BuildOptions {
            level: Level::Fast,
            ..BuildOptions::default()
        },
        label: "dev".to_owned(),
        activate: Some(Activate::default()),
    };
    let published = publish_release(client, folder, options, Arc::new(())).await?;
    for warning in &published.warnings {
        tracing::warn!("{warning}");
    }
    let changed = published.activated.as_ref().filter(|a| a.changed);
    if let Some(activated) = changed {
        tracing::info!(
            pages = published.release.pages,
            assets = published.release.assets,
            changed = activated.changed_urls,
            "published"
        );
    }
    Ok(published
        .activated
        .map_or(0, |activated| activated.revision))
}
