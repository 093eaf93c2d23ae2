//! `SiteService`: sites and releases.

use std::sync::Arc;
use std::time::Duration;

use tidegate_domain::{FieldError, SiteName};
use tidegate_proto::v1;
use tidegate_proto::v1::site_service_server::SiteService;
use tidegate_proto::{Code, site_from_wire};
use tonic::{Request, Response, Status, Streaming};
use tracing::Instrument as _;

use super::call::{budget, caller};
use super::context::{Context, Done, proposal};
use super::fault::Fault;
use super::page::fitting;
use super::wait::Wait;
use super::{fields, upload};
use crate::command::{Command, Detail};
use crate::fleet::Subject;
use crate::releases::{Activation, Publication};
use crate::state::PageRequest;

const MAX_DIGESTS: usize = 10_000;
const MAX_LABEL_CHARS: usize = 128;
const MAX_KEPT: u32 = 10_000;

/// Adapter for [`SiteService`].
pub(crate) struct Sites(pub(crate) Arc<Context>);

#[tonic::async_trait]
impl SiteService for Sites {
    async fn put_site(
        &self,
        request: Request<v1::PutSiteRequest>,
    ) -> Result<Response<v1::PutSiteResponse>, Status> {
        let caller = caller(&request);
        let request = request.into_inner();
        let site = fields::site_name(&request.site).map_err(Fault::from)?;
        let config = request.config.ok_or_else(|| {
            Fault::from(FieldError::new("config", "", "a configuration with hosts"))
        })?;
        let config = site_from_wire(config).map_err(Fault::from)?;
        let bound = config.config().fenced.stale_bound();
        let command = Command::PutSite {
            site: site.clone(),
            config: Box::new(config),
        };
        let done = self.change(&site, bound, command, caller).await?;
        let view = self.0.site(&site)?;
        Ok(Response::new(v1::PutSiteResponse {
            revision: done.revision.0,
            site: Some(view.site.clone()),
        }))
    }

    async fn get_site(
        &self,
        request: Request<v1::GetSiteRequest>,
    ) -> Result<Response<v1::GetSiteResponse>, Status> {
        let site = fields::site_name(&request.get_ref().site).map_err(Fault::from)?;
        let view = self.0.site(&site)?;
        Ok(Response::new(v1::GetSiteResponse {
            site: Some(view.site.clone()),
        }))
    }

    async fn list_sites(
        &self,
        request: Request<v1::ListSitesRequest>,
    ) -> Result<Response<v1::ListSitesResponse>, Status> {
        let request = request.into_inner();
        let page = PageRequest::parse(request.page_size, &request.page_token);
        let page = page.map_err(Fault::from)?;
        let reader = self.0.reader.clone();
        let page = self
            .0
            .read(move || fitting(page, |page| reader.sites(page)))
            .await?;
        let page = page.map_err(Fault::from)?;
        Ok(Response::new(v1::ListSitesResponse {
            sites: page.items,
            next_page_token: page.next_page_token,
        }))
    }

    async fn delete_site(
        &self,
        request: Request<v1::DeleteSiteRequest>,
    ) -> Result<Response<v1::DeleteSiteResponse>, Status> {
        let caller = caller(&request);
        let site = fields::site_name(&request.get_ref().site).map_err(Fault::from)?;
        let command = Command::DeleteSite { site: site.clone() };
        let done = self.change(&site, Duration::ZERO, command, caller).await?;
        Ok(Response::new(v1::DeleteSiteResponse {
            revision: done.revision.0,
        }))
    }

    async fn missing_blobs(
        &self,
        request: Request<v1::MissingBlobsRequest>,
    ) -> Result<Response<v1::MissingBlobsResponse>, Status> {
        let request = request.into_inner();
        let site = fields::site_name(&request.site).map_err(Fault::from)?;
        self.0.site(&site)?;
        fields::at_most_elements("digests", request.digests.len(), MAX_DIGESTS)
            .map_err(Fault::from)?;
        let digests = request.digests.iter().enumerate();
        let digests = digests
            .map(|(index, text)| fields::digest(&format!("digests[{index}]"), text))
            .collect::<Result<Vec<_>, _>>()
            .map_err(Fault::from)?;
        let blobs = self.0.blobs.clone();
        let missing = self.0.read(move || blobs.missing(&digests)).await?;
        let missing = missing.map_err(Fault::from)?;
        Ok(Response::new(v1::MissingBlobsResponse {
            missing: missing.iter().map(ToString::to_string).collect(),
        }))
    }

    async fn upload_blobs(
        &self,
        request: Request<Streaming<v1::UploadBlobsRequest>>,
    ) -> Result<Response<v1::UploadBlobsResponse>, Status> {
        let stored = upload::receive(&self.0, request.into_inner()).await?;
        Ok(Response::new(stored))
    }

