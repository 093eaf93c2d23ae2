//! What the cache can say to a request at once.

use std::sync::Arc;

use http::request::Parts;
use http::{HeaderMap, Method, Response, StatusCode};
use tidegate_clock::BootInstant;

use super::answer;
use super::body::Body;
use super::decide::{Decision, hit};
use super::site::{ProxySite, count};
use super::status::{Hit, Status, Why};
use super::visit::{Ask, Visit, port};
use crate::cache::judge::{Arrival, Fallback, Verdict, judge};
use crate::cache::key::{Key, KeyRef};
use crate::cache::policy::freshness::is_failure;
use crate::cache::stored::Stored;
use crate::origin::OriginError;

/// What comes of a look-up.
pub(super) enum Looked {
    /// The answer.
    Answer(Response<Body>),
    /// The origin is to be asked, together with others who ask the same.
    Forward(Box<Ask>, Found),
    /// The request is to be passed on as it is.
    Pass(Box<Ask>, Found),
    /// There is nothing that could answer: no origin, and for a GET no entry either.
    Nothing,
    /// What is stored under this key may be on disk.
    OnDisk(Box<Key>),
}

/// Where a look goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Depth {
    /// To memory, and to the disk for what is not there.
    Disk,
    /// To memory alone.
    Memory,
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
    /// Only the request's token stands against using the copy.
    pub(super) is_forced: bool,
}

impl Found {
    /// Nothing is there, or of use.
    pub(super) fn nothing(why: Why) -> Self {
        Self {
            copy: None,
            verdict: None,
            neighbour: None,
            why,
            is_forced: false,
        }
    }

    /// A 304 is believed only for what tells two versions apart for certain.
    pub(super) fn is_strict(&self) -> bool {
        self.verdict == Some(Verdict::RevalidateStrictly)
    }

    /// The copy, if it may be used in place of an answer with this status.
    pub(super) fn despite(&self, status: StatusCode) -> Option<&Arc<Stored>> {
        let may = is_failure(status) && self.fallback() == Fallback::IfFailed;
        self.copy.as_ref().filter(|_| may)
    }

    /// The copy, if it may be used where there is no answer.
    pub(super) fn without_answer(&self, error: &OriginError) -> Option<&Arc<Stored>> {
        if let OriginError::Failing(status) = error {
            return self.despite(*status);
        }
        let may = match self.fallback() {
            Fallback::None => false,
            Fallback::IfUnreachable => error.is_unreachable(),
            Fallback::IfFailed => true,
        };
        self.copy.as_ref().filter(|_| may)
    }

    fn fallback(&self) -> Fallback {
        match self.verdict {
            Some(Verdict::Revalidate { fallback }) => fallback,
            _ => Fallback::None,
        }
    }
}

impl ProxySite {
    /// Looks a request up. Takes no lock but the shared one of a shard of the storage.
    pub(super) fn look(self: &Arc<Self>, parts: &Parts, visit: &Visit<'_>, depth: Depth) -> Looked {
        // Read before all else: a fetch with a higher number began after this request.
        let after = self.shared.last_serial();
        let request = &parts.headers;
        let question = self.question(&parts.method, request, port(&parts.uri, request), visit);
        let ask = || {
            Box::new(Ask {
                target: question.target().clone(),
                method: parts.method.clone(),
                fields: request.clone(),
                key: self.own_key(question.key()),
                client: visit.client,
                secure: visit.secure,
                version: parts.version,
                moment: visit.moment,
                demand: visit.demand,
                trust: question.trust,
                directives: question.directives.clone(),
                interim: visit.interim.cloned(),
                after,
            })
        };
        // Before anything waits: by then there has to be room for what may be said.
        let ask_origin = || {
            visit.interim.inspect(|interim| interim.expect());
            ask()
        };
        let now = self.shared.now();
        let resource;
        let decision = match self.decide_unseen(&question) {
            Some(unseen) => unseen,
            None => {
                let key = question.key();
                resource = self.shared.storage.get(&key);
                if resource.is_none() && depth == Depth::Disk && self.may_be_on_disk(&key) {
                    return Looked::OnDisk(Box::new(key.to_key()));
                }
                self.decide(&question, resource.as_deref(), now)
            }
        };
        match decision {
            Decision::Use(copy, hit) => {
                count(&self.counts.hits);
                copy.uses.add();
                if hit.is_stale() {
                    self.refresh(&ask(), copy);
                }
                Looked::Answer(used(copy, &parts.method, request, now, hit))
            }
            Decision::Forward {
                copy,
                neighbour,
                why,
            } => {
                let found = Found {
                    copy: copy.map(|(copy, _)| copy.clone()),
                    verdict: copy.map(|(_, verdict)| verdict),
                    neighbour: neighbour.cloned(),
                    is_forced: copy.is_some_and(|(copy, _)| self.is_forced(&question, copy, now)),
                    why,
                };
                Looked::Forward(ask_origin(), found)
            }
            Decision::Pass { copy, why } => {
                let found = Found {
                    copy: copy.map(|(copy, _)| copy.clone()),
                    verdict: copy.map(|(_, verdict)| verdict),
                    ..Found::nothing(why)
                };
                Looked::Pass(ask_origin(), found)
            }
            Decision::NotCached => Looked::Answer(not_cached()),
            Decision::Refuse => Looked::Answer(refused()),
            Decision::Nothing => Looked::Nothing,
        }
    }

    /// Whether what is not in memory may be on disk. Looks into memory alone.
    pub(super) fn may_be_on_disk(&self, key: &KeyRef<'_>) -> bool {
        let disk = self.shared.storage.disk();
        disk.is_some_and(|disk| disk.may_hold(key))
    }

    /// Looks again, when a fetch has ended since the first look.
    pub(super) fn look_again(&self, ask: &Ask) -> Option<Response<Body>> {
        let resource = self.shared.storage.peek(&ask.key.as_ref())?;
        let copy = resource
            .select(&ask.fields)
            .filter(|copy| copy.has_what_is_asked(&ask.method, &ask.fields))?;
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
            .filter(|hit| !hit.is_stale())?;
        count(&self.counts.hits);
        Some(used(copy, &ask.method, &ask.fields, now, hit))
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
    match hit.is_stale() {
        true => answer::stale(copy, method, request, age, Status::Hit(hit)),
        false => answer::stored(copy, method, request, age, Status::Hit(hit)),
    }
}

fn not_cached() -> Response<Body> {
    answer::text(
        StatusCode::GATEWAY_TIMEOUT,
        "It is not in the cache.\n",
        Status::Refused("only-if-cached"),
    )
}

fn refused() -> Response<Body> {
    answer::text(
        StatusCode::SERVICE_UNAVAILABLE,
        "The site cannot be served at this moment.\n",
        Status::Refused("fenced"),
    )
}
