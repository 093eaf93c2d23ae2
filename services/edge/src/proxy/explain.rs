//! What would be done with a GET, and why: decided as for a request, and not done.
//! Nothing is counted, and no copy becomes less likely to be evicted.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, Method, StatusCode};
use tidegate_clock::BootInstant;
use tidegate_domain::{Mode, Revision, Tag};

use super::decide::{Decision, Question};
use super::not_shared::Outlook;
use super::site::ProxySite;
use super::status::Why;
use super::visit::Visit;
use crate::cache::judge::{Ground, Trust, Verdict, weigh};
use crate::cache::key::KeyRef;
use crate::cache::policy::asked::Asked;
use crate::cache::resource::Resource;
use crate::cache::stored::Stored;
use crate::standing::Lease;

/// What would be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Would {
    /// Serve the stored response.
    Hit,
    /// Serve the stored response, which is stale, and refresh it behind that, unless the reason
    /// says otherwise.
    Stale,
    /// Ask the origin whether the stored response still holds.
    Revalidate,
    /// Ask the origin for the response.
    Fetch,
    /// Pass the request to the origin and store nothing.
    Pass,
    /// Answer that it cannot be answered.
    Refuse,
    /// There is neither an origin nor an entry that could answer.
    Nothing,
}

/// What would be done with a request, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    /// What.
    pub would: Would,
    /// Why, for people, in a sentence.
    pub reason: String,
    /// The stored response that the request selects.
    pub copy: Option<CopyFacts>,
    /// How many responses are stored under the key.
    pub variants: usize,
    /// The key, for people.
    pub key: String,
}

/// What is known of a stored response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopyFacts {
    /// Status.
    pub status: StatusCode,
    /// How long ago it was stored or last validated.
    pub stored_ago: Duration,
    /// The revision in which its fetch began.
    pub filled: Revision,
    /// The edge has begun a new era since.
    pub earlier_era: bool,
    /// Its tags, with the implicit ones.
    pub tags: Vec<Tag>,
    /// For how long it is fresh yet by its own fields, and for how long it has been stale:
    /// one of both is zero.
    pub left_and_over: (Duration, Duration),
    /// Bytes of its body.
    pub size: usize,
    /// Its entity tag.
    pub etag: Option<String>,
    /// The last invalidation that hit one of its tags.
    pub last_hit: Option<LastHit>,
}

/// An invalidation that hit a stored response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastHit {
    /// Its position.
    pub revision: Revision,
    /// How strict it was.
    pub mode: Mode,
    /// The tag that it hit; `*` for everything on the site.
    pub tag: String,
    /// It came after the fetch of the response began, so that it counts.
    pub after_fill: bool,
}

impl ProxySite {
    /// Says what would be done with a GET for this visit, were it asked now.
    #[must_use]
    pub fn explain(&self, fields: &HeaderMap, named_port: u16, visit: &Visit<'_>) -> Explanation {
        let (usual_port, secure) = self.usual_way(visit.host);
        let port = match named_port {
            0 => usual_port,
            port => port,
        };
        let visit = &Visit { secure, ..*visit };
        let fields = &mut fields.clone();
        self.borrow_setup().ignored.remove_from(fields);
        let question = self.question(&Method::GET, fields, port, visit);
        let now = self.shared.now();
        let resource = self.shared.storage.peek(&question.key());
        let decision = match self.decide_unseen(&question) {
            Some(unseen) => unseen,
            None => self.decide(&question, resource.as_deref(), now),
        };
        let copy = resource.as_ref().and_then(|it| it.select(fields));
        let (would, mut reason) = self.reason(&question, &decision, resource.as_deref(), now);
        let is_looked_for = would == Would::Fetch && resource.is_none();
        if is_looked_for && self.may_be_on_disk(&question.key()) {
            // What it is would take a read to say.
            reason
                .push_str("; but first what is on disk of it is brought back to memory and judged");
        }
        Explanation {
            would,
            reason,
            copy: copy.map(|copy| facts(copy, &question, now)),
            variants: resource.as_ref().map_or(0, |it| it.variants().len()),
            key: readable(question.key()),
        }
    }

