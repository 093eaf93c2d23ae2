//! What is passed on as it comes: other methods than GET, other protocols, parts and
//! conditions of what cannot be cached.

use std::sync::Arc;
use std::time::Duration;

use http::request::Parts as RequestParts;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use tidegate_domain::{host_tag, url_tag};
use tokio::task::JoinError;
use tracing::Instrument as _;

use super::answer;
use super::body::Body;
use super::decide::wants_upgrade;
use super::freshen::News;
use super::head;
use super::lookup::Found;
use super::posted::{Keeping, KeptBody, Posted};
use super::setup::Setup;
use super::site::{ProxySite, count};
use super::status::{Forwarded, Status, Why};
use super::tunnel::Switch;
use super::visit::Ask;
use crate::cache::changed_here::Change;
use crate::cache::policy::groups::{GroupOwner, TooManyGroups};
use crate::cache::policy::invalidation::{Target, is_no_error, is_unsafe};
use crate::cache::stored::CACHE_STATUS;
use crate::cache::tagging::ResponseTags;
use crate::origin::{OriginBody, OriginError, OriginRequest, RequestBody, TunnelPlace, fields};

/// Says how the cache handled a request whose response it does not store.
pub(super) fn mark<B>(response: &mut Response<B>, status: Status) {
    let value = status.behind(response.headers(), response.status());
    response.headers_mut().insert(CACHE_STATUS, value);
}

/// Makes the fields of a response that is not stored those that leave.
pub(super) fn dress(setup: &Setup, response: &mut HeaderMap) {
    let tags = ResponseTags::read(response, &setup.tag_fields);
    let is_tagged = tags.is_ok_and(|tags| !tags.own.is_empty());
    setup.dress(response, is_tagged);
}

/// A request that the origin has answered.
struct Passed {
    setup: Arc<Setup>,
    response: Response<OriginBody>,
    delay: Duration,
    /// The fetches that had begun before it was sent.
    serial: u64,
    keeping: Option<Keeping>,
    /// If it has asked to switch to another protocol.
    tunnel: Option<TunnelPlace>,
}

impl ProxySite {
    /// Passes a request on, and its response back, chunk by chunk.
    pub(super) async fn pass(
        self: Arc<Self>,
        ask: Ask,
        mut parts: RequestParts,
        body: RequestBody,
        found: Found,
    ) -> Response<Body> {
        let why = found.why;
        let upgrade = wants_upgrade(&ask.fields)
            .then(|| parts.extensions.remove::<Switch>())
            .flatten();
        let ask = Arc::new(ask);
        let exchange = self
            .clone()
            .exchange(ask.clone(), body, upgrade.is_some(), why);
        let passed = match is_unsafe(&ask.method) {
            false => exchange.await,
            // Its answer says what it has changed, whether or not somebody waits for that.
            true => tokio::spawn(exchange.in_current_span())
                .await
                .unwrap_or_else(|error| Err(unanswered(&error))),
        };
        let Passed {
            setup,
            mut response,
            delay,
            serial,
            keeping,
            tunnel,
        } = match passed {
            Ok(passed) => passed,
            Err(error) => {
                let failed = self.not_passed(&error, why);
                let copy = found.without_answer(&error);
                let said = Forwarded::because(why);
                return copy.map_or(failed, |copy| self.despite_error(copy, &ask, said));
            }
        };
        let status = response.status();
        if let Some(copy) = found.despite(status) {
            return self.despite_error(copy, &ask, Forwarded::because(why).of(status));
        }
        // Nothing switches that was not asked to: see `Origin::send`.
        if response.status() == StatusCode::SWITCHING_PROTOCOLS
            && let Some((switch, place)) = upgrade.zip(tunnel)
        {
            let mut joined = join(switch, place, response);
            mark(&mut joined, Status::Forwarded(Forwarded::because(why)));
            return joined;
        }
        fields::remove_hop_by_hop(response.headers_mut());
        head::date(response.headers_mut(), self.shared.standing.clock().wall());
        if ask.method == Method::HEAD && response.status() == StatusCode::OK && may_learn(&ask, why)
        {
            let news = News {
                key: &ask.key,
                request: &ask.fields,
                said: response.headers(),
                delay,
                serial,
            };
            self.learn_from_head(&setup, &news);
        }
        dress(&setup, response.headers_mut());
        let mut said = Forwarded::because(why);
        said.is_stored = keeping.is_some();
        mark(&mut response, Status::Forwarded(said));
        response.map(|body| match keeping {
            Some(keeping) => Body::kept(KeptBody::new(body, keeping)),
            None => Body::origin(body),
        })
    }

    /// Passes a GET on with its ranges and conditions.
    pub(super) async fn pass_get(self: Arc<Self>, ask: Ask, found: Found) -> Response<Body> {
        let (parts, ()) = Request::new(()).into_parts();
        self.pass(ask, parts, RequestBody::empty(), found).await
    }

