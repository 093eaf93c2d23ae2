//! What is to be done with a request: decided here, from the request and from what is
//! stored, and done elsewhere. Nothing here counts, stores, fetches or waits, so that
//! what would be done can be said without doing it.

use std::sync::Arc;

use arc_swap::Guard;
use http::header::{IF_MATCH, IF_UNMODIFIED_SINCE, UPGRADE};
use http::{HeaderMap, Method};
use tidegate_clock::BootInstant;
use tidegate_domain::PathAndQuery;

use super::setup::Setup;
use super::site::ProxySite;
use super::status::{Hit, Why};
use super::visit::Visit;
use crate::cache::judge::{Arrival, Demand, Trust, Verdict, judge};
use crate::cache::key::KeyRef;
use crate::cache::policy::directives::RequestDirectives;
use crate::cache::resource::Resource;
use crate::cache::stored::Stored;
use crate::origin::fields;

/// A request, and what of the site's configuration bears on it.
pub(super) struct Question<'a> {
    pub(super) method: &'a Method,
    pub(super) fields: &'a HeaderMap,
    pub(super) visit: &'a Visit<'a>,
    pub(super) setup: Guard<Arc<Setup>>,
    /// As the site's policy has it.
    pub(super) url: PathAndQuery,
    pub(super) port: u16,
    pub(super) extra: Option<Arc<str>>,
    pub(super) trust: Trust,
    pub(super) directives: RequestDirectives,
    /// The number of the site.
    site: u64,
}

/// What is to be done with it.
pub(super) enum Decision<'c> {
    /// The stored response is used.
    Use(&'c Arc<Stored>, Hit),
    /// The origin, or a pushed entry, is asked together with others who ask the same.
    Forward {
        /// A copy that the origin can be asked about, and what may be done with it.
        copy: Option<(&'c Arc<Stored>, Verdict)>,
        /// Any copy under the key, which knows what responses vary on.
        neighbour: Option<&'c Arc<Stored>>,
        why: Why,
    },
    /// It is passed on as it is.
    Pass {
        /// A copy, and whether that may be used where the origin fails.
        copy: Option<(&'c Arc<Stored>, Verdict)>,
        why: Why,
    },
    /// It wants nothing but what is stored, and that is not stored or of no use.
    NotCached,
    /// The site wants nothing answered without a lease.
    Refuse,
    /// There is nothing that could answer: no origin, and for a GET no entry either.
    Nothing,
}

impl Question<'_> {
    /// Whether it asks for what may be stored.
    fn reads(&self) -> bool {
        self.method == Method::GET || self.method == Method::HEAD
    }

    /// What is asked of the origin where the response is not stored. What may be cached
    /// is asked for by its key: what the policy takes out of the key cannot change the
    /// response either.
    pub(super) fn target(&self) -> &PathAndQuery {
        if self.reads() && !wants_upgrade(self.fields) {
            &self.url
        } else {
            self.visit.url
        }
    }

    pub(super) fn key(&self) -> KeyRef<'_> {
        KeyRef {
            site: self.site,
            host: self.visit.host,
            port: self.port,
            secure: self.visit.secure,
            url: &self.url,
            extra: self.extra.as_ref(),
        }
    }

    pub(super) fn arrival(&self, now: BootInstant) -> Arrival<'_> {
        Arrival {
            moment: self.visit.moment,
            demand: self.visit.demand,
            directives: &self.directives,
            now,
            fenced: self.setup.fenced(),
        }
    }
}

