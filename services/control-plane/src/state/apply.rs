//! Applies one command.

use std::time::{Duration, SystemTime};

use tidegate_domain::{Epoch, Mode, Revision, SiteName, Term};
use tidegate_proto::storage::v1 as storage;
use tidegate_proto::{EVENT_VERSION, time_to_wire, v1};
use v1::event::Kind;

use super::overlay::Overlay;
use super::store::StoreError;
use super::{entry, invalidation, keys, release, schedule, shared_entry, site};
use crate::command::{Command, Detail, Outcome, Proposal, Refusal};

/// What a site may keep of pushed entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EntryQuota {
    /// Entries of one site, each variant counted.
    pub entries: u64,
    /// Their bytes, bodies and fields.
    pub bytes: u64,
}

impl Default for EntryQuota {
    fn default() -> Self {
        Self {
            entries: 10_000,
            bytes: 1 << 30,
        }
    }
}

/// What commands are judged by besides what they find. All replicas of one log need
/// the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// What a site may keep of pushed entries.
    pub entry_quota: EntryQuota,
    /// How long a repeated call has no second effect.
    pub idempotency: Duration,
}

/// Applies commands of one term.
#[derive(Debug, Clone, Copy)]
pub struct State {
    epoch: Epoch,
    term: Term,
    rules: Rules,
}

/// What came of a command.
#[derive(Debug)]
pub struct Applied {
    /// What the caller is told.
    pub outcome: Outcome,
    /// What others see; with a revision if and only if there is one.
    pub event: Option<v1::Event>,
    /// The site whose view changed, if one did.
    pub site_changed: Option<SiteName>,
}

/// What a command finds when it is applied.
pub(crate) struct Context<'c, 'o> {
    pub(crate) epoch: Epoch,
    pub(crate) rules: Rules,
    pub(crate) revision: Revision,
    pub(crate) time: SystemTime,
    pub(crate) caller: &'c str,
    pub(crate) idempotency_scope: &'c str,
    pub(crate) overlay: &'c mut Overlay<'o>,
}

/// What a command does.
pub(crate) enum Effect {
    Applied {
        kind: Box<Kind>,
        detail: Detail,
        site_changed: bool,
    },
    Unchanged(Revision),
    Refused(Refusal),
}

impl Effect {
    /// An effect that others see as `kind`.
    pub(crate) fn of(kind: Kind) -> Self {
        Self::Applied {
            kind: Box::new(kind),
            detail: Detail::None,
            site_changed: false,
        }
    }
}

impl State {
    /// Applies commands of the run `term` of the history `epoch`.
    #[must_use]
    pub fn new(epoch: Epoch, term: Term, rules: Rules) -> Self {
        Self { epoch, term, rules }
    }

    /// Begins the term: the first record of a run.
    pub fn begin_term(
        &self,
        revision: Revision,
        time: SystemTime,
        overlay: &mut Overlay<'_>,
    ) -> v1::Event {
        let record = storage::TermRecord { term: self.term.0 };
        overlay.put_message(keys::term(revision), &record);
        v1::Event {
            revision: revision.0,
            term: self.term.0,
            version: EVENT_VERSION,
            time: Some(time_to_wire(time)),
            kind: Some(Kind::Noted(v1::Noted {})),
            ..v1::Event::default()
        }
    }

    /// Applies a command that would have this revision. If it is refused or changes
    /// nothing, it leaves no trace and the revision goes to the next one.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn apply(
        &self,
        revision: Revision,
        proposal: &Proposal,
        overlay: &mut Overlay<'_>,
    ) -> Result<Applied, StoreError> {
        overlay.begin();
        let mut context = Context {
            epoch: self.epoch,
            rules: self.rules,
            revision,
            time: proposal.time,
            caller: &proposal.caller,
            idempotency_scope: &proposal.idempotency_scope,
            overlay,
        };
        let effect = perform(&mut context, &proposal.command)?;
        let outcome = match effect {
            Effect::Applied {
                kind,
                detail,
                site_changed,
            } => {
                let site = proposal.command.site();
                return Ok(Applied {
                    outcome: Outcome::Applied { revision, detail },
                    event: Some(self.event(revision, proposal, *kind)),
                    site_changed: site_changed.then(|| site.clone()),
                });
            }
            Effect::Unchanged(revision) => Outcome::Unchanged { revision },
            Effect::Refused(refusal) => Outcome::Refused(refusal),
        };
        overlay.roll_back();
        Ok(Applied {
            outcome,
            event: None,
            site_changed: None,
        })
    }

    fn event(&self, revision: Revision, proposal: &Proposal, kind: Kind) -> v1::Event {
        v1::Event {
            revision: revision.0,
            term: self.term.0,
            version: EVENT_VERSION,
            site: proposal.command.site().to_string(),
            time: Some(time_to_wire(proposal.time)),
            traceparent: proposal.traceparent.clone(),
            tracestate: proposal.tracestate.clone(),
            kind: Some(kind),
        }
    }
}

