//! What is passed on as it comes: other methods than GET, other protocols, parts and
//! conditions of what cannot be cached.

use std::sync::Arc;

use http::header::{CONTENT_LOCATION, LOCATION};
use http::request::Parts as RequestParts;
use http::{HeaderMap, Method, Request, Response, StatusCode, Uri};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tidegate_domain::{PathAndQuery, url_tag};

use super::answer;
use super::body::Body;
use super::decide::wants_upgrade;
use super::head;
use super::setup::Setup;
use super::site::{ProxySite, count};
use super::status::{Forwarded, Status, Why};
use super::visit::Ask;
use crate::cache::stored::CACHE_STATUS;
use crate::cache::tagging::ResponseTags;
use crate::origin::{OriginBody, OriginError, OriginRequest, RequestBody, fields};

/// Says how the cache handled a request whose response it does not store.
pub(super) fn mark<B>(response: &mut Response<B>, status: Status) {
    let value = status.behind(response.headers());
    response.headers_mut().insert(CACHE_STATUS, value);
}

/// Makes the fields of a response that is not stored those that leave.
pub(super) fn dress(setup: &Setup, response: &mut HeaderMap) {
    let tags = ResponseTags::read(response, &setup.tag_fields);
    let is_tagged = tags.is_ok_and(|tags| !tags.own.is_empty());
    setup.dress(response, is_tagged);
}

impl ProxySite {
    /// Passes a request on, and its response back, chunk by chunk.
    pub(super) async fn pass(
        self: Arc<Self>,
        ask: Ask,
        mut parts: RequestParts,
        body: RequestBody,
        why: Why,
    ) -> Response<Body> {
        let setup = self.setup();
        let upgrade = wants_upgrade(&ask.fields)
            .then(|| parts.extensions.remove::<OnUpgrade>())
            .flatten();
        let sent = self.send(&setup, &ask, body, upgrade.is_some()).await;
        let mut response = match sent {
            Ok(response) => response,
            Err(error) => return self.not_passed(&error, why),
        };
        if is_unsafe(&ask.method) {
            self.changed(&setup, &ask, &response);
        }
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            return match upgrade {
                Some(client) => tunnel(client, response),
                None => self.not_passed(&unasked_upgrade(), why),
            };
        }
        fields::remove_hop_by_hop(response.headers_mut());
        head::date(response.headers_mut(), self.shared.standing.clock().wall());
        dress(&setup, response.headers_mut());
        mark(&mut response, Status::Forwarded(Forwarded::because(why)));
        response.map(Body::origin)
    }

    /// Passes a GET on with its ranges and conditions.
    pub(super) async fn pass_get(self: Arc<Self>, ask: Ask, why: Why) -> Response<Body> {
        let (parts, ()) = Request::new(()).into_parts();
        self.pass(ask, parts, RequestBody::empty(), why).await
    }

    async fn send(
        &self,
        setup: &Setup,
        ask: &Ask,
        body: RequestBody,
        upgrades: bool,
    ) -> Result<Response<OriginBody>, OriginError> {
        let origin = setup
            .origin
            .clone()?
            .ok_or_else(|| OriginError::Misconfigured("the site has no origin".into()))?;
        let mut request = fields::to_origin(&ask.fields, ask.client(), setup.origin_host());
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
        origin.send(request).await
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

    /// RFC 9111, section 4.4: after an unsafe request that was not refused, what is
    /// stored under its URL, and under those on this host that the response names, is of
    /// no use.
    fn changed(&self, setup: &Setup, ask: &Ask, response: &Response<OriginBody>) {
        let status = response.status();
        if !(status.is_success() || status.is_redirection()) {
            return;
        }
        let serial = self.shared.last_serial();
        self.tags.change_here(&url_tag(&ask.key.url), serial);
        for name in [LOCATION, CONTENT_LOCATION] {
            let named = response
                .headers()
                .get(name)
                .and_then(|value| value.to_str().ok())
                .and_then(|text| on_same_host(text, &ask.key.host))
                .and_then(|path| PathAndQuery::parse(&path).ok());
            if let Some(url) = named {
                let url = setup.site.normalize(&url);
                self.tags.change_here(&url_tag(&url), serial);
            }
        }
    }
}

/// Methods that change nothing are safe (RFC 9110, section 9.2.1); what is unknown may
/// change something.
fn is_unsafe(method: &Method) -> bool {
    !(method.is_safe())
}

/// The path and query of a reference, if it is to this host.
fn on_same_host(reference: &str, host: &str) -> Option<String> {
    if reference.starts_with('/') && !reference.starts_with("//") {
        return Some(reference.split('#').next().unwrap_or_default().to_owned());
    }
    let uri: Uri = reference.parse().ok()?;
    let named = tidegate_domain::normalize_host(uri.host()?).ok()?;
    (named == host).then(|| uri.path_and_query().map(ToString::to_string))?
}

fn unasked_upgrade() -> OriginError {
    OriginError::Broken {
        upstream: "the origin".into(),
        cause: "it switched to a protocol that was not asked for".into(),
    }
}

/// Joins the two connections once both have switched.
fn tunnel(client: OnUpgrade, mut response: Response<OriginBody>) -> Response<Body> {
    let origin = hyper::upgrade::on(&mut response);
    tokio::spawn(async move {
        let (client, origin) = match tokio::try_join!(client, origin) {
            Ok(both) => both,
            Err(error) => return tracing::debug!(%error, "a tunnel was not established"),
        };
        let (mut client, mut origin) = (TokioIo::new(client), TokioIo::new(origin));
        let end = tokio::io::copy_bidirectional(&mut client, &mut origin).await;
        if let Err(error) = end {
            tracing::debug!(%error, "a tunnel broke");
        }
    });
    let (mut parts, body) = response.into_parts();
    let protocol = parts.headers.get(http::header::UPGRADE).cloned();
    fields::remove_hop_by_hop(&mut parts.headers);
    if let Some(protocol) = protocol {
        fields::ask_upgrade(&mut parts.headers, protocol);
    }
    // The place in flight is given back here: a tunnel may last for days.
    drop(body);
    answer::made(parts.status, parts.headers, Body::empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_references_to_the_same_host_count() {
        let on = |reference| on_same_host(reference, "www.example.com");
        assert_eq!(on("/a?b#c").as_deref(), Some("/a?b"));
        assert_eq!(
            on("https://WWW.example.com:8443/a?b").as_deref(),
            Some("/a?b")
        );
        assert_eq!(on("https://other.example/a"), None);
        assert_eq!(on("//other.example/a"), None);
        assert_eq!(on("a/b"), None);
    }
}
