//! What the cache can say to a request at once.

use std::sync::Arc;

use http::header::{IF_MATCH, IF_UNMODIFIED_SINCE, UPGRADE};
use http::request::Parts;
use http::{HeaderMap, Method, Response, StatusCode};
use tidegate_clock::BootInstant;

use super::answer;
use super::body::Body;
use super::site::{ProxySite, count};
use super::status::{Hit, Status, Why};
use super::visit::{Ask, Visit, port};
use crate::cache::judge::{Arrival, Trust, Verdict, judge};
use crate::cache::key::KeyRef;
use crate::cache::policy::directives::RequestDirectives;
use crate::cache::stored::Stored;
use crate::origin::fields;

/// What comes of a look-up.
pub(super) enum Looked {
    /// The answer.
    Answer(Response<Body>),
    /// The origin is to be asked, together with others who ask the same.
    Forward(Box<Ask>, Found),
    /// The request is to be passed on as it is.
    Pass(Box<Ask>, Why),
    /// There is nothing that could answer: no origin, and for a GET no entry either.
    Nothing,
}

/// What was found for a request that goes on to the origin.
#[derive(Debug, Clone)]
pub(super) struct Found {
    /// A copy that the origin can be asked about.
    pub(super) copy: Option<Arc<Stored>>,
    /// What may be done with it.
    pub(super) verdict: Option<Verdict>,
    /// Any copy under the key, which knows what responses vary on.
    pub(super) neighbour: Option<Arc<Stored>>,
    pub(super) why: Why,
}

impl Found {
    /// A 304 is believed only for what tells two versions apart for certain.
    pub(super) fn is_strict(&self) -> bool {
        self.verdict == Some(Verdict::RevalidateStrictly)
    }

    /// The copy, if it may be used when the origin fails.
    pub(super) fn on_error(&self) -> Option<&Arc<Stored>> {
        let may = matches!(self.verdict, Some(Verdict::Revalidate { on_error: true }));
        self.copy.as_ref().filter(|_| may)
    }
}

impl ProxySite {
    /// Looks a request up. Takes no lock but the shared one of a shard of the storage.
    pub(super) fn look(self: &Arc<Self>, parts: &Parts, visit: &Visit<'_>) -> Looked {
        // Read before all else: a fetch with a higher number began after this request.
        let after = self.shared.last_serial();
        let setup = self.borrow_setup();
        let request = &parts.headers;
        let url = setup.site.normalize(visit.url);
        let extra = setup.extra.of(request);
        let key = KeyRef {
            site: self.number,
            host: visit.host,
            port: port(&parts.uri, request),
            url: &url,
            extra: extra.as_ref(),
        };
        let trust = Trust::at(visit.moment, setup.fenced());
        let directives = RequestDirectives::read(request);
        let reads = parts.method == Method::GET || parts.method == Method::HEAD;
        let ask = || {
            // What may be cached is asked for by its key: what the policy takes out of the
            // key cannot change the response either.
            let is_keyed = reads && !wants_upgrade(request);
            Box::new(Ask {
                target: if is_keyed {
                    url.clone()
                } else {
                    visit.url.clone()
                },
                method: parts.method.clone(),
                fields: request.clone(),
                key: key.to_key(),
                client: visit.client,
                secure: visit.secure,
                moment: visit.moment,
                demand: visit.demand,
                trust,
                directives: directives.clone(),
                after,
            })
        };
        if !reads {
            return if self.has_origin() {
                Looked::Pass(ask(), Why::Method)
            } else {
                Looked::Nothing
            };
        }
        if trust == Trust::Refused {
            return Looked::Answer(refused());
        }
        if visit.never_store {
            return if self.has_origin() {
                Looked::Pass(ask(), Why::Bypass)
            } else {
                Looked::Nothing
            };
        }
        if is_for_the_origin(request) && self.has_origin() {
            return Looked::Pass(ask(), Why::Bypass);
        }
        let resource = self.shared.storage.get(&key);
        let copy = resource
            .as_ref()
            .and_then(|resource| resource.select(request));
        let mut verdict = None;
        if let Some(copy) = copy {
            let now = self.shared.now();
            let arrival = Arrival {
                moment: visit.moment,
                demand: visit.demand,
                directives: &directives,
                now,
                fenced: setup.fenced(),
            };
            let judged = judge(&copy.head.fence, &copy.head.terms, arrival);
            if let Some(hit) = hit(judged) {
                count(&self.counts.hits);
                if let Hit::Stale(_) = hit {
                    self.refresh(&ask(), copy);
                }
                return Looked::Answer(used(copy, &parts.method, request, now, hit));
            }
            verdict = Some(judged);
        }
        let why = match (copy, &resource) {
            (Some(_), _) if is_because_of_request(verdict, &directives) => Why::Request,
            (Some(_), _) => Why::Stale,
            (None, Some(_)) => Why::VaryMiss,
            (None, None) => Why::UriMiss,
        };
        if directives.only_if_cached {
            return Looked::Answer(answer::text(
                StatusCode::GATEWAY_TIMEOUT,
                "It is not in the cache.\n",
                Status::Refused("only-if-cached"),
            ));
        }
        match (self.has_origin(), self.has_entries()) {
            (false, false) => return Looked::Nothing,
            (true, has_entries) => {
                let is_bare_head = parts.method == Method::HEAD && !has_entries;
                if is_bare_head || directives.no_store {
                    return Looked::Pass(ask(), why);
                }
            }
            (false, true) => {}
        }
        let found = Found {
            copy: copy.cloned(),
            verdict,
            neighbour: resource.and_then(|resource| resource.newest().cloned()),
            why,
        };
        Looked::Forward(ask(), found)
    }

