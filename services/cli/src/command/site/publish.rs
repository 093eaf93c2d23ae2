//! `site build` and `site publish`.

use std::sync::Arc;

use tidegate_domain::Digest;
use tidegate_site::{Build, BuildOptions, Warning};

use super::super::Session;
use super::super::invalidate::exit_of;
use crate::args::{BuildArgs, LevelArgs, PublishArgs};
use crate::bars::Bars;
use crate::failure::{Exit, Failure};
use crate::output::Output;
use crate::publish::{self, Activate, Progress, PublishOptions};
use crate::report::release::{Built, PublishReport};

pub(super) async fn build(session: &mut Session<'_>, args: BuildArgs) -> Result<Exit, Failure> {
    let progress = progress(session.output);
    let build = publish::build(args.dir, options(&args.level), progress.clone()).await?;
    progress.built();
    warn(session.output, &build.warnings);
    let mut report = built(&build);
    if let Some(out) = args.out {
        report.out = Some(out.display().to_string());
        write(build, out).await?;
    }
    session.show(&report)
}

async fn write(build: Build, out: std::path::PathBuf) -> Result<(), Failure> {
    let written = tokio::task::spawn_blocking(move || build.write_to(&out)).await;
    match written {
        Ok(written) => written.map_err(|error| Failure::new("FILE", error.to_string())),
        Err(ended) => Err(Failure::new("FILE", format!("writing ended: {ended}"))),
    }
}

fn built(build: &Build) -> Built {
    let manifest = &build.manifest;
    Built {
        release: Digest::of(&build.manifest_json).to_string(),
        pages: manifest.pages().len(),
        assets: manifest.assets().len(),
        bytes: manifest.resources().map(|(_, _, it)| it.size).sum(),
        blobs: build.blobs.len(),
        blob_bytes: build.blobs.values().map(|it| it.size).sum(),
        warnings: build.warnings.iter().map(ToString::to_string).collect(),
        out: None,
    }
}

pub(super) async fn publish(session: &mut Session<'_>, args: PublishArgs) -> Result<Exit, Failure> {
    let how = Activate {
        wait: args.wait.wait.limit(),
        reason: args.wait.reason,
    };
    let options = PublishOptions {
        site: session.site.clone(),
        build: options(&args.level),
        label: args.label,
        activate: (!args.no_activate).then_some(how),
    };
    let progress = progress(session.output);
    let published = publish::publish(&session.client, &args.dir, options, progress).await?;
    warn(session.output, &published.warnings);
    let report = PublishReport::from(published);
    session.output.result(&report)?;
    Ok(report
        .activated
        .map_or(Exit::Done, |activated| exit_of(activated.status)))
}

fn options(args: &LevelArgs) -> BuildOptions {
    BuildOptions {
        level: args.level(),
        cache_dir: args.cache.clone(),
        ..BuildOptions::default()
    }
}

fn progress(output: &Output) -> Arc<dyn Progress> {
    match output.shows_progress() {
        true => Arc::new(Bars::new()),
        false => Arc::new(()),
    }
}

/// Programs find the warnings in the result.
fn warn(output: &mut Output, warnings: &[Warning]) {
    for warning in warnings {
        output.note(&format!("warning: {warning}"));
    }
}
