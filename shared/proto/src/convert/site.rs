//! A site's configuration. An absent message or a zero number means the default.

use std::time::Duration;

use tidegate_domain::FieldError;
use tidegate_domain::site::{
    BreakerConfig, BrowserPolicy, CachePolicy, CheckedSite, EventsConfig, FencedMode, FencedPolicy,
    HeaderRule, HealthCheck, KeyPolicy, OriginConfig, PagesConfig, Protocol, QueryMode, Redirect,
    SecondTier, SiteConfig, Upstream,
};

use super::time::{duration_from_wire, duration_to_wire};
use crate::v1;

/// Reads and checks a configuration.
///
/// # Errors
/// The first field that breaks a rule, as `config.…`.
pub fn site_from_wire(wire: v1::SiteConfig) -> Result<CheckedSite, FieldError> {
    read(wire)
        .and_then(SiteConfig::check)
        .map_err(|e| e.within("config"))
}

fn read(wire: v1::SiteConfig) -> Result<SiteConfig, FieldError> {
    Ok(SiteConfig {
        hosts: wire.hosts,
        origin: wire
            .origin
            .map(origin)
            .transpose()
            .map_err(|e| e.within("origin"))?,
        key: key(wire.key.unwrap_or_default())?,
        cache: cache(wire.cache.unwrap_or_default()).map_err(|e| e.within("cache"))?,
        browser: BrowserPolicy {
            cache_control: text_or(
                wire.browser_cache_control,
                BrowserPolicy::default().cache_control,
            ),
        },
        fenced: fenced(wire.fenced.unwrap_or_default()).map_err(|e| e.within("fenced"))?,
        pages: pages(wire.pages.unwrap_or_default()).map_err(|e| e.within("pages"))?,
        events: events(wire.events.unwrap_or_default()).map_err(|e| e.within("events"))?,
    })
}

fn origin(wire: v1::OriginConfig) -> Result<OriginConfig, FieldError> {
    let default = OriginConfig::default();
    let upstreams = wire.upstreams.into_iter().enumerate();
    Ok(OriginConfig {
        upstreams: upstreams
            .map(|(index, wire)| {
                upstream(wire).map_err(|e| e.within(format!("upstreams[{index}]")))
            })
            .collect::<Result<_, _>>()?,
        connect_timeout: duration_from_wire(
            "connect_timeout",
            wire.connect_timeout.as_ref(),
            default.connect_timeout,
        )?,
        first_byte_timeout: duration_from_wire(
            "first_byte_timeout",
            wire.first_byte_timeout.as_ref(),
            default.first_byte_timeout,
        )?,
        between_bytes_timeout: duration_from_wire(
            "between_bytes_timeout",
            wire.between_bytes_timeout.as_ref(),
            default.between_bytes_timeout,
        )?,
        max_in_flight: number_or(wire.max_in_flight, default.max_in_flight),
        max_revalidations: number_or(wire.max_revalidations, default.max_revalidations),
        host_header: wire.host_header,
        max_in_flight_per_upstream: number_or(
            wire.max_in_flight_per_upstream,
            default.max_in_flight_per_upstream,
        ),
        queue_timeout: duration_from_wire(
            "queue_timeout",
            wire.queue_timeout.as_ref(),
            default.queue_timeout,
        )?,
        dns_refresh: duration_from_wire(
            "dns_refresh",
            wire.dns_refresh.as_ref(),
            default.dns_refresh,
        )?,
        breaker: breaker(wire.breaker.unwrap_or_default()).map_err(|e| e.within("breaker"))?,
        health_check: wire
            .health_check
            .map(health_check)
            .transpose()
            .map_err(|e| e.within("health_check"))?,
        finish_fill_bytes: wire.finish_fill_bytes.unwrap_or(default.finish_fill_bytes),
        max_request_bytes: wire.max_request_bytes.unwrap_or(default.max_request_bytes),
        max_tunnels: wire.max_tunnels.unwrap_or(default.max_tunnels),
        tunnel_idle_timeout: duration_from_wire(
            "tunnel_idle_timeout",
            wire.tunnel_idle_timeout.as_ref(),
            default.tunnel_idle_timeout,
        )?,
    })
}

