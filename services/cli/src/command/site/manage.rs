//! Sites themselves: apply, show, list, delete.

use tidegate_domain::{FieldError, SiteName};
use tidegate_proto::{site_to_wire, v1};

use super::super::Session;
use super::config;
use crate::args::ApplyArgs;
use crate::client::{DEADLINE, with_deadline};
use crate::failure::{Exit, Failure};
use crate::report::Position;
use crate::report::site::{Applied, Site, Sites};

pub(super) async fn apply(session: &mut Session<'_>, args: ApplyArgs) -> Result<Exit, Failure> {
    let checked = config::read(&args.file)?;
    let name = args.name.as_ref().unwrap_or(&session.site);
    let request = v1::PutSiteRequest {
        site: name.to_string(),
        config: Some(site_to_wire(checked.config())),
    };
    let client = &session.client;
    // Putting the same configuration twice changes nothing.
    let answer = client
        .safe(DEADLINE, request, |request| async move {
            client.sites().put_site(request).await
        })
        .await?;
    session.show(&Applied {
        revision: answer.revision,
        site: read(answer.site)?,
    })
}

pub(super) async fn show(session: &mut Session<'_>) -> Result<Exit, Failure> {
    let request = v1::GetSiteRequest {
        site: session.site.to_string(),
    };
    let client = &session.client;
    let answer = client
        .safe(DEADLINE, request, |request| async move {
            client.sites().get_site(request).await
        })
        .await?;
    session.show(&read(answer.site)?)
}

pub(super) async fn list(session: &mut Session<'_>, limit: u32) -> Result<Exit, Failure> {
    let client = &session.client;
    let sites = super::super::list::list(
        client,
        limit,
        |page_size, page_token| v1::ListSitesRequest {
            page_size,
            page_token,
        },
        |request| async move { client.sites().list_sites(request).await },
        |answer| (answer.sites, answer.next_page_token),
    )
    .await?;
    let sites: Result<Vec<Site>, Failure> = sites.into_iter().map(|it| read(Some(it))).collect();
    session.show(&Sites { sites: sites? })
}

pub(super) async fn delete(session: &mut Session<'_>, name: SiteName) -> Result<Exit, Failure> {
    let request = v1::DeleteSiteRequest {
        site: name.to_string(),
    };
    let mut sites = session.client.sites();
    let call = sites.delete_site(with_deadline(DEADLINE, request));
    let answer = session.client.once(DEADLINE, call).await?;
    session.show(&Position {
        revision: answer.revision,
        cursor: String::new(),
        done: format!("site {name} deleted"),
    })
}

fn read(site: Option<v1::Site>) -> Result<Site, Failure> {
    site.unwrap_or_default()
        .try_into()
        .map_err(|error: FieldError| {
            Failure::new(
                "INTERNAL",
                format!("this version cannot read the site's configuration: {error}"),
            )
        })
}
