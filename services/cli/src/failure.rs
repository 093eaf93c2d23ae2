//! What went wrong, for people and for programs, and the exit code that says so.

use std::error::Error as _;
use std::fmt::Write as _;
use std::io;
use std::path::Path;
use std::process::ExitCode;

use serde::Serialize;
use tidegate_domain::FieldError;
use tidegate_telemetry::grpc::code_name;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Done.
    Done,
    /// Failed.
    Failed,
    /// The command line is wrong.
    Usage,
    /// The wait ended before every edge had answered.
    Incomplete,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

impl Exit {
    /// The code the process ends with.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Incomplete => 3,
        }
    }
}

/// Why a command failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    exit: Exit,
    /// The gRPC code by name, or `USAGE`, `FILE`, `STDOUT`, `STDIN`, `BUILD`.
    code: &'static str,
    message: String,
    /// Fields that are wrong.
    violations: Vec<Violation>,
    /// What to do about it.
    advice: Option<String>,
}

/// One field that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Violation {
    /// Its path, such as `tags[3]`.
    pub field: String,
    /// What is wrong with it, and what is allowed.
    pub description: String,
}

impl Failure {
    /// A failure of this kind.
    pub fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self {
            exit: Exit::Failed,
            code,
            message: message.into(),
            violations: Vec::new(),
            advice: None,
        }
    }

    /// The command line is wrong.
    pub fn usage(message: impl Into<String>) -> Self {
        Self {
            exit: Exit::Usage,
            ..Self::new("USAGE", message)
        }
    }

    /// A file cannot be read or written.
    #[must_use]
    pub fn file(path: &Path, error: &io::Error) -> Self {
        Self::new("FILE", format!("{}: {error}", path.display()))
    }

    /// A field of a file is wrong.
    #[must_use]
    pub fn field(path: &Path, error: &FieldError) -> Self {
        let mut failure = Self::new("FILE", format!("{}: {error}", path.display()));
        failure.violations.push(Violation {
            field: error.field.clone(),
            description: format!("\"{}\"; allowed: {}", error.value, error.allowed),
        });
        failure
    }

    /// Results cannot be written.
    #[must_use]
    pub fn stdout(error: &io::Error) -> Self {
        Self::new(
            if error.kind() == io::ErrorKind::BrokenPipe {
                "STDOUT_CLOSED"
            } else {
                "STDOUT"
            },
            format!("standard output: {error}"),
        )
    }

    /// What the control plane at `address` answered, or that it did not.
    #[must_use]
    pub fn from_status(status: &Status, address: &str) -> Self {
        if chain(status).any(|error| error.is::<tonic::TimeoutExpired>()) {
            return Self::new(
                code_name(Code::DeadlineExceeded),
                format!("the control plane at {address} did not answer in time"),
            );
        }
        if let Some(cause) = unreachable_cause(status) {
            return Self::new(
                code_name(status.code()),
                format!("the control plane at {address} cannot be reached: {cause}"),
            )
            .advise("Start it, or name another address with --control or TIDEGATE_CONTROL.");
        }
        let details = status.get_error_details();
        let violations = details.bad_request().into_iter();
        let mut failure = Self::new(code_name(status.code()), message_of(status));
        failure.violations = violations
            .flat_map(|it| &it.field_violations)
            .map(|it| Violation {
                field: it.field.clone(),
                description: it.description.clone(),
            })
            .collect();
        match status.code() {
            Code::Unimplemented => failure.advise(format!(
                "The control plane at {address} does not offer this call; it may be of another version."
            )),
            _ => failure,
        }
    }

    /// No answer from `address` within the deadline.
    #[must_use]
    pub fn deadline(address: &str, seconds: f64) -> Self {
        Self::new(
            code_name(Code::DeadlineExceeded),
            format!("the control plane at {address} did not answer within {seconds} s"),
        )
    }

    /// The same with advice.
    #[must_use]
    pub fn advise(mut self, advice: impl Into<String>) -> Self {
        self.advice = Some(advice.into());
        self
    }

    /// How the process ends.
    #[must_use]
    pub fn exit(&self) -> Exit {
        self.exit
    }

    /// The kind of failure.
    #[must_use]
    pub fn code(&self) -> &'static str {
        self.code
    }

    /// Whether the reader of our results has gone, which is no failure.
    #[must_use]
    pub fn is_reader_gone(&self) -> bool {
        self.code == "STDOUT_CLOSED"
    }

    /// For people: what is wrong, each field, what to do.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut text = format!("error: {}\n", plain_lines(&self.message));
        for violation in &self.violations {
            // A message made from a field error says it already.
            if !self.message.contains(&violation.field) {
                let field = plain_lines(&violation.field);
                let description = plain_lines(&violation.description);
                let _ = writeln!(text, "  {field}: {description}");
            }
        }
        if let Some(advice) = &self.advice {
            let _ = writeln!(text, "{advice}");
        }
        text
    }

    /// For programs: one JSON document on one line.
    #[must_use]
    pub fn to_json(&self) -> String {
        let document = serde_json::json!({
            "error": {
                "code": self.code,
                "message": self.message,
                "field_violations": self.violations,
                "advice": self.advice,
            },
            "exit_code": self.exit.code(),
        });
        format!("{document}\n")
    }
}