fn upstream(wire: v1::Upstream) -> Result<Upstream, FieldError> {
    let protocol = match v1::UpstreamProtocol::try_from(wire.protocol) {
        Ok(v1::UpstreamProtocol::Unspecified | v1::UpstreamProtocol::Auto) => Protocol::Auto,
        Ok(v1::UpstreamProtocol::Http1) => Protocol::Http1,
        Ok(v1::UpstreamProtocol::Http2) => Protocol::Http2,
        Err(_) => {
            return Err(FieldError::new(
                "protocol",
                wire.protocol,
                "AUTO, HTTP1 or HTTP2",
            ));
        }
    };
    Ok(Upstream {
        url: wire.url,
        ca_pem: wire.ca_pem,
        sni: wire.sni,
        protocol,
    })
}

fn breaker(wire: v1::Breaker) -> Result<BreakerConfig, FieldError> {
    let default = BreakerConfig::default();
    Ok(BreakerConfig {
        failures: number_or(wire.failures, default.failures),
        pause: duration_from_wire("pause", wire.pause.as_ref(), default.pause)?,
        max_pause: duration_from_wire("max_pause", wire.max_pause.as_ref(), default.max_pause)?,
        count_5xx: wire.count_5xx,
    })
}

fn health_check(wire: v1::HealthCheck) -> Result<HealthCheck, FieldError> {
    let default = HealthCheck::default();
    let status = |field, wire, default| match wire {
        0 => Ok(default),
        status => u16::try_from(status).map_err(|_| FieldError::new(field, status, "100 to 599")),
    };
    Ok(HealthCheck {
        path: text_or(wire.path, default.path),
        interval: duration_from_wire("interval", wire.interval.as_ref(), default.interval)?,
        timeout: duration_from_wire("timeout", wire.timeout.as_ref(), default.timeout)?,
        min_status: status("min_status", wire.min_status, default.min_status)?,
        max_status: status("max_status", wire.max_status, default.max_status)?,
        unhealthy_after: number_or(wire.unhealthy_after, default.unhealthy_after),
        healthy_after: number_or(wire.healthy_after, default.healthy_after),
    })
}

fn key(wire: v1::KeyPolicy) -> Result<KeyPolicy, FieldError> {
    let query_mode = match v1::QueryMode::try_from(wire.query_mode) {
        Ok(v1::QueryMode::Unspecified | v1::QueryMode::All) => QueryMode::All,
        Ok(v1::QueryMode::Allow) => QueryMode::Allow,
        Ok(v1::QueryMode::Drop) => QueryMode::Drop,
        Err(_) => {
            return Err(FieldError::new(
                "key.query_mode",
                wire.query_mode,
                "ALL, ALLOW or DROP",
            ));
        }
    };
    Ok(KeyPolicy {
        query_mode,
        query_params: wire.query_params,
        query_sort: wire.query_sort,
        headers: wire.headers,
        cookies: wire.cookies,
        ignored_cookies: wire.ignored_cookies,
    })
}

fn cache(wire: v1::CachePolicy) -> Result<CachePolicy, FieldError> {
    let default = CachePolicy::default();
    let duration =
        |field: &str, wire: &Option<_>| duration_from_wire(field, wire.as_ref(), Duration::ZERO);
    Ok(CachePolicy {
        default_ttl: duration("default_ttl", &wire.default_ttl)?,
        stale_while_revalidate: duration("stale_while_revalidate", &wire.stale_while_revalidate)?,
        stale_if_error: duration("stale_if_error", &wire.stale_if_error)?,
        stale_if_unreachable: duration_from_wire(
            "stale_if_unreachable",
            wire.stale_if_unreachable.as_ref(),
            default.stale_if_unreachable,
        )?,
        max_object_bytes: wire.max_object_bytes.unwrap_or(default.max_object_bytes),
        max_variants: number_or(wire.max_variants, default.max_variants),
        tag_headers: list_or(wire.tag_headers, default.tag_headers),
        negative_ttl: duration("negative_ttl", &wire.negative_ttl)?,
        targeted_headers: list_or(wire.targeted_headers, default.targeted_headers),
        second_tier: wire
            .second_tier
            .map(second_tier)
            .transpose()
            .map_err(|e| e.within("second_tier"))?,
    })
}

fn second_tier(wire: v1::SecondTier) -> Result<SecondTier, FieldError> {
    let default = SecondTier::default();
    Ok(SecondTier {
        max_body_bytes: match wire.max_body_bytes {
            0 => default.max_body_bytes,
            bytes => bytes,
        },
        min_fresh: duration_from_wire("min_fresh", wire.min_fresh.as_ref(), default.min_fresh)?,
        look_up_timeout: duration_from_wire(
            "look_up_timeout",
            wire.look_up_timeout.as_ref(),
            default.look_up_timeout,
        )?,
        wait: duration_from_wire("wait", wire.wait.as_ref(), default.wait)?,
    })
}