    /// Looks again, when a fetch has ended since the first look.
    pub(super) fn look_again(&self, ask: &Ask) -> Option<Response<Body>> {
        let resource = self.shared.storage.peek(&ask.key.as_ref())?;
        let copy = resource.select(&ask.fields)?;
        let now = self.shared.now();
        let setup = self.borrow_setup();
        let arrival = Arrival {
            moment: ask.moment,
            demand: ask.demand,
            directives: &ask.directives,
            now,
            fenced: setup.fenced(),
        };
        let hit = hit(judge(&copy.head.fence, &copy.head.terms, arrival))
            .filter(|hit| !matches!(hit, Hit::Stale(_)))?;
        count(&self.counts.hits);
        Some(used(copy, &ask.method, &ask.fields, now, hit))
    }
}

fn hit(verdict: Verdict) -> Option<Hit> {
    match verdict {
        Verdict::Use { fenced: false, .. } => Some(Hit::Fresh),
        Verdict::Use { fenced: true, .. } => Some(Hit::Fenced),
        Verdict::UseWhileRefreshing { over } => Some(Hit::Stale(over.as_secs())),
        Verdict::Revalidate { .. } | Verdict::RevalidateStrictly | Verdict::Refuse => None,
    }
}

fn used(
    copy: &Stored,
    method: &Method,
    request: &HeaderMap,
    now: BootInstant,
    hit: Hit,
) -> Response<Body> {
    let age = copy.head.terms.freshness.age(now);
    answer::stored(copy, method, request, age, Status::Hit(hit))
}

fn is_because_of_request(verdict: Option<Verdict>, directives: &RequestDirectives) -> bool {
    matches!(verdict, Some(Verdict::Revalidate { .. }))
        && (directives.no_cache || directives.max_age.is_some() || directives.min_fresh.is_some())
}

/// Requests that mean something to the origin alone: another protocol, and conditions
/// that a cache must not evaluate (RFC 9111, section 4.3.2).
fn is_for_the_origin(request: &HeaderMap) -> bool {
    request.contains_key(IF_MATCH)
        || request.contains_key(IF_UNMODIFIED_SINCE)
        || (request.contains_key(UPGRADE) && wants_upgrade(request))
}

/// Whether another protocol than HTTP is asked for.
pub(super) fn wants_upgrade(request: &HeaderMap) -> bool {
    fields::upgrade(request).is_some_and(|protocol| protocol != "h2c")
}

fn refused() -> Response<Body> {
    answer::text(
        StatusCode::SERVICE_UNAVAILABLE,
        "The site cannot be served at this moment.\n",
        Status::Refused("fenced"),
    )
}
