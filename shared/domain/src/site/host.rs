//! Which hosts a site answers for.

use std::fmt;

use crate::{FieldError, normalize_host};

/// Which hosts a site answers for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HostPattern {
    /// This host, normalised.
    Exact(String),
    /// Hosts with one label before this suffix, which begins with a dot.
    Suffix(String),
    /// Every host that no other site names.
    Any,
}

impl HostPattern {
    pub(super) fn parse(text: &str) -> Result<Self, FieldError> {
        let wrong = |_| {
            FieldError::new(
                "",
                text,
                "a host name such as \"www.example.com\", \"*.example.com\", or \"*\"; no port",
            )
        };
        if text == "*" {
            return Ok(Self::Any);
        }
        let bare = text.strip_prefix("*.").unwrap_or(text);
        let host = normalize_host(bare).map_err(wrong)?;
        if host != bare.to_ascii_lowercase() {
            return Err(wrong(FieldError::new("", text, "")));
        }
        Ok(if bare.len() == text.len() {
            Self::Exact(host)
        } else {
            Self::Suffix(format!(".{host}"))
        })
    }

    /// Whether it covers a host that [`normalize_host`] returned.
    #[must_use]
    pub fn matches(&self, host: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Exact(exact) => exact == host,
            Self::Suffix(suffix) => host
                .strip_suffix(suffix.as_str())
                .is_some_and(|label| !label.is_empty() && !label.contains('.')),
        }
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("*"),
            Self::Exact(host) => f.write_str(host),
            Self::Suffix(suffix) => write!(f, "*{suffix}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_label_is_one_label() {
        let pattern = HostPattern::parse("*.example.com").unwrap();
        assert!(pattern.matches("a.example.com"));
        assert!(!pattern.matches("a.b.example.com"));
        assert!(!pattern.matches("example.com"));
    }
}