impl ProxySite {
    pub(super) fn question<'a>(
        &self,
        method: &'a Method,
        fields: &'a HeaderMap,
        port: u16,
        visit: &'a Visit<'a>,
    ) -> Question<'a> {
        let setup = self.borrow_setup();
        Question {
            method,
            fields,
            visit,
            url: setup.site.normalize(visit.url),
            port,
            extra: setup.extra.of(fields),
            trust: Trust::at(visit.moment, setup.fenced()),
            directives: RequestDirectives::read(fields),
            site: self.number,
            setup,
        }
    }

    /// What is to be done whatever is stored; `None` if that depends on what is.
    pub(super) fn decide_unseen(&self, question: &Question<'_>) -> Option<Decision<'static>> {
        let pass = |why| match self.has_origin() {
            true => Decision::Pass { copy: None, why },
            false => Decision::Nothing,
        };
        if !question.reads() {
            return Some(pass(match question.visit.never_store {
                true => Why::Bypass,
                false => Why::Method,
            }));
        }
        if question.trust == Trust::Refused {
            return Some(Decision::Refuse);
        }
        let is_for_the_origin =
            question.visit.never_store || (is_for_the_origin(question.fields) && self.has_origin());
        is_for_the_origin.then(|| match question.directives.only_if_cached {
            true => Decision::NotCached,
            false => pass(Why::Bypass),
        })
    }

    /// What is to be done, given what is stored under the key.
    pub(super) fn decide<'c>(
        &self,
        question: &Question<'_>,
        resource: Option<&'c Resource>,
        now: BootInstant,
    ) -> Decision<'c> {
        let copy = resource.and_then(|resource| resource.select(question.fields));
        let mut judged = None;
        if let Some(copy) = copy
            && copy.has_what_is_asked(question.method, question.fields)
        {
            let verdict = judge(&copy.head.fence, &copy.head.terms, question.arrival(now));
            if let Some(hit) = hit(verdict) {
                return Decision::Use(copy, hit);
            }
            judged = Some((copy, verdict));
        }
        // RFC 9211, section 2.2.
        let why = match (copy, resource) {
            (Some(copy), _) => match (plain_hit(copy, question, now), judged) {
                (Some(_), None) => Why::Partial,
                // Fresh, so that only what the request says is against it.
                (Some(hit), Some(_)) if !hit.is_stale() => Why::Request,
                _ => Why::Stale,
            },
            (None, Some(_)) => Why::VaryMiss,
            (None, None) => Why::UriMiss,
        };
        let directives = &question.directives;
        if directives.only_if_cached {
            return Decision::NotCached;
        }
        match (self.has_origin(), self.has_entries()) {
            (false, false) => return Decision::Nothing,
            (true, has_entries) => {
                // After a hard invalidation or a reset a HEAD asks about the copy like a
                // GET, in common with others.
                let asks_about_copy = matches!(judged, Some((_, Verdict::RevalidateStrictly)));
                let is_bare_head =
                    question.method == Method::HEAD && !has_entries && !asks_about_copy;
                // `no-store` is about storing: such a request shares fetches and their
                // limits like others, and what it fetches is not kept. Passed on alone it
                // would be a way around what protects the origin.
                if is_bare_head {
                    return Decision::Pass { copy: judged, why };
                }
            }
            (false, true) => {}
        }
        Decision::Forward {
            copy: judged,
            neighbour: resource.and_then(Resource::newest),
            why,
        }
    }
}

impl ProxySite {
    /// Whether only the request's token stands against using a copy.
    pub(super) fn is_forced(
        &self,
        question: &Question<'_>,
        copy: &Stored,
        now: BootInstant,
    ) -> bool {
        let without_token = Arrival {
            demand: Demand::None,
            ..question.arrival(now)
        };
        question.visit.demand == Demand::Revalidate
            && hit(judge(&copy.head.fence, &copy.head.terms, without_token)).is_some()
    }
}

/// How a copy is used; `None` if the origin has to be asked first.
pub(super) fn hit(verdict: Verdict) -> Option<Hit> {
    match verdict {
        Verdict::Use { fenced: false, .. } => Some(Hit::Fresh),
        Verdict::Use { fenced: true, .. } => Some(Hit::Fenced),
        Verdict::UseWhileRefreshing { over, fenced } => Some(Hit::Stale {
            over: over.as_secs(),
            fenced,
        }),
        Verdict::Revalidate { .. } | Verdict::RevalidateStrictly | Verdict::Refuse => None,
    }
}

/// How a copy would be used for a request that says nothing of how fresh it has to be.
fn plain_hit(copy: &Stored, question: &Question<'_>, now: BootInstant) -> Option<Hit> {
    let plain = Arrival {
        demand: Demand::None,
        directives: &RequestDirectives::default(),
        ..question.arrival(now)
    };
    hit(judge(&copy.head.fence, &copy.head.terms, plain))
}

/// Requests that mean something to the origin alone: another protocol, and conditions
/// that a cache must not evaluate (RFC 9111, section 4.3.2).
fn is_for_the_origin(request: &HeaderMap) -> bool {
    request.contains_key(IF_MATCH)
        || request.contains_key(IF_UNMODIFIED_SINCE)
        || (request.contains_key(UPGRADE) && wants_upgrade(request))
}

/// Whether another protocol than HTTP is asked for. Another version of it, or TLS, is between
/// neighbours: behind this edge it would be a way past it.
pub(super) fn wants_upgrade(request: &HeaderMap) -> bool {
    let asked_for = fields::upgrade(request).and_then(|protocols| protocols.to_str().ok());
    asked_for.is_some_and(|protocols| protocols.split(',').all(is_another_protocol))
}

fn is_another_protocol(protocol: &str) -> bool {
    let name = protocol.trim().split('/').next().unwrap_or_default();
    let of_neighbours = ["h2c", "h2", "h3", "http", "tls"];
    !name.is_empty() && !of_neighbours.iter().any(|it| name.eq_ignore_ascii_case(it))
}
