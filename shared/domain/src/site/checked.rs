//! A configuration that obeys every rule.

use std::fmt;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::config::{FencedMode, OriginConfig, SiteConfig};
use crate::{FieldError, PathAndQuery, TagPattern, normalize_host};

/// A configuration that obeys every rule, with the parts that were parsed on the
/// way to know it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckedSite {
    config: SiteConfig,
    hosts: Vec<HostPattern>,
    upstreams: Vec<UpstreamUrl>,
    public_tags: Vec<TagPattern>,
}

impl CheckedSite {
    /// The configuration.
    #[must_use]
    pub fn config(&self) -> &SiteConfig {
        &self.config
    }

    /// The hosts it answers for.
    #[must_use]
    pub fn hosts(&self) -> &[HostPattern] {
        &self.hosts
    }

    /// The origin's servers, in the order of the configuration.
    #[must_use]
    pub fn upstreams(&self) -> &[UpstreamUrl] {
        &self.upstreams
    }

    /// What anonymous browsers may hear of.
    #[must_use]
    pub fn public_tags(&self) -> &[TagPattern] {
        &self.public_tags
    }

    /// A path and query as this site's cache key and its `url:` tag have it.
    #[must_use]
    pub fn normalize(&self, url: &PathAndQuery) -> PathAndQuery {
        self.config.key.apply(url)
    }
}

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
    fn parse(text: &str) -> Result<Self, FieldError> {
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

impl SiteConfig {
    /// Checks every rule.
    ///
    /// # Errors
    /// The first field that breaks one.
    pub fn check(self) -> Result<CheckedSite, FieldError> {
        let hosts = each(&self.hosts, "hosts", 1..=1_000, |h| HostPattern::parse(h))?;
        let upstreams = match &self.origin {
            Some(origin) => check_origin(origin).map_err(|e| e.within("origin"))?,
            None => Vec::new(),
        };
        self.check_key().map_err(|e| e.within("key"))?;
        self.check_cache().map_err(|e| e.within("cache"))?;
        check_field_value(&self.browser.cache_control)
            .map_err(|e| e.within("browser.cache_control"))?;
        self.check_fenced().map_err(|e| e.within("fenced"))?;
        self.check_pages().map_err(|e| e.within("pages"))?;
        let public_tags = self.check_events().map_err(|e| e.within("events"))?;
        Ok(CheckedSite {
            config: self,
            hosts,
            upstreams,
            public_tags,
        })
    }

    fn check_key(&self) -> Result<(), FieldError> {
        let key = &self.key;
        each(&key.query_params, "query_params", 0..=256, |p| {
            check_text(p, 1..=128)
        })?;
        each(&key.headers, "headers", 0..=16, |name| {
            check_field_name(name)
        })?;
        each(&key.cookies, "cookies", 0..=16, |name| {
            check_field_name(name)
        })?;
        Ok(())
    }

    fn check_cache(&self) -> Result<(), FieldError> {
        let cache = &self.cache;
        let year = Duration::from_secs(366 * 86_400);
        for (field, duration) in [
            ("default_ttl", cache.default_ttl),
            ("stale_while_revalidate", cache.stale_while_revalidate),
            ("stale_if_error", cache.stale_if_error),
        ] {
            check_duration(field, duration, Duration::ZERO..=year)?;
        }
        check_number("max_object_bytes", cache.max_object_bytes, 0..=1 << 30)?;
        check_number("max_variants", cache.max_variants.into(), 1..=256)?;
        each(&cache.tag_headers, "tag_headers", 0..=16, |name| {
            check_field_name(name)
        })?;
        Ok(())
    }

    fn check_fenced(&self) -> Result<(), FieldError> {
        let fenced = &self.fenced;
        let least = match fenced.mode {
            FencedMode::ServeStale => Duration::from_secs(1),
            FencedMode::Revalidate | FencedMode::Fail => Duration::ZERO,
        };
        let day = Duration::from_secs(86_400);
        check_duration("serve_stale_for", fenced.serve_stale_for, least..=day)
    }

    fn check_pages(&self) -> Result<(), FieldError> {
        let pages = &self.pages;
        if !pages.state_path.is_empty() {
            PathAndQuery::parse(&pages.state_path.replace("{path}", "/x"))
                .map_err(|e| e.within("state_path"))?;
        }
        check_field_name(&pages.precache_header).map_err(|e| e.within("precache_header"))?;
        each(&pages.immutable, "immutable", 0..=256, |p| {
            check_path_pattern(p)
        })?;
        PathAndQuery::parse(&pages.not_found).map_err(|e| e.within("not_found"))?;
        each(&pages.redirects, "redirects", 0..=10_000, |redirect| {
            PathAndQuery::parse(&redirect.from).map_err(|e| e.within("from"))?;
            check_location(&redirect.to).map_err(|e| e.within("to"))?;
            if [301, 302, 303, 307, 308].contains(&redirect.status) {
                Ok(())
            } else {
                Err(FieldError::new(
                    "status",
                    redirect.status,
                    "301, 302, 303, 307 or 308",
                ))
            }
        })?;
        each(&pages.headers, "headers", 0..=1_000, |rule| {
            check_path_pattern(&rule.path).map_err(|e| e.within("path"))?;
            check_field_name(&rule.name).map_err(|e| e.within("name"))?;
            check_field_value(&rule.value).map_err(|e| e.within("value"))
        })?;
        Ok(())
    }

    fn check_events(&self) -> Result<Vec<TagPattern>, FieldError> {
        let events = &self.events;
        check_duration(
            "heartbeat",
            events.heartbeat,
            Duration::from_secs(1)..=Duration::from_secs(300),
        )?;
        check_number(
            "max_connections",
            events.max_connections.into(),
            0..=1_000_000,
        )?;
        check_number(
            "max_connections_per_address",
            events.max_connections_per_address.into(),
            1..=1_000_000,
        )?;
        each(
            &events.allowed_origins,
            "allowed_origins",
            0..=256,
            |origin| {
                let is_origin =
                    origin == "*" || UpstreamUrl::parse(origin).is_ok() && !origin.ends_with('/');
                if is_origin {
                    Ok(())
                } else {
                    Err(FieldError::new(
                        "",
                        origin,
                        "\"*\", or scheme, host and port such as \"https://example.com\"",
                    ))
                }
            },
        )?;
        each(&events.public_tags, "public_tags", 0..=256, |tag| {
            TagPattern::parse(tag)
        })
    }
}

fn check_origin(origin: &OriginConfig) -> Result<Vec<UpstreamUrl>, FieldError> {
    let least = Duration::from_millis(1);
    let (minute, ten_minutes) = (Duration::from_secs(60), Duration::from_secs(600));
    check_duration("connect_timeout", origin.connect_timeout, least..=minute)?;
    check_duration(
        "first_byte_timeout",
        origin.first_byte_timeout,
        least..=ten_minutes,
    )?;
    check_duration(
        "between_bytes_timeout",
        origin.between_bytes_timeout,
        least..=ten_minutes,
    )?;
    check_number("max_in_flight", origin.max_in_flight.into(), 1..=65_536)?;
    check_number(
        "max_revalidations",
        origin.max_revalidations.into(),
        1..=65_536,
    )?;
    if !origin.host_header.is_empty() {
        normalize_host(&origin.host_header).map_err(|mut e| {
            e.field = "host_header".into();
            e
        })?;
    }
    each(&origin.upstreams, "upstreams", 1..=16, |upstream| {
        if upstream.ca_pem.len() > 256 << 10 {
            return Err(FieldError::new("ca_pem", "…", "at most 256 KiB"));
        }
        if !upstream.sni.is_empty() {
            normalize_host(&upstream.sni).map_err(|e| FieldError {
                field: "sni".into(),
                ..e
            })?;
        }
        UpstreamUrl::parse(&upstream.url).map_err(|e| e.within("url"))
    })
}

/// Checks a list and each of its elements.
fn each<T, U>(
    list: &[T],
    field: &str,
    count: RangeInclusive<usize>,
    check: impl Fn(&T) -> Result<U, FieldError>,
) -> Result<Vec<U>, FieldError> {
    if !count.contains(&list.len()) {
        return Err(FieldError::new(
            field,
            format!("{} elements", list.len()),
            format!("{} to {} elements", count.start(), count.end()),
        ));
    }
    list.iter()
        .enumerate()
        .map(|(index, element)| check(element).map_err(|e| e.within(format!("{field}[{index}]"))))
        .collect()
}

fn check_duration(
    field: &str,
    duration: Duration,
    allowed: RangeInclusive<Duration>,
) -> Result<(), FieldError> {
    if allowed.contains(&duration) {
        return Ok(());
    }
    let text = humantime::format_duration;
    Err(FieldError::new(
        field,
        text(duration),
        format!("{} to {}", text(*allowed.start()), text(*allowed.end())),
    ))
}

fn check_number(field: &str, number: u64, allowed: RangeInclusive<u64>) -> Result<(), FieldError> {
    if allowed.contains(&number) {
        return Ok(());
    }
    Err(FieldError::new(
        field,
        number,
        format!("{} to {}", allowed.start(), allowed.end()),
    ))
}

fn check_text(text: &str, bytes: RangeInclusive<usize>) -> Result<(), FieldError> {
    if bytes.contains(&text.len()) && !text.chars().any(char::is_control) {
        return Ok(());
    }
    Err(FieldError::new(
        "",
        text,
        format!(
            "{} to {} bytes without control characters",
            bytes.start(),
            bytes.end()
        ),
    ))
}

fn check_field_name(name: &str) -> Result<(), FieldError> {
    let is_token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    if (1..=128).contains(&name.len()) && name.bytes().all(is_token) {
        return Ok(());
    }
    Err(FieldError::new(
        "",
        name,
        "a token of 1 to 128 characters (RFC 9110, section 5.6.2)",
    ))
}

fn check_field_value(value: &str) -> Result<(), FieldError> {
    let good = value
        .bytes()
        .all(|b| b == b'\t' || (b' '..=b'~').contains(&b));
    if good && value.len() <= 4096 {
        return Ok(());
    }
    Err(FieldError::new(
        "",
        value,
        "at most 4096 printable ASCII characters",
    ))
}

fn check_path_pattern(pattern: &str) -> Result<(), FieldError> {
    let good = pattern.starts_with(['/', '*']) && pattern.bytes().all(|b| b.is_ascii_graphic());
    if good && pattern.len() <= 1024 {
        return Ok(());
    }
    Err(FieldError::new(
        "",
        pattern,
        "a path of visible ASCII that begins with \"/\" or \"*\"; \"*\" stands for any run of characters",
    ))
}

fn check_location(location: &str) -> Result<(), FieldError> {
    let is_path = PathAndQuery::parse(location.split('#').next().unwrap_or_default()).is_ok();
    let is_absolute = ["http://", "https://"]
        .iter()
        .any(|s| location.starts_with(s));
    let is_plain = location.bytes().all(|b| b.is_ascii_graphic());
    if (is_path || is_absolute) && is_plain && location.len() <= 4096 {
        return Ok(());
    }
    Err(FieldError::new(
        "",
        location,
        "a path, or a URL with http or https",
    ))
}

#[cfg(test)]
mod tests {
    use super::super::config::*;
    use super::*;

    fn site() -> SiteConfig {
        SiteConfig {
            hosts: vec!["*".into()],
            ..SiteConfig::default()
        }
    }

    #[test]
    fn the_defaults_with_a_host_are_allowed() {
        let checked = site().check().unwrap();
        assert_eq!(checked.hosts(), [HostPattern::Any]);
    }

    #[test]
    fn an_error_names_the_field() {
        type Break = fn(&mut SiteConfig);
        let broken: [(Break, &str); 8] = [
            (|s| s.hosts.clear(), "hosts"),
            (|s| s.hosts.push("a b".into()), "hosts[1]"),
            (
                |s| s.origin = Some(OriginConfig::default()),
                "origin.upstreams",
            ),
            (
                |s| {
                    s.origin = Some(OriginConfig {
                        upstreams: vec![Upstream {
                            url: "ftp://x".into(),
                            ..Upstream::default()
                        }],
                        ..OriginConfig::default()
                    });
                },
                "origin.upstreams[0].url",
            ),
            (|s| s.cache.max_variants = 0, "cache.max_variants"),
            (
                |s| s.fenced.mode = FencedMode::ServeStale,
                "fenced.serve_stale_for",
            ),
            (
                |s| s.browser.cache_control = "a\r\nb".into(),
                "browser.cache_control",
            ),
            (
                |s| s.events.public_tags.push("a b".into()),
                "events.public_tags[0]",
            ),
        ];
        for (breaks, field) in broken {
            let mut config = site();
            breaks(&mut config);
            assert_eq!(config.check().unwrap_err().field, field);
        }
    }

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

    #[test]
    fn a_star_label_is_one_label() {
        let pattern = HostPattern::parse("*.example.com").unwrap();
        assert!(pattern.matches("a.example.com"));
        assert!(!pattern.matches("a.b.example.com"));
        assert!(!pattern.matches("example.com"));
    }

    #[test]
    fn unknown_fields_are_refused_by_name() {
        let error =
            serde_json::from_str::<SiteConfig>(r#"{"hosts":["a"],"orign":{}}"#).unwrap_err();
        assert!(error.to_string().contains("orign"), "{error}");
    }

    #[test]
    fn durations_are_written_with_a_unit() {
        let config: SiteConfig =
            serde_json::from_str(r#"{"hosts":["a"],"cache":{"default_ttl":"1m 30s"}}"#).unwrap();
        assert_eq!(config.cache.default_ttl, Duration::from_secs(90));
        assert!(serde_json::from_str::<SiteConfig>(r#"{"cache":{"default_ttl":"fast"}}"#).is_err());
    }
}
