//! Releases: list, activate, rollback, prune.

use tidegate_domain::Digest;
use tidegate_proto::v1;

use super::super::Session;
use super::super::invalidate::exit_of;
use crate::args::{ActivateArgs, SiteWait};
use crate::client::{DEADLINE, with_deadline};
use crate::failure::{Exit, Failure};
use crate::publish::{self, Activate};
use crate::report::release::{Activated, Pruned, Releases};

/// How far back the beginning of an id, or the release before, is looked for.
const SEARCHED: u32 = 10_000;
/// The shortest beginning of an id.
const MIN_DIGITS: usize = 6;

pub(super) async fn list(session: &mut Session<'_>, limit: u32) -> Result<Exit, Failure> {
    let releases = newest(session, limit).await?;
    session.show(&Releases::from(releases))
}

/// Releases, newest first.
async fn newest(session: &Session<'_>, limit: u32) -> Result<Vec<v1::Release>, Failure> {
    let (client, site) = (&session.client, &session.site);
    super::super::list::list(
        client,
        limit,
        |page_size, page_token| v1::ListReleasesRequest {
            site: site.to_string(),
            page_size,
            page_token,
        },
        |request| async move { client.sites().list_releases(request).await },
        |answer| (answer.releases, answer.next_page_token),
    )
    .await
}

pub(super) async fn activate(
    session: &mut Session<'_>,
    args: ActivateArgs,
) -> Result<Exit, Failure> {
    let release = match args.release.parse::<Digest>() {
        Ok(whole) => whole.to_string(),
        Err(_) => {
            let digits = beginning(&args.release)?;
            find(&newest(session, SEARCHED).await?, &digits)?
        }
    };
    switch(session, release, args.wait).await
}

/// The hex digits of the beginning of an id.
fn beginning(text: &str) -> Result<String, Failure> {
    let digits = text.strip_prefix("sha256:").unwrap_or(text);
    let fits = (MIN_DIGITS..=64).contains(&digits.len());
    if !fits || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Err(Failure::usage(format!(
            "RELEASE: \"{}\" is not allowed; allowed: the id of a release, or at least {MIN_DIGITS} of its first hex digits",
            text.escape_default()
        )));
    }
    Ok(digits.to_ascii_lowercase())
}

fn find(releases: &[v1::Release], digits: &str) -> Result<String, Failure> {
    let begins = |it: &&v1::Release| {
        let id = it.id.strip_prefix("sha256:").unwrap_or(&it.id);
        id.starts_with(digits)
    };
    let mut found = releases.iter().filter(begins);
    match (found.next(), found.next()) {
        (Some(release), None) => Ok(release.id.clone()),
        (Some(_), Some(_)) => Err(Failure::usage(format!(
            "RELEASE: more than one release begins with \"{digits}\"; give more digits"
        ))),
        (None, _) => Err(Failure::new(
            "NOT_FOUND",
            format!("no release of the site begins with \"{digits}\""),
        )
        .advise("`tidegate site releases` lists them.")),
    }
}

pub(super) async fn rollback(session: &mut Session<'_>, how: SiteWait) -> Result<Exit, Failure> {
    let releases = newest(session, SEARCHED).await?;
    let release = before_active(&releases)?;
    switch(session, release, how).await
}

/// The release that was published before the active one.
fn before_active(releases: &[v1::Release]) -> Result<String, Failure> {
    let active = releases.iter().position(|it| it.active).ok_or_else(|| {
        Failure::new("FAILED_PRECONDITION", "the site has no active release")
            .advise("`tidegate site activate RELEASE` chooses one.")
    })?;
    let before = releases.get(active + 1).ok_or_else(|| {
        Failure::new(
            "FAILED_PRECONDITION",
            "no release is older than the active one",
        )
        .advise("`tidegate site releases` lists what there is.")
    })?;
    Ok(before.id.clone())
}

async fn switch(
    session: &mut Session<'_>,
    release: String,
    how: SiteWait,
) -> Result<Exit, Failure> {
    let how = Activate {
        wait: how.wait.limit(),
        reason: how.reason,
    };
    let answer = publish::activate(&session.client, &session.site, &release, how).await?;
    let report = Activated::new(release, answer);
    session.output.result(&report)?;
    Ok(exit_of(report.status))
}

pub(super) async fn prune(session: &mut Session<'_>, keep: u32) -> Result<Exit, Failure> {
    let request = v1::PruneReleasesRequest {
        site: session.site.to_string(),
        keep,
    };
    let mut sites = session.client.sites();
    let call = sites.prune_releases(with_deadline(DEADLINE, request));
    let answer = session.client.once(DEADLINE, call).await?;
    session.show(&Pruned {
        removed: answer.removed,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn release(id: &str, active: bool) -> v1::Release {
        v1::Release {
            id: format!("sha256:{id}"),
            active,
            ..v1::Release::default()
        }
    }

    #[test]
    fn a_release_is_found_by_the_beginning_of_its_id_if_it_is_the_only_one() {
        let releases = [release("abcdef01", false), release("abcdef02", true)];
        assert_eq!(find(&releases, "abcdef02").unwrap(), "sha256:abcdef02");
        assert_eq!(find(&releases, "abcdef").unwrap_err().exit(), Exit::Usage);
        assert_eq!(find(&releases, "ffffff").unwrap_err().exit(), Exit::Failed);
        assert_eq!(beginning("sha256:ABCDEF").unwrap(), "abcdef");
        for bad in ["abc", "sha256:", "ghijkl", "é23456"] {
            assert_eq!(beginning(bad).unwrap_err().exit(), Exit::Usage, "{bad}");
        }
    }

    #[test]
    fn a_rollback_goes_to_the_release_before_the_active_one() {
        let releases = [release("3", false), release("2", true), release("1", false)];
        assert_eq!(before_active(&releases).unwrap(), "sha256:1");
        assert!(before_active(&releases[..2]).is_err());
        assert!(before_active(&releases[..1]).is_err());
    }
}
