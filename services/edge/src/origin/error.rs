//! Why the origin has not answered.

use http::StatusCode;
use thiserror::Error;

/// Why the origin has not answered. The texts are for logs; a client gets the status
/// and [`OriginError::reason`].
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum OriginError {
    /// The configuration cannot be used.
    #[error("the origin's configuration cannot be used: {0}")]
    Misconfigured(String),
    /// As many requests are in flight as the site allows.
    #[error("the origin has max_in_flight requests to answer already")]
    Busy,
    /// No upstream had room for one more in time.
    #[error(
        "every upstream has max_in_flight_per_upstream requests, for longer than queue_timeout"
    )]
    Full,
    /// As many connections have switched to another protocol as the site allows.
    #[error("the origin has max_tunnels connections that have switched to another protocol")]
    TunnelsFull,
    /// Every upstream is left alone for now: it has failed too often, or is not well.
    #[error("every upstream is left alone, after failures or because of its health check")]
    Unavailable,
    /// So much is being asked about that this was not asked in time.
    #[error("too many revalidations wait for the origin")]
    Crowded,
    /// Tokens demand more of the origin than the site allows.
    #[error("consistency tokens of other positions demand too many revalidations")]
    ForcedTooOften,
    /// It answered with an error of its own to each of those who asked in turn, while others
    /// waited.
    #[error("the origin answered {0} to all who asked for it before")]
    Failing(StatusCode),
    /// The site has no origin, and whether a backend has pushed what is asked for is not known.
    #[error("there is no origin, and the control plane did not say whether there is an entry")]
    EntryUnknown,
    /// No connection to any upstream that was tried.
    #[error("no connection to {upstream}: {cause}")]
    Connect {
        /// The last one that was tried.
        upstream: String,
        /// What came of it.
        cause: String,
    },
    /// No connection in time.
    #[error("no connection to {0} within connect_timeout")]
    ConnectTimeout(String),
    /// No response in time.
    #[error("no response from {0} within first_byte_timeout")]
    FirstByteTimeout(String),
    /// The connection broke before a response, or what came is none.
    #[error("no response from {upstream}: {cause}")]
    Broken {
        /// Which upstream.
        upstream: String,
        /// What came of it.
        cause: String,
    },
    /// What came is in a transfer coding besides `chunked`, which nobody has asked for (RFC
    /// 9112, section 7.4).
    #[error("a response of {0} is in a transfer coding that was not asked for")]
    Coded(String),
    /// The client broke off its request.
    #[error("the request's body broke off")]
    RequestBroken,
    /// The client's body is larger than is allowed.
    #[error("the request's body is larger than {0} bytes (max_request_bytes)")]
    RequestTooLarge(u64),
    /// The client did not go on with its body.
    #[error("the client was silent or too slow for too long in the midst of its body")]
    RequestSilent,
}

impl OriginError {
    /// What a gateway answers (RFC 9110, section 15.6).
    #[must_use]
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Busy
            | Self::Full
            | Self::TunnelsFull
            | Self::Unavailable
            | Self::Crowded
            | Self::ForcedTooOften
            | Self::Failing(_)
            | Self::EntryUnknown => StatusCode::SERVICE_UNAVAILABLE,
            Self::ConnectTimeout(_) | Self::FirstByteTimeout(_) => StatusCode::GATEWAY_TIMEOUT,
            Self::RequestBroken => StatusCode::BAD_REQUEST,
            Self::RequestTooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::RequestSilent => StatusCode::REQUEST_TIMEOUT,
            Self::Misconfigured(_)
            | Self::Connect { .. }
            | Self::Broken { .. }
            | Self::Coded(_) => StatusCode::BAD_GATEWAY,
        }
    }

    /// Whether the origin was asked, or should have been, and gave no answer: the edge is
    /// disconnected from it (RFC 9111, section 4.2.4).
    #[must_use]
    pub fn is_unreachable(&self) -> bool {
        matches!(
            self,
            Self::Unavailable
                | Self::EntryUnknown
                | Self::Connect { .. }
                | Self::ConnectTimeout(_)
                | Self::FirstByteTimeout(_)
                | Self::Broken { .. }
        )
    }

    /// A word for clients and metrics, which tells nothing of the inside.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Misconfigured(_) => "origin-misconfigured",
            Self::Busy | Self::Full => "origin-busy",
            Self::TunnelsFull => "tunnels-full",
            Self::Unavailable => "origin-left-alone",
            Self::Crowded => "revalidations-full",
            Self::ForcedTooOften => "token-rate",
            Self::Failing(_) => "origin-failing",
            Self::EntryUnknown => "entry-unknown",
            Self::Connect { .. } => "origin-unreachable",
            Self::ConnectTimeout(_) => "origin-connect-timeout",
            Self::FirstByteTimeout(_) => "origin-timeout",
            Self::Broken { .. } => "origin-broken",
            Self::Coded(_) => "origin-coded",
            Self::RequestBroken => "request-broken",
            Self::RequestTooLarge(_) => "request-too-large",
            Self::RequestSilent => "request-timeout",
        }
    }
}
