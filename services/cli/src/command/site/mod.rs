//! `site ...`: one file a group of subcommands.

mod config;
mod manage;
mod publish;
mod reference;
mod releases;

use super::Session;
use crate::args::SiteCommand;
use crate::failure::{Exit, Failure};

pub(super) async fn run(session: &mut Session<'_>, command: SiteCommand) -> Result<Exit, Failure> {
    match command {
        SiteCommand::Apply(args) => manage::apply(session, args).await,
        SiteCommand::Show => manage::show(session).await,
        SiteCommand::Reference => reference::show(session),
        SiteCommand::List {
            limit,
            releases: true,
        }
        | SiteCommand::Releases { limit } => releases::list(session, limit).await,
        SiteCommand::List { limit, .. } => manage::list(session, limit).await,
        SiteCommand::Delete { name } => manage::delete(session, name).await,
        SiteCommand::Build(args) => publish::build(session, args).await,
        SiteCommand::Publish(args) => publish::publish(session, args).await,
        SiteCommand::Activate(args) => releases::activate(session, args).await,
        SiteCommand::Rollback(how) => releases::rollback(session, how).await,
        SiteCommand::Prune { keep } => releases::prune(session, keep).await,
    }
}