fn perform(cx: &mut Context<'_, '_>, command: &Command) -> Result<Effect, StoreError> {
    match command {
        Command::PutSite { site, config } => site::put(cx, site, config),
        Command::DeleteSite { site } => site::delete(cx, site),
        Command::PublishRelease {
            site,
            manifest,
            label,
            pages,
            assets,
            bytes,
        } => {
            let release = v1::Release {
                id: manifest.to_string(),
                label: label.clone(),
                published_at: Some(time_to_wire(cx.time)),
                revision: cx.revision.0,
                active: false,
                pages: *pages,
                assets: *assets,
                bytes: *bytes,
            };
            release::publish(cx, site, release)
        }
        Command::ActivateRelease {
            site,
            release,
            from,
            since,
            patterns,
            reason,
        } => {
            let activation = release::Activation {
                release,
                from: *from,
                since,
                patterns,
                reason,
            };
            release::activate(cx, site, &activation)
        }
        Command::PruneReleases { site, keep } => release::prune(cx, site, *keep),
        Command::Invalidate {
            site,
            site_revision,
            patterns,
            mode,
            spread,
            reason,
            idempotency_key,
            content,
        } => {
            let call = invalidation::Call {
                site_revision: *site_revision,
                patterns,
                mode: *mode,
                spread: *spread,
                reason,
                idempotency_key,
                content,
            };
            invalidation::invalidate(cx, site, &call)
        }
        Command::PreloadHint {
            site,
            site_revision,
            urls,
            audience,
        } => site::tell(cx, site, Some(*site_revision), || {
            Kind::Preloaded(v1::Preloaded {
                urls: texts(urls),
                audience: texts(audience),
            })
        }),
        Command::PublishEvent {
            site,
            event_type,
            data,
            audience,
        } => site::tell(cx, site, None, || {
            Kind::Published(v1::Published {
                r#type: event_type.to_string(),
                data: data.clone(),
                audience: texts(audience),
            })
        }),
        Command::PutEntry {
            site,
            site_revision,
            entry,
            read_as_of,
        } => entry::put(cx, site, *site_revision, entry, read_as_of),
        Command::StoreEntry {
            site,
            site_revision,
            entry,
            filled_at,
        } => shared_entry::store(cx, site, *site_revision, entry, filled_at),
        Command::CollectExpired { site } => entry::collect(cx, site),
        Command::DeleteEntry {
            site,
            site_revision,
            url,
        } => entry::delete(cx, site, *site_revision, url),
        Command::PutSchedule {
            site,
            name,
            schedule,
            first_due,
        } => schedule::put(cx, site, name, schedule, *first_due),
        Command::DeleteSchedule { site, name } => schedule::delete(cx, site, name),
        Command::FireSchedule {
            site,
            site_revision,
            name,
            put_at,
            due,
            next_due,
            patterns,
        } => {
            let firing = schedule::Firing {
                site_revision: *site_revision,
                name,
                put_at: *put_at,
                due: *due,
                next_due: *next_due,
                patterns,
            };
            schedule::fire(cx, site, &firing)
        }
    }
}

/// An invalidation as others see it.
pub(crate) fn invalidated(
    patterns: Vec<String>,
    mode: Mode,
    spread: Option<Duration>,
    cause: v1::InvalidationCause,
) -> Kind {
    Kind::Invalidated(v1::Invalidated {
        patterns,
        mode: tidegate_proto::mode_to_wire(mode).into(),
        spread: spread.map(tidegate_proto::duration_to_wire),
        cause: cause.into(),
    })
}

pub(crate) fn texts<T: ToString>(list: &[T]) -> Vec<String> {
    list.iter().map(T::to_string).collect()
}