    /// The port by which a host that is named without one is asked for, and whether over TLS.
    fn usual_way(&self, host: &str) -> (u16, bool) {
        let known = self.ways.of(host);
        known.map_or((0, false), |known| (known.port, known.secure))
    }

    fn reason(
        &self,
        question: &Question<'_>,
        decision: &Decision<'_>,
        resource: Option<&Resource>,
        now: BootInstant,
    ) -> (Would, String) {
        match decision {
            Decision::Use(copy, _) => self.of_copy(copy, question, now),
            Decision::Forward {
                copy: Some((copy, _)),
                ..
            } if self.has_origin() => self.of_copy(copy, question, now),
            Decision::Forward {
                copy: Some((copy, _)),
                ..
            } => {
                let (_, reason) = self.of_copy(copy, question, now);
                (
                    Would::Fetch,
                    format!("{reason}; what backends have pushed is looked through"),
                )
            }
            Decision::Forward {
                copy: None,
                why: Why::Partial,
                ..
            } => (
                Would::Fetch,
                "stored in part, and not all of what is asked for is there".to_owned(),
            ),
            Decision::Forward { copy: None, .. } => self.of_none(question, resource),
            Decision::Pass { .. } => (
                Would::Pass,
                "the request is for the origin alone".to_owned(),
            ),
            Decision::NotCached => (
                Would::Refuse,
                "the request says only-if-cached, and nothing stored will do".to_owned(),
            ),
            Decision::Refuse => (
                Would::Refuse,
                format!(
                    "{}, and the site chose to fail without one",
                    lease(question.visit.moment.lease)
                ),
            ),
            Decision::Nothing => (Would::Nothing, "no origin is configured".to_owned()),
        }
    }

    /// Where nothing is stored that the request would select.
    fn of_none(&self, question: &Question<'_>, resource: Option<&Resource>) -> (Would, String) {
        if let Some(other) = resource.and_then(Resource::newest) {
            let names = other.head.selection.names();
            let varies = format!("stored for other values of {names}, not for these");
            return (Would::Fetch, varies);
        }
        let asked = Asked::of(question.fields);
        let key = question.key().to_key();
        match self.shared.outlook(&key, asked) {
            Outlook::Alike if self.has_origin() => {
                let lately = "not stored, because its response could not be shared a moment ago";
                return (Would::Pass, lately.to_owned());
            }
            Outlook::LikelyAlike if self.has_origin() => {
                let lately = "not stored, and not waited for, because it was refused a moment ago";
                return (Would::Fetch, lately.to_owned());
            }
            _ => {}
        }
        let mut reason = "not stored".to_owned();
        if question.trust == Trust::Leased {
            if question.setup.site.config().cache.second_tier.is_some() {
                reason.push_str(
                    "; what backends have pushed and edges share is looked through first",
                );
            } else if self.has_entries() {
                reason.push_str("; what backends have pushed is looked through first");
            }
        }
        (Would::Fetch, reason)
    }

    /// Why a copy is used or not.
    fn of_copy(
        &self,
        copy: &Arc<Stored>,
        question: &Question<'_>,
        now: BootInstant,
    ) -> (Would, String) {
        let head = &copy.head;
        let judgement = weigh(&head.fence, &head.terms, question.arrival(now));
        let mut reason = ground(copy, question, judgement.ground);
        let (setup, fields) = (&question.setup, question.fields);
        let would = match judgement.verdict {
            Verdict::Use { .. } => Would::Hit,
            Verdict::UseWhileRefreshing { .. } => Would::Stale,
            Verdict::Revalidate { .. } | Verdict::RevalidateStrictly => {
                let is_strict = judgement.verdict == Verdict::RevalidateStrictly;
                match self.conditions(setup, fields, copy, is_strict).is_empty() {
                    true => Would::Fetch,
                    false => Would::Revalidate,
                }
            }
            Verdict::Refuse => Would::Refuse,
        };
        if question.trust == Trust::Fenced {
            let since = lease(question.visit.moment.lease);
            // Writing to a string does not fail.
            let _ = write!(
                reason,
                "; {since}, and the site serves its copies without one"
            );
        }
        if self.has_origin() {
            let is_for_asker = self.is_for_asker_alone(setup, fields, copy);
            reason.push_str(match (would, is_for_asker) {
                (Would::Fetch, true) => {
                    "; what the origin answers is for this visitor alone, and by no entity tag \
                     could it confirm the copy"
                }
                (Would::Fetch, false) => "; it has nothing by which the origin could confirm it",
                (Would::Stale, true) => {
                    "; this request does not refresh it, because what the origin answers is for \
                     this visitor alone"
                }
                _ => "",
            });
        }
        (would, reason)
    }
}