    async fn publish_release(
        &self,
        request: Request<v1::PublishReleaseRequest>,
    ) -> Result<Response<v1::PublishReleaseResponse>, Status> {
        let caller = caller(&request);
        let request = request.into_inner();
        let publication = publication(request).map_err(Fault::from)?;
        let published = self
            .0
            .releases
            .publish(publication, |command| {
                proposal(&*self.0.clock, command, caller)
            })
            .await
            .map_err(Fault::from)?;
        Ok(Response::new(v1::PublishReleaseResponse {
            release: Some(published.release),
            created: published.created,
        }))
    }

    async fn activate_release(
        &self,
        request: Request<v1::ActivateReleaseRequest>,
    ) -> Result<Response<v1::ActivateReleaseResponse>, Status> {
        let (caller, budget) = (caller(&request), budget(&request));
        let request = request.into_inner();
        let site = fields::site_name(&request.site).map_err(Fault::from)?;
        let release = fields::digest("release", &request.release).map_err(Fault::from)?;
        fields::reason(&request.reason).map_err(Fault::from)?;
        let wait = Wait::read(
            &self.0,
            request.wait_for,
            request.wait_timeout.as_ref(),
            budget,
        )?;
        let prepare = self.0.limits.prepare_timeout;
        let activation = Activation {
            site,
            release,
            reason: request.reason,
            prepare: budget.map_or(prepare, |budget| prepare.min(budget / 2)),
        };
        let began = tokio::time::Instant::now();
        let activated = self
            .0
            .releases
            .activate(activation, |command| {
                proposal(&*self.0.clock, command, caller.clone())
            })
            .await
            .map_err(Fault::from)?;
        let reached = wait
            .less(began.elapsed())
            .until_final(&self.0, activated.revision, Subject::Release)
            .await;
        Ok(Response::new(v1::ActivateReleaseResponse {
            revision: activated.revision.0,
            changed: activated.changed,
            // A manifest holds far fewer.
            changed_urls: u32::try_from(activated.urls).unwrap_or(u32::MAX),
            status: reached.status.into(),
            edges: reached.edges,
        }))
    }

    async fn list_releases(
        &self,
        request: Request<v1::ListReleasesRequest>,
    ) -> Result<Response<v1::ListReleasesResponse>, Status> {
        let request = request.into_inner();
        let site = fields::site_name(&request.site).map_err(Fault::from)?;
        self.0.site(&site)?;
        let page = PageRequest::parse(request.page_size, &request.page_token);
        let page = page.map_err(Fault::from)?;
        let reader = self.0.reader.clone();
        let page = self
            .0
            .read(move || fitting(page, |page| reader.releases(&site, page)))
            .await?;
        let page = page.map_err(Fault::from)?;
        Ok(Response::new(v1::ListReleasesResponse {
            releases: page.items,
            next_page_token: page.next_page_token,
        }))
    }

    async fn prune_releases(
        &self,
        request: Request<v1::PruneReleasesRequest>,
    ) -> Result<Response<v1::PruneReleasesResponse>, Status> {
        let caller = caller(&request);
        let request = request.into_inner();
        let site = fields::site_name(&request.site).map_err(Fault::from)?;
        if request.keep > MAX_KEPT {
            let error = FieldError::new("keep", request.keep, "0 to 10,000");
            return Err(Fault::from(error).into());
        }
        let command = Command::PruneReleases {
            site,
            keep: request.keep,
        };
        let done = self.0.propose(command, caller).await?;
        let removed = match done.detail {
            Detail::Pruned(removed) => removed,
            Detail::None => Vec::new(),
            other @ Detail::Removed(_) => {
                return Err(Fault::new(Code::Internal, format!("unexpected {other:?}")).into());
            }
        };
        Ok(Response::new(v1::PruneReleasesResponse { removed }))
    }
}

impl Sites {
    /// Puts a change of a site in the order, and tells the fleet for how long edges
    /// may serve the site without a lease: up to `bound` before they can hear of the
    /// change, and what the site says once it is known. Goes on to the end also when
    /// the caller goes away, because the change may happen all the same.
    async fn change(
        &self,
        site: &SiteName,
        bound: Duration,
        command: Command,
        caller: String,
    ) -> Result<Done, Fault> {
        let (context, site) = (self.0.clone(), site.clone());
        let changed = async move {
            let allowed = context.fleet.allow_stale(&site, bound);
            let done = context.propose(command, caller).await;
            let bound_now = || {
                let view = context.reader.site(&site);
                view.map_or(Duration::ZERO, |view| {
                    view.config.config().fenced.stale_bound()
                })
            };
            let fleet = &context.fleet;
            fleet.settle_stale(&site, allowed, done.is_ok(), bound_now);
            done
        };
        tokio::spawn(changed.in_current_span()).await?
    }
}

fn publication(request: v1::PublishReleaseRequest) -> Result<Publication, FieldError> {
    let chars = request.label.chars().count();
    fields::at_most(
        "label",
        &request.label,
        chars,
        MAX_LABEL_CHARS,
        "characters",
    )?;
    Ok(Publication {
        site: fields::site_name(&request.site)?,
        manifest: fields::digest("manifest_digest", &request.manifest_digest)?,
        label: request.label,
    })
}