fn fenced(wire: v1::FencedPolicy) -> Result<FencedPolicy, FieldError> {
    let mode = match v1::FencedMode::try_from(wire.mode) {
        Ok(v1::FencedMode::Unspecified | v1::FencedMode::Revalidate) => FencedMode::Revalidate,
        Ok(v1::FencedMode::ServeStale) => FencedMode::ServeStale,
        Ok(v1::FencedMode::Fail) => FencedMode::Fail,
        Err(_) => {
            return Err(FieldError::new(
                "mode",
                wire.mode,
                "REVALIDATE, SERVE_STALE or FAIL",
            ));
        }
    };
    Ok(FencedPolicy {
        mode,
        serve_stale_for: duration_from_wire(
            "serve_stale_for",
            wire.serve_stale_for.as_ref(),
            Duration::ZERO,
        )?,
    })
}

fn pages(wire: v1::PagesConfig) -> Result<PagesConfig, FieldError> {
    let default = PagesConfig::default();
    let redirects = wire.redirects.into_iter().enumerate().map(|(index, r)| {
        let status = match r.status {
            0 => 308,
            status => u16::try_from(status).map_err(|_| {
                FieldError::new(
                    format!("redirects[{index}].status"),
                    status,
                    "301, 302, 303, 307 or 308",
                )
            })?,
        };
        Ok(Redirect {
            from: r.from,
            to: r.to,
            status,
        })
    });
    Ok(PagesConfig {
        state_path: wire.state_path,
        precache_header: text_or(wire.precache_header, default.precache_header),
        immutable: wire.immutable,
        not_found: text_or(wire.not_found, default.not_found),
        redirects: redirects.collect::<Result<_, FieldError>>()?,
        headers: wire
            .headers
            .into_iter()
            .map(|h| HeaderRule {
                path: h.path,
                name: h.name,
                value: h.value,
            })
            .collect(),
    })
}

fn events(wire: v1::EventsConfig) -> Result<EventsConfig, FieldError> {
    let default = EventsConfig::default();
    Ok(EventsConfig {
        public_tags: wire.public_tags,
        allowed_origins: wire.allowed_origins,
        heartbeat: duration_from_wire("heartbeat", wire.heartbeat.as_ref(), default.heartbeat)?,
        max_connections: wire.max_connections.unwrap_or(default.max_connections),
        max_connections_per_address: number_or(
            wire.max_connections_per_address,
            default.max_connections_per_address,
        ),
    })
}

fn text_or(text: String, default: String) -> String {
    if text.is_empty() { default } else { text }
}

fn number_or(number: u32, default: u32) -> u32 {
    if number == 0 { default } else { number }
}

fn list_or(list: Vec<String>, default: Vec<String>) -> Vec<String> {
    if list.is_empty() { default } else { list }
}