fn message_of(status: &Status) -> String {
    if status.message().is_empty() {
        return format!("{}: {}", code_name(status.code()), status.code());
    }
    status.message().to_owned()
}

/// Why no answer came, if none came from a server at all: the innermost cause, which
/// is the one people know ("Connection refused").
fn unreachable_cause(status: &Status) -> Option<String> {
    chain(status).last().map(ToString::to_string)
}

/// Each cause in turn.
fn chain(status: &Status) -> impl Iterator<Item = &(dyn std::error::Error + 'static)> {
    std::iter::successors(status.source(), |error| (*error).source())
}

/// Whether the connection failed, and not the call: no server has answered.
#[must_use]
pub fn is_transport(status: &Status) -> bool {
    status.source().is_some()
}

/// Whether no connection came about at all.
#[must_use]
pub fn is_refused(status: &Status) -> bool {
    chain(status).any(|error| error.is::<tonic::ConnectError>())
}

/// Text from elsewhere without control characters but line breaks.
fn plain_lines(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() && c != '\n' {
            plain.extend(c.escape_default());
        } else {
            plain.push(c);
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidegate_proto::{Code as ErrorCode, Error};

    const ADDRESS: &str = "http://127.0.0.1:7420";

    #[test]
    fn a_field_error_of_the_server_is_shown_once_with_its_field() {
        let status = Status::from(Error::from(FieldError::new("urls[0]", "x", "a path")));
        let failure = Failure::from_status(&status, ADDRESS);
        assert_eq!(failure.exit(), Exit::Failed);
        let text = failure.to_text();
        assert_eq!(text.matches("urls[0]").count(), 1, "{text}");
        let json: serde_json::Value = serde_json::from_str(&failure.to_json()).unwrap();
        assert_eq!(json["error"]["code"], "INVALID_ARGUMENT");
        assert_eq!(json["error"]["field_violations"][0]["field"], "urls[0]");
        assert_eq!(json["exit_code"], 1);
    }

    #[test]
    fn a_missing_call_says_that_the_server_lacks_it() {
        let status = Status::from(Error::new(ErrorCode::Unimplemented, "not built"));
        let text = Failure::from_status(&status, ADDRESS).to_text();
        assert!(
            text.contains("not built") && text.contains("does not offer"),
            "{text}"
        );
    }

    #[test]
    fn text_from_elsewhere_cannot_steer_the_terminal() {
        let failure = Failure::new("FILE", "a\u{1b}[2Jb");
        assert!(!failure.to_text().contains('\u{1b}'));
    }

    #[test]
    fn an_answer_without_a_message_still_says_something() {
        let failure = Failure::from_status(&Status::new(Code::NotFound, ""), ADDRESS);
        assert!(failure.to_text().contains("NOT_FOUND"));
    }
}
