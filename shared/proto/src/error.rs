//! One set of errors for gRPC and HTTP.

use std::fmt;

use tidegate_domain::FieldError;
use tonic_types::{ErrorDetails, StatusExt as _};

const DOMAIN: &str = "tidegate";

/// What kind of failure a caller meets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Code {
    /// Something the caller sent breaks a rule.
    InvalidArgument,
    /// What was named does not exist.
    NotFound,
    /// It exists already, with other content.
    AlreadyExists,
    /// Something has to be done first.
    FailedPrecondition,
    /// Something else came in between: read again and try again.
    Aborted,
    /// A limit or a quota is used up.
    ResourceExhausted,
    /// Not built.
    Unimplemented,
    /// Not now; try again.
    Unavailable,
    /// The time was up.
    DeadlineExceeded,
    /// A fault of the service; the log says more.
    Internal,
}

impl Code {
    /// All codes.
    pub const ALL: [Self; 10] = [
        Self::InvalidArgument,
        Self::NotFound,
        Self::AlreadyExists,
        Self::FailedPrecondition,
        Self::Aborted,
        Self::ResourceExhausted,
        Self::Unimplemented,
        Self::Unavailable,
        Self::DeadlineExceeded,
        Self::Internal,
    ];

    /// The gRPC code.
    #[must_use]
    pub fn grpc(self) -> tonic::Code {
        match self {
            Self::InvalidArgument => tonic::Code::InvalidArgument,
            Self::NotFound => tonic::Code::NotFound,
            Self::AlreadyExists => tonic::Code::AlreadyExists,
            Self::FailedPrecondition => tonic::Code::FailedPrecondition,
            Self::Aborted => tonic::Code::Aborted,
            Self::ResourceExhausted => tonic::Code::ResourceExhausted,
            Self::Unimplemented => tonic::Code::Unimplemented,
            Self::Unavailable => tonic::Code::Unavailable,
            Self::DeadlineExceeded => tonic::Code::DeadlineExceeded,
            Self::Internal => tonic::Code::Internal,
        }
    }

    /// The HTTP status.
    #[must_use]
    pub fn http(self) -> http::StatusCode {
        match self {
            Self::InvalidArgument => http::StatusCode::BAD_REQUEST,
            Self::NotFound => http::StatusCode::NOT_FOUND,
            Self::AlreadyExists | Self::Aborted => http::StatusCode::CONFLICT,
            Self::FailedPrecondition => http::StatusCode::PRECONDITION_FAILED,
            Self::ResourceExhausted => http::StatusCode::TOO_MANY_REQUESTS,
            Self::Unimplemented => http::StatusCode::NOT_IMPLEMENTED,
            Self::Unavailable => http::StatusCode::SERVICE_UNAVAILABLE,
            Self::DeadlineExceeded => http::StatusCode::GATEWAY_TIMEOUT,
            Self::Internal => http::StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// The reason in `ErrorInfo`, as `google.rpc` writes reasons.
    #[must_use]
    pub fn reason(self) -> &'static str {
        match self {
            Self::InvalidArgument => "INVALID_ARGUMENT",
            Self::NotFound => "NOT_FOUND",
            Self::AlreadyExists => "ALREADY_EXISTS",
            Self::FailedPrecondition => "FAILED_PRECONDITION",
            Self::Aborted => "ABORTED",
            Self::ResourceExhausted => "RESOURCE_EXHAUSTED",
            Self::Unimplemented => "UNIMPLEMENTED",
            Self::Unavailable => "UNAVAILABLE",
            Self::DeadlineExceeded => "DEADLINE_EXCEEDED",
            Self::Internal => "INTERNAL",
        }
    }
}

/// An error as a caller sees it. The cause of an [`Code::Internal`] one belongs in
/// the log, not here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    code: Code,
    message: String,
    violation: Option<Violation>,
}

/// What is wrong with which field.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Violation {
    field: String,
    description: String,
}

impl Error {
    /// An error that says what to change.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            violation: None,
        }
    }

    /// An error of a field that the caller sent, in a text of its own.
    pub fn in_field(field: impl Into<String>, message: impl Into<String>) -> Self {
        let message = message.into();
        Self {
            code: Code::InvalidArgument,
            violation: Some(Violation {
                field: field.into(),
                description: message.clone(),
            }),
            message,
        }
    }

    /// Names the field that is to blame, in the details: also where the request alone
    /// breaks no rule, and what it says does not fit to what is known.
    #[must_use]
    pub fn naming(self, field: FieldError) -> Self {
        Self {
            violation: Some(field.into()),
            ..self
        }
    }

    /// The kind of failure.
    #[must_use]
    pub fn code(&self) -> Code {
        self.code
    }

    /// The text.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }
}

impl From<FieldError> for Error {
    fn from(field: FieldError) -> Self {
        Self {
            code: Code::InvalidArgument,
            message: field.to_string(),
            violation: Some(field.into()),
        }
    }
}

impl From<FieldError> for Violation {
    fn from(field: FieldError) -> Self {
        Self {
            description: format!("\"{}\"; allowed: {}", field.value, field.allowed),
            field: field.field,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

impl From<Error> for tonic::Status {
    fn from(error: Error) -> Self {
        let mut details = ErrorDetails::new();
        details.set_error_info(error.code.reason(), DOMAIN, []);
        if let Some(violation) = error.violation {
            details.add_bad_request_violation(violation.field, violation.description);
        }
        Self::with_error_details(error.code.grpc(), error.message, details)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_its_own_grpc_code_and_reason() {
        let grpc: std::collections::HashSet<_> = Code::ALL.iter().map(|c| c.grpc()).collect();
        let reasons: std::collections::HashSet<_> = Code::ALL.iter().map(|c| c.reason()).collect();
        assert_eq!(
            (grpc.len(), reasons.len()),
            (Code::ALL.len(), Code::ALL.len())
        );
    }

    #[test]
    fn a_field_error_travels_as_bad_request_details() {
        let field = FieldError::new("tags[0]", "a b", "no space");
        let status = tonic::Status::from(Error::from(field));
        assert_eq!(status.code(), tonic::Code::InvalidArgument);
        assert!(status.message().contains("tags[0]"));
        let details = status.get_error_details();
        let violations = &details.bad_request().unwrap().field_violations;
        assert_eq!(violations[0].field, "tags[0]");
        assert_eq!(details.error_info().unwrap().domain, DOMAIN);
    }
}