/// Writes a configuration with its defaults filled in.
#[must_use]
pub fn site_to_wire(config: &SiteConfig) -> v1::SiteConfig {
    v1::SiteConfig {
        hosts: config.hosts.clone(),
        origin: config.origin.as_ref().map(origin_to_wire),
        key: Some(v1::KeyPolicy {
            query_mode: match config.key.query_mode {
                QueryMode::All => v1::QueryMode::All,
                QueryMode::Allow => v1::QueryMode::Allow,
                QueryMode::Drop => v1::QueryMode::Drop,
            }
            .into(),
            query_params: config.key.query_params.clone(),
            query_sort: config.key.query_sort,
            headers: config.key.headers.clone(),
            cookies: config.key.cookies.clone(),
            ignored_cookies: config.key.ignored_cookies.clone(),
        }),
        cache: Some(v1::CachePolicy {
            default_ttl: Some(duration_to_wire(config.cache.default_ttl)),
            stale_while_revalidate: Some(duration_to_wire(config.cache.stale_while_revalidate)),
            stale_if_error: Some(duration_to_wire(config.cache.stale_if_error)),
            stale_if_unreachable: Some(duration_to_wire(config.cache.stale_if_unreachable)),
            max_object_bytes: Some(config.cache.max_object_bytes),
            max_variants: config.cache.max_variants,
            tag_headers: config.cache.tag_headers.clone(),
            negative_ttl: Some(duration_to_wire(config.cache.negative_ttl)),
            targeted_headers: config.cache.targeted_headers.clone(),
            second_tier: config
                .cache
                .second_tier
                .as_ref()
                .map(|tier| v1::SecondTier {
                    max_body_bytes: tier.max_body_bytes,
                    min_fresh: Some(duration_to_wire(tier.min_fresh)),
                    look_up_timeout: Some(duration_to_wire(tier.look_up_timeout)),
                    wait: Some(duration_to_wire(tier.wait)),
                }),
        }),
        browser_cache_control: config.browser.cache_control.clone(),
        fenced: Some(v1::FencedPolicy {
            mode: match config.fenced.mode {
                FencedMode::Revalidate => v1::FencedMode::Revalidate,
                FencedMode::ServeStale => v1::FencedMode::ServeStale,
                FencedMode::Fail => v1::FencedMode::Fail,
            }
            .into(),
            serve_stale_for: Some(duration_to_wire(config.fenced.serve_stale_for)),
        }),
        pages: Some(pages_to_wire(&config.pages)),
        events: Some(v1::EventsConfig {
            public_tags: config.events.public_tags.clone(),
            allowed_origins: config.events.allowed_origins.clone(),
            heartbeat: Some(duration_to_wire(config.events.heartbeat)),
            max_connections: Some(config.events.max_connections),
            max_connections_per_address: config.events.max_connections_per_address,
        }),
    }
}

fn origin_to_wire(origin: &OriginConfig) -> v1::OriginConfig {
    v1::OriginConfig {
        upstreams: origin
            .upstreams
            .iter()
            .map(|u| v1::Upstream {
                url: u.url.clone(),
                ca_pem: u.ca_pem.clone(),
                sni: u.sni.clone(),
                protocol: match u.protocol {
                    Protocol::Auto => v1::UpstreamProtocol::Auto,
                    Protocol::Http1 => v1::UpstreamProtocol::Http1,
                    Protocol::Http2 => v1::UpstreamProtocol::Http2,
                }
                .into(),
            })
            .collect(),
        connect_timeout: Some(duration_to_wire(origin.connect_timeout)),
        first_byte_timeout: Some(duration_to_wire(origin.first_byte_timeout)),
        between_bytes_timeout: Some(duration_to_wire(origin.between_bytes_timeout)),
        max_in_flight: origin.max_in_flight,
        max_revalidations: origin.max_revalidations,
        host_header: origin.host_header.clone(),
        max_in_flight_per_upstream: origin.max_in_flight_per_upstream,
        queue_timeout: Some(duration_to_wire(origin.queue_timeout)),
        dns_refresh: Some(duration_to_wire(origin.dns_refresh)),
        breaker: Some(v1::Breaker {
            failures: origin.breaker.failures,
            pause: Some(duration_to_wire(origin.breaker.pause)),
            max_pause: Some(duration_to_wire(origin.breaker.max_pause)),
            count_5xx: origin.breaker.count_5xx,
        }),
        health_check: origin.health_check.as_ref().map(|check| v1::HealthCheck {
            path: check.path.clone(),
            interval: Some(duration_to_wire(check.interval)),
            timeout: Some(duration_to_wire(check.timeout)),
            min_status: check.min_status.into(),
            max_status: check.max_status.into(),
            unhealthy_after: check.unhealthy_after,
            healthy_after: check.healthy_after,
        }),
        finish_fill_bytes: Some(origin.finish_fill_bytes),
        max_request_bytes: Some(origin.max_request_bytes),
        max_tunnels: Some(origin.max_tunnels),
        tunnel_idle_timeout: Some(duration_to_wire(origin.tunnel_idle_timeout)),
    }
}

fn pages_to_wire(pages: &PagesConfig) -> v1::PagesConfig {
    v1::PagesConfig {
        state_path: pages.state_path.clone(),
        precache_header: pages.precache_header.clone(),
        immutable: pages.immutable.clone(),
        not_found: pages.not_found.clone(),
        redirects: pages
            .redirects
            .iter()
            .map(|r| v1::Redirect {
                from: r.from.clone(),
                to: r.to.clone(),
                status: r.status.into(),
            })
            .collect(),
        headers: pages
            .headers
            .iter()
            .map(|h| v1::HeaderRule {
                path: h.path.clone(),
                name: h.name.clone(),
                value: h.value.clone(),
            })
            .collect(),
    }
}

#[cfg(test)]
mod tests;
