//! Errors of the rooms below as callers see them. The caller gets what to change,
//! the log gets the cause.

use std::fmt::Display;

use tidegate_domain::{Cursor, FieldError};
use tidegate_proto::{Code, Error};
use tonic::Status;

use crate::blobs::BlobError;
use crate::command::Refusal;
use crate::fleet::{
    AdmitError, HeartbeatError, Misplaced, NoSuchQuestion, StoreError, TooManyQuestions,
    TooManyWaiters,
};
use crate::log::{ProposeError, ReadError};
use crate::releases::ReleaseError;
use crate::state::ReaderError;

/// Any error on its way to a caller.
#[derive(Debug)]
pub(crate) struct Fault(Error);

impl Fault {
    pub(crate) fn new(code: Code, message: impl Into<String>) -> Self {
        Self(Error::new(code, message))
    }

    pub(crate) fn code(&self) -> Code {
        self.0.code()
    }

    /// A fault of the service. The cause goes to the log only.
    pub(crate) fn internal(cause: impl Display) -> Self {
        tracing::error!(%cause, "a call failed");
        Self::new(
            Code::Internal,
            "the control plane failed; its log says more",
        )
    }

    /// A heartbeat that acknowledges `cursor`, or nothing, is refused.
    pub(crate) fn of_heartbeat(error: HeartbeatError, cursor: Option<Cursor>) -> Self {
        let text = format!("cursor: {error}; subscribe again");
        let allowed = match error {
            HeartbeatError::Admit(error) => return error.into(),
            HeartbeatError::Misplaced(misplaced) => allowed_instead_of(misplaced),
            HeartbeatError::NeverSent(_) => "what a stream of this instance went up to",
        };
        let found = cursor.map(|cursor| cursor.to_string());
        let field = FieldError::new("cursor", found.unwrap_or_default(), allowed);
        Self(Error::new(Code::FailedPrecondition, text).naming(field))
    }

    /// A call is to go on from a cursor that is no place in this history.
    pub(crate) fn misplaced(error: Misplaced, cursor: Cursor) -> Self {
        let field = FieldError::new("cursor", cursor, allowed_instead_of(error));
        let text = format!("cursor: {error}");
        Self(Error::new(Code::FailedPrecondition, text).naming(field))
    }

    pub(crate) fn no_such_site(site: &impl Display) -> Self {
        Self::new(
            Code::NotFound,
            format!("site: there is no site \"{site}\"; PutSite creates one"),
        )
    }
}

impl From<Fault> for Status {
    fn from(fault: Fault) -> Self {
        fault.0.into()
    }
}

impl From<FieldError> for Fault {
    fn from(error: FieldError) -> Self {
        Self(error.into())
    }
}

impl From<ReaderError> for Fault {
    fn from(error: ReaderError) -> Self {
        match error {
            ReaderError::Field(field) => field.into(),
            other => Self::internal(other),
        }
    }
}

impl From<ProposeError> for Fault {
    fn from(error: ProposeError) -> Self {
        match error {
            ProposeError::Overloaded(_) => Self::new(
                Code::ResourceExhausted,
                format!("{error}; nothing was written, try again later"),
            ),
            ProposeError::Stopped => Self::new(Code::Unavailable, error.to_string()),
            ProposeError::Store(_) => Self::internal(error),
        }
    }
}

impl From<ReadError> for Fault {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::BelowFloor(_) => Self::new(Code::FailedPrecondition, error.to_string()),
            ReadError::Store(_) => Self::internal(error),
        }
    }
}

impl From<StoreError> for Fault {
    fn from(error: StoreError) -> Self {
        Self::internal(error)
    }
}

