//! `tidegate dev`: control plane, edge and site in one process.
//!
//! The two services are the same as in production and speak gRPC over loopback;
//! only the configuration is made here.

mod services;
mod site;
mod watch;

use std::path::PathBuf;

use tempfile::TempDir;
use tidegate_domain::SiteName;
use tokio_util::sync::CancellationToken;

use crate::args::DevArgs;
use crate::failure::{Exit, Failure};
use crate::output::Output;
use services::Services;
use site::Source;

/// The name of the site.
const SITE: &str = "dev";

/// Runs until `shutdown`, then drains.
///
/// # Errors
/// A folder, port or origin cannot be used, or a service ended by itself.
pub(crate) async fn run(
    args: DevArgs,
    output: &mut Output,
    shutdown: CancellationToken,
) -> Result<Exit, Failure> {
    tidegate_net::raise_file_limit();
    let site = SiteName::parse(SITE)
        .map_err(|error| Failure::new("DEV", format!("the name of the site: {error}")))?;
    // Before anything is opened: a typing error must not leave a data folder behind.
    let source = Source::choose(&args)?;
    let (data, temporary) = data_folder(args.data.clone())?;
    let stop_sample = CancellationToken::new();
    let source = source.prepare(&stop_sample).await?;
    let services = Services::start(&args, &data, &shutdown).await?;
    let ended = tokio::select! {
        served = serve(&services, &site, &source, output) => served,
        error = services.failed() => Err(error),
        () = shutdown.cancelled() => Ok(()),
    };
    shutdown.cancel();
    let stopped = services.stop().await;
    stop_sample.cancel();
    drop(temporary);
    ended.and(stopped)?;
    Ok(Exit::Done)
}

/// Puts the site in place, says that all is up, and follows changes of its folder.
async fn serve(
    services: &Services,
    site: &SiteName,
    source: &Source,
    output: &mut Output,
) -> Result<(), Failure> {
    let client = services.client();
    let mut revision = site::put(client, site, source).await?;
    let Some(folder) = source.folder() else {
        announce(services, revision, output).await?;
        return std::future::pending().await;
    };
    // Looked at before it is read: what changes while it is published is noticed.
    let published = watch::look(folder).await;
    revision = site::publish(client, site, folder).await?.max(revision);
    announce(services, revision, output).await?;
    watch::republish(client, site, folder, published).await
}

async fn announce(services: &Services, revision: u64, output: &mut Output) -> Result<(), Failure> {
    services.caught_up_with(revision).await;
    output.raw(services.ready_line().as_bytes())
}

fn data_folder(given: Option<PathBuf>) -> Result<(PathBuf, Option<TempDir>), Failure> {
    match given {
        Some(folder) => Ok((folder, None)),
        None => {
            let folder = tempfile::tempdir()
                .map_err(|error| Failure::file(&std::env::temp_dir(), &error))?;
            Ok((folder.path().to_owned(), Some(folder)))
        }
    }
}