fn ground(copy: &Stored, question: &Question<'_>, ground: Ground) -> String {
    let filled = copy.head.fence.filled.revision();
    match ground {
        Ground::Fresh(left) => format!("fresh for {}", seconds(left)),
        Ground::Stale(over) => format!("stale for {}", seconds(over)),
        Ground::SoftInvalidated => invalidated(copy),
        Ground::HardInvalidated if copy.head.fence.is_changed_here() => {
            "an unsafe request through this edge changed the URL after its fetch began".to_owned()
        }
        Ground::HardInvalidated => invalidated(copy),
        Ground::Token(token) => format!(
            "the request asks for revision {token}, a soft invalidation hit it, and its fetch \
             began at revision {filled}"
        ),
        Ground::UnknownToken => {
            "the request asks for a revision that this edge has not applied".to_owned()
        }
        Ground::EarlierEra => {
            "of an earlier era: this edge has begun anew from a snapshot since it was stored"
                .to_owned()
        }
        Ground::NoLease => format!(
            "{}: revalidated before every use",
            lease(question.visit.moment.lease)
        ),
        Ground::OriginsNoCache => "the origin wants every use of it validated".to_owned(),
        Ground::Request => "the request asks for a fresher one".to_owned(),
    }
}

fn invalidated(copy: &Stored) -> String {
    let filled = copy.head.fence.filled.revision();
    let Some(hit) = last_hit(copy) else {
        return format!("invalidated after its fetch began at revision {filled}");
    };
    let mode = match hit.mode {
        Mode::Hard => "hard",
        Mode::Soft => "soft",
    };
    let what = match hit.tag.as_str() {
        "*" => "everything on the site".to_owned(),
        tag => format!("tag {tag}"),
    };
    format!(
        "{what} was {mode}-invalidated at revision {}, after its fetch began at revision {filled}",
        hit.revision
    )
}

fn lease(lease: Lease) -> String {
    match lease {
        Lease::Held => "the lease is held".to_owned(),
        Lease::Lost(ago) => format!("no lease since {}", seconds(ago)),
        Lease::Never => "no lease yet".to_owned(),
    }
}

fn seconds(duration: Duration) -> String {
    match duration.as_secs() {
        0 => "less than 1 s".to_owned(),
        whole => format!("{whole} s"),
    }
}

fn facts(copy: &Stored, question: &Question<'_>, now: BootInstant) -> CopyFacts {
    let head = &copy.head;
    CopyFacts {
        status: head.status,
        stored_ago: now.saturating_since(head.terms.freshness.received),
        filled: head.fence.filled.revision(),
        earlier_era: head.fence.filled.era() < question.visit.moment.era,
        tags: head.fence.tags().cloned().collect(),
        left_and_over: head.terms.freshness.left_and_over(now),
        size: copy.body.len(),
        etag: head.validators().etag.map(ToOwned::to_owned),
        last_hit: last_hit(copy),
    }
}

fn last_hit(copy: &Stored) -> Option<LastHit> {
    let fence = &copy.head.fence;
    let hit = fence.last_hit()?;
    Some(LastHit {
        revision: hit.stamp.revision(),
        mode: hit.mode,
        tag: hit.tag.map_or("*".to_owned(), |tag| tag.to_string()),
        after_fill: hit.stamp > fence.filled,
    })
}

fn readable(key: KeyRef<'_>) -> String {
    let mut text = String::new();
    if key.secure {
        text.push_str("https://");
    }
    text.push_str(key.host);
    if key.port != 0 {
        let _ = write!(text, ":{}", key.port);
    }
    text.push_str(key.url.as_str());
    if let Some(extra) = key.extra {
        let _ = write!(text, " with {:?}", extra.trim_end());
    }
    text
}
