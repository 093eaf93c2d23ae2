//! Where one server of an origin is.

use std::fmt;

use crate::{FieldError, normalize_host};

/// How to speak to a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// In the clear.
    Http,
    /// Over TLS.
    Https,
}

/// Where one server of the origin is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct UpstreamUrl {
    /// How to speak to it.
    pub scheme: Scheme,
    /// Host name or address; an IPv6 address in brackets.
    pub host: String,
    /// Port.
    pub port: u16,
}

impl UpstreamUrl {
    /// Reads `http://host[:port]` or `https://host[:port]`.
    ///
    /// # Errors
    /// It is anything else, in particular a URL with a path or credentials.
    pub fn parse(text: &str) -> Result<Self, FieldError> {
        let wrong = || {
            FieldError::new(
                "",
                text,
                "\"http://host[:port]\" or \"https://host[:port]\", without a path",
            )
        };
        let (scheme, rest, default_port) = if let Some(rest) = text.strip_prefix("http://") {
            (Scheme::Http, rest, 80)
        } else {
            (
                Scheme::Https,
                text.strip_prefix("https://").ok_or_else(wrong)?,
                443,
            )
        };
        let authority = rest.strip_suffix('/').unwrap_or(rest);
        let host = normalize_host(authority).map_err(|_| wrong())?;
        let after_host = authority
            .rsplit_once(']')
            .map_or(authority, |(_, after)| after);
        let port = match after_host.rsplit_once(':') {
            Some((_, port)) => port.parse().ok().filter(|p| *p != 0).ok_or_else(wrong)?,
            None => default_port,
        };
        Ok(Self { scheme, host, port })
    }

    /// `host:port`.
    #[must_use]
    pub fn authority(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }
}

impl fmt::Display for UpstreamUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.scheme {
            Scheme::Http => "http",
            Scheme::Https => "https",
        };
        write!(f, "{scheme}://{}:{}", self.host, self.port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn upstream_urls_have_no_path() {
        let url = UpstreamUrl::parse("https://[::1]:8443").unwrap();
        assert_eq!(url.to_string(), "https://[::1]:8443");
        assert_eq!(UpstreamUrl::parse("http://example.com/").unwrap().port, 80);
        for bad in [
            "http://",
            "example.com",
            "http://a/b",
            "http://u@h",
            "http://a:0",
            "http://a:x",
        ] {
            assert!(UpstreamUrl::parse(bad).is_err(), "{bad}");
        }
    }
}
