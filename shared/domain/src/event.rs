//! Words about events that both services share.

use std::fmt;
use std::sync::Arc;

use crate::FieldError;

/// How strict an invalidation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mode {
    /// Matching content is stale: stale-while-revalidate and stale-if-error apply.
    Soft,
    /// Matching content may not be used again without the origin's word.
    Hard,
}

/// Event types that Tidegate or the browser's `EventSource` itself uses.
pub const RESERVED_EVENT_TYPES: [&str; 9] = [
    "connected",
    "invalidate",
    "preload",
    "heartbeat",
    "reset",
    "reconnect",
    "message",
    "open",
    "error",
];

/// The type of an event that a backend publishes to browsers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventType(Arc<str>);

impl EventType {
    /// Reads an event type.
    ///
    /// # Errors
    /// It is not 1 to 64 of letters, digits, `-`, `_`, `.`, or it is reserved.
    pub fn parse(text: &str) -> Result<Self, FieldError> {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
        if text.is_empty() || text.len() > 64 || !text.bytes().all(allowed) {
            return Err(FieldError::new(
                "",
                text,
                "1 to 64 of letters, digits, \"-\", \"_\" and \".\"",
            ));
        }
        if RESERVED_EVENT_TYPES.contains(&text) {
            return Err(FieldError::new(
                "",
                text,
                format!("a type other than {}", RESERVED_EVENT_TYPES.join(", ")),
            ));
        }
        Ok(Self(text.into()))
    }

    /// The text of the type.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for EventType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reserved_and_unprintable_types_are_refused() {
        for bad in ["", "invalidate", "error", "a b", "a\nb", &"x".repeat(65)] {
            assert!(EventType::parse(bad).is_err(), "{bad:?}");
        }
        assert!(EventType::parse("price.changed").is_ok());
    }
}