impl From<Refusal> for Fault {
    fn from(refusal: Refusal) -> Self {
        let (code, message) = match refusal {
            Refusal::NoSuchSite => (
                Code::NotFound,
                "site: there is no such site; PutSite creates one".to_owned(),
            ),
            Refusal::HostTaken { host, by } => (
                Code::AlreadyExists,
                format!(
                    "config.hosts: \"{host}\" belongs to site \"{by}\"; each host has one site"
                ),
            ),
            Refusal::SiteChanged => (
                Code::Aborted,
                "site: its configuration changed time and again meanwhile; nothing was written, \
                 try again"
                    .to_owned(),
            ),
            Refusal::NoSuchRelease => (
                Code::NotFound,
                "release: the site has no such release; ListReleases names those it has".to_owned(),
            ),
            Refusal::ActivationMoved => (
                Code::Aborted,
                "other activations of the site came in between; try again".to_owned(),
            ),
            Refusal::KeyReused => (
                Code::AlreadyExists,
                "idempotency_key: it was used for a call with other content; use a new one"
                    .to_owned(),
            ),
            Refusal::InvalidatedSince(revision) => (
                Code::Aborted,
                format!(
                    "read_as_of: revision {revision} invalidated the entry since then; read the \
                     data again and push again"
                ),
            ),
            Refusal::HistoryGone => (
                Code::Aborted,
                "read_as_of: the history since then is gone; read the data again and push again"
                    .to_owned(),
            ),
            Refusal::OverQuota(limit) => (
                Code::ResourceExhausted,
                format!(
                    "entry: nothing was stored, it would be more than {limit}, which is all there \
                     may be; delete entries, push fewer variants, or have --entry-quota or \
                     --entry-quota-bytes raised"
                ),
            ),
            Refusal::NoSuchSchedule => (
                Code::NotFound,
                "name: the site has no such schedule; ListSchedules names those it has".to_owned(),
            ),
            Refusal::TooManySchedules(most) => (
                Code::ResourceExhausted,
                format!(
                    "schedule: the site has {most} schedules, which is all it may have; delete one"
                ),
            ),
            // Of what the control plane itself proposes, and of what edges share.
            Refusal::NotDue | Refusal::HeldBetter(_) => {
                return Self::internal(format!("a call was refused as {refusal:?}"));
            }
        };
        Self::new(code, message)
    }
}

impl From<BlobError> for Fault {
    fn from(error: BlobError) -> Self {
        let code = match &error {
            BlobError::WrongDigest { .. } | BlobError::WrongSize { .. } => Code::InvalidArgument,
            BlobError::TooLarge { .. } => Code::ResourceExhausted,
            BlobError::Io { .. } => return Self::internal(error),
        };
        Self::new(code, error.to_string())
    }
}

impl From<ReleaseError> for Fault {
    fn from(error: ReleaseError) -> Self {
        match error {
            ReleaseError::Broken { field, text } => Self(Error::in_field(field, text)),
            ReleaseError::MissingBlobs { .. } => {
                Self::new(Code::FailedPrecondition, error.to_string())
            }
            ReleaseError::NoSuchSite(site) => Self::no_such_site(&site),
            ReleaseError::Refused(refusal) => refusal.into(),
            ReleaseError::Propose(error) => error.into(),
            ReleaseError::Busy => Self::new(Code::ResourceExhausted, error.to_string()),
            ReleaseError::Internal(cause) => Self::internal(cause),
        }
    }
}

impl From<TooManyWaiters> for Fault {
    fn from(error: TooManyWaiters) -> Self {
        Self::new(
            Code::ResourceExhausted,
            format!("wait_for: {error}; nothing was written, try again or do not wait"),
        )
    }
}

impl From<AdmitError> for Fault {
    fn from(error: AdmitError) -> Self {
        let text = error.to_string();
        match error {
            AdmitError::OtherEdge { instance, .. } => {
                let allowed = "an id that no other edge has: a random one for each start";
                let field = FieldError::new("instance_id", instance, allowed);
                Self(Error::new(Code::FailedPrecondition, text).naming(field))
            }
            AdmitError::TooMany(_) => Self::new(Code::ResourceExhausted, text),
        }
    }
}

/// What would have been a place in this history.
fn allowed_instead_of(misplaced: Misplaced) -> &'static str {
    match misplaced {
        Misplaced::UnknownEpoch | Misplaced::UnknownTerm => "a cursor that this history gave",
        Misplaced::BelowFloor => "a cursor that the log still goes back to",
        Misplaced::AheadOfHead => "a revision up to the newest durable one",
    }
}

impl From<TooManyQuestions> for Fault {
    fn from(error: TooManyQuestions) -> Self {
        Self::new(Code::ResourceExhausted, error.to_string())
    }
}

impl From<NoSuchQuestion> for Fault {
    fn from(error: NoSuchQuestion) -> Self {
        Self::new(Code::NotFound, format!("query_id: {error}"))
    }
}

impl From<tokio::task::JoinError> for Fault {
    fn from(error: tokio::task::JoinError) -> Self {
        Self::internal(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_used_up_how_much_there_is_and_what_to_change_is_said() {
        let refusal = Refusal::OverQuota("7 entries of one site".to_owned());
        let status = Status::from(Fault::from(refusal));
        assert_eq!(status.code(), tonic::Code::ResourceExhausted);
        for part in ["7 entries of one site", "delete", "--entry-quota"] {
            assert!(status.message().contains(part), "{status:?}");
        }
    }
}