    /// Sends a request, and does what the head of its answer says.
    async fn exchange(
        self: Arc<Self>,
        ask: Arc<Ask>,
        body: RequestBody,
        upgrades: bool,
        why: Why,
    ) -> Result<Passed, OriginError> {
        let (begun, serial) = (self.shared.now(), self.shared.last_serial());
        let posting = self.begin_posting(&ask, why);
        // Loaded after the position was read, as for a fetch: what is stored as of that is
        // what the origin says that belongs to it.
        let setup = self.setup();
        let (response, tunnel) = self.send(&setup, &ask, body, upgrades).await?;
        let delay = self.shared.now().saturating_since(begun);
        let posted = posting.and_then(|open| self.posted(&setup, &ask, &response, delay, open));
        let keeping = match is_unsafe(&ask.method) {
            true => self.changed(&setup, &ask, &response, posted),
            false => None,
        };
        Ok(Passed {
            setup,
            response,
            delay,
            serial,
            keeping,
            tunnel,
        })
    }

    async fn send(
        &self,
        setup: &Setup,
        ask: &Ask,
        body: RequestBody,
        upgrades: bool,
    ) -> Result<(Response<OriginBody>, Option<TunnelPlace>), OriginError> {
        let origin = setup
            .origin
            .clone()?
            .ok_or_else(|| OriginError::Misconfigured("the site has no origin".into()))?;
        // Before anything is asked: what switches must not be one too many.
        let tunnel = upgrades
            .then(|| origin.tunnel(&self.tunnels, ask.client))
            .transpose()?;
        let mut request = setup.to_origin(ask);
        if upgrades && let Some(protocol) = fields::upgrade(&ask.fields) {
            fields::ask_upgrade(&mut request, protocol.clone());
        }
        count(&self.counts.fetches);
        let request = OriginRequest {
            method: ask.method.clone(),
            url: ask.target.clone(),
            fields: request,
            body,
            interim: ask.interim.clone(),
        };
        Ok((origin.send(request).await?, tunnel))
    }

    fn not_passed(&self, error: &OriginError, why: Why) -> Response<Body> {
        if error.status().is_client_error() {
            tracing::debug!(site = %self.name, %error, "a request was given up");
        } else {
            count(&self.counts.failed);
            self.warn_of_origin(error);
        }
        let mut said = Forwarded::because(why);
        said.detail = Some(error.reason());
        answer::failed(error, Status::Forwarded(said))
    }

    /// After an unsafe request what is stored under its URL, and under those of its origin
    /// that the response names, is of no use, unless it was refused (RFC 9111, section 4.4).
    /// So is what is in the cache groups that the response names (RFC 9875, section 3): that
    /// is the origin's word, whatever became of the request.
    ///
    /// Of this host alone: copies of the other hosts of the site have keys of their own, and
    /// their origin may be another (section 4.4). Of this edge alone: who wants others to know
    /// invalidates.
    ///
    /// Returns what keeps the body, if the response is one that is stored.
    fn changed(
        &self,
        setup: &Setup,
        ask: &Ask,
        response: &Response<OriginBody>,
        posted: Option<Posted>,
    ) -> Option<Keeping> {
        let mut urls = Vec::new();
        if is_no_error(response.status()) {
            let target = Target {
                host: &ask.key.host,
                port: ask.key.port,
                url: &ask.target,
            };
            let named = target.named_by(response.headers());
            urls.push(ask.key.url.clone());
            urls.extend(named.iter().map(|url| setup.site.normalize(url)));
        }
        let host = host_tag(&ask.key.host);
        let mut tags: Vec<_> = urls.iter().map(url_tag).collect();
        let owner = GroupOwner::new(&ask.key.host, ask.key.port, ask.key.secure);
        let groups = owner.invalidated_by(response.headers());
        let is_all = groups.is_err();
        match groups {
            Ok(groups) => tags.extend(groups),
            // One of them may be any.
            Err(TooManyGroups) => tags.push(host.clone()),
        }
        // What other edges have fetched of it is of no use either.
        let now = self.shared.now();
        let change = Change {
            host: &host,
            tags: &tags,
        };
        self.changed
            .note_before(&ask.key.host, &urls, is_all, now, || match posted {
                Some(posted) => self.keep_posted(setup, ask, posted, change),
                None => {
                    self.tags.change_here(change, || self.shared.last_serial());
                    None
                }
            })
    }
}

/// Not from what is for one visitor or for the origin alone, and nothing of what wants
/// nothing stored.
fn may_learn(ask: &Ask, why: Why) -> bool {
    !matches!(why, Why::Bypass | Why::Method) && !ask.directives.no_store
}

fn unanswered(error: &JoinError) -> OriginError {
    OriginError::Broken {
        upstream: "the origin".into(),
        cause: error.to_string(),
    }
}

/// Joins the two connections once both have switched.
fn join(switch: Switch, place: TunnelPlace, mut response: Response<OriginBody>) -> Response<Body> {
    switch.join(hyper::upgrade::on(&mut response), place);
    let (mut parts, body) = response.into_parts();
    let protocol = parts.headers.get(http::header::UPGRADE).cloned();
    fields::remove_hop_by_hop(&mut parts.headers);
    if let Some(protocol) = protocol {
        fields::ask_upgrade(&mut parts.headers, protocol);
    }
    // The place in flight is given back here: a tunnel may last for days, and has its own.
    drop(body);
    answer::made(parts.status, parts.headers, Body::empty())
}
