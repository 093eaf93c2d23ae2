//! A configuration that obeys every rule.

use std::time::Duration;

use super::config::{FencedMode, SecondTier, SiteConfig};
use super::host::HostPattern;
use super::origin::check_origin;
use super::rules::{
    check_cookie_pattern, check_duration, check_field_name, check_field_value, check_location,
    check_number, check_path_pattern, check_text, each,
};
use super::upstream::UpstreamUrl;
use crate::{FieldError, PathAndQuery, TagPattern};

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
        check_field_value(&self.browser.cache_control, 1..=4_096)
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
        each(&key.ignored_cookies, "ignored_cookies", 0..=64, |name| {
            check_cookie_pattern(name)
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
            ("stale_if_unreachable", cache.stale_if_unreachable),
        ] {
            check_duration(field, duration, Duration::ZERO..=year)?;
        }
        let day = Duration::from_secs(86_400);
        check_duration("negative_ttl", cache.negative_ttl, Duration::ZERO..=day)?;
        check_number("max_object_bytes", cache.max_object_bytes, 0..=1 << 30)?;
        check_number("max_variants", cache.max_variants.into(), 1..=256)?;
        each(&cache.tag_headers, "tag_headers", 1..=16, |name| {
            check_field_name(name)
        })?;
        each(&cache.targeted_headers, "targeted_headers", 1..=8, |name| {
            check_field_name(name)
        })?;
        match &cache.second_tier {
            None => Ok(()),
            Some(_) if self.origin.is_none() => Err(FieldError::new(
                "second_tier",
                "a site without origin",
                "a site with an origin: what it answers is what is shared",
            )),
            Some(tier) => check_second_tier(tier).map_err(|e| e.within("second_tier")),
        }
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
            check_field_value(&rule.value, 0..=4_096).map_err(|e| e.within("value"))
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

fn check_second_tier(tier: &SecondTier) -> Result<(), FieldError> {
    check_number("max_body_bytes", tier.max_body_bytes, 1..=4_000_000)?;
    let (second, year) = (Duration::from_secs(1), Duration::from_secs(366 * 86_400));
    check_duration("min_fresh", tier.min_fresh, 5 * second..=year)?;
    let millisecond = Duration::from_millis(1);
    check_duration(
        "look_up_timeout",
        tier.look_up_timeout,
        millisecond..=second,
    )?;
    check_duration("wait", tier.wait, Duration::ZERO..=3 * second)
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
    fn an_error_of_the_second_tier_names_the_field() {
        type Break = fn(&mut SecondTier);
        let broken: [(Break, &str); 5] = [
            (|t| t.max_body_bytes = 0, "max_body_bytes"),
            (|t| t.max_body_bytes = 4_000_001, "max_body_bytes"),
            (|t| t.min_fresh = Duration::from_secs(4), "min_fresh"),
            (|t| t.look_up_timeout = Duration::ZERO, "look_up_timeout"),
            (|t| t.wait = Duration::from_millis(3_001), "wait"),
        ];
        let with = |tier: SecondTier| {
            let mut config = SiteConfig {
                origin: Some(OriginConfig {
                    upstreams: vec![Upstream {
                        url: "http://o.example".into(),
                        ..Upstream::default()
                    }],
                    ..OriginConfig::default()
                }),
                ..site()
            };
            config.cache.second_tier = Some(tier);
            config.check()
        };
        assert!(with(SecondTier::default()).is_ok());
        for (breaks, field) in broken {
            let mut tier = SecondTier::default();
            breaks(&mut tier);
            let field = format!("cache.second_tier.{field}");
            assert_eq!(with(tier).unwrap_err().field, field);
        }
    }

    #[test]
    fn an_error_names_the_field() {
        type Break = fn(&mut SiteConfig);
        let broken: [(Break, &str); 15] = [
            (|s| s.hosts.clear(), "hosts"),
            (
                |s| s.key.ignored_cookies = vec!["*".into(), "_ga_*".into(), "_*a".into()],
                "key.ignored_cookies[2]",
            ),
            (|s| s.cache.tag_headers.clear(), "cache.tag_headers"),
            (
                |s| s.cache.targeted_headers.clear(),
                "cache.targeted_headers",
            ),
            (|s| s.browser.cache_control.clear(), "browser.cache_control"),
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
                |s| s.cache.negative_ttl = Duration::from_secs(86_401),
                "cache.negative_ttl",
            ),
            (
                |s| s.cache.targeted_headers = vec!["a b".into()],
                "cache.targeted_headers[0]",
            ),
            (
                |s| s.cache.second_tier = Some(SecondTier::default()),
                "cache.second_tier",
            ),
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
}
