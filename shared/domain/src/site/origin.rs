//! The rules of what is said of an origin.

use std::time::Duration;

use super::config::{BreakerConfig, HealthCheck, OriginConfig};
use super::rules::{check_duration, check_number, each};
use super::upstream::UpstreamUrl;
use crate::{FieldError, PathAndQuery, normalize_host};

/// The origin's servers, in the order of the configuration.
///
/// # Errors
/// The first field that breaks one of its rules.
pub(super) fn check_origin(origin: &OriginConfig) -> Result<Vec<UpstreamUrl>, FieldError> {
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
        "max_in_flight_per_upstream",
        origin.max_in_flight_per_upstream.into(),
        1..=65_536,
    )?;
    check_duration(
        "queue_timeout",
        origin.queue_timeout,
        Duration::ZERO..=minute,
    )?;
    check_duration(
        "dns_refresh",
        origin.dns_refresh,
        Duration::from_secs(1)..=60 * minute,
    )?;
    check_breaker(&origin.breaker).map_err(|e| e.within("breaker"))?;
    if let Some(check) = &origin.health_check {
        check_health_check(check).map_err(|e| e.within("health_check"))?;
    }
    check_number("finish_fill_bytes", origin.finish_fill_bytes, 0..=1 << 30)?;
    check_number("max_request_bytes", origin.max_request_bytes, 0..=1 << 40)?;
    check_number("max_tunnels", origin.max_tunnels.into(), 0..=65_536)?;
    check_duration(
        "tunnel_idle_timeout",
        origin.tunnel_idle_timeout,
        Duration::from_secs(1)..=24 * 60 * minute,
    )?;
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

fn check_breaker(breaker: &BreakerConfig) -> Result<(), FieldError> {
    let ten_minutes = Duration::from_secs(600);
    check_number("failures", breaker.failures.into(), 1..=1_000)?;
    check_duration(
        "max_pause",
        breaker.max_pause,
        Duration::from_millis(10)..=ten_minutes,
    )?;
    check_duration(
        "pause",
        breaker.pause,
        Duration::from_millis(10)..=breaker.max_pause,
    )
}

fn check_health_check(check: &HealthCheck) -> Result<(), FieldError> {
    PathAndQuery::parse(&check.path).map_err(|e| e.within("path"))?;
    let (minute, ten_minutes) = (Duration::from_secs(60), Duration::from_secs(600));
    check_duration(
        "interval",
        check.interval,
        Duration::from_millis(100)..=ten_minutes,
    )?;
    check_duration("timeout", check.timeout, Duration::from_millis(1)..=minute)?;
    check_number("min_status", check.min_status.into(), 100..=599)?;
    check_number(
        "max_status",
        check.max_status.into(),
        check.min_status.into()..=599,
    )?;
    check_number("unhealthy_after", check.unhealthy_after.into(), 1..=100)?;
    check_number("healthy_after", check.healthy_after.into(), 1..=100)
}

#[cfg(test)]
mod tests {
    use super::super::config::Upstream;
    use super::*;

    #[test]
    fn an_error_of_the_origin_names_the_field() {
        type Break = fn(&mut OriginConfig);
        let broken: [(Break, &str); 12] = [
            (|o| o.finish_fill_bytes = (1 << 30) + 1, "finish_fill_bytes"),
            (|o| o.max_request_bytes = (1 << 40) + 1, "max_request_bytes"),
            (|o| o.max_tunnels = 65_537, "max_tunnels"),
            (
                |o| o.tunnel_idle_timeout = Duration::from_millis(999),
                "tunnel_idle_timeout",
            ),
            (
                |o| o.tunnel_idle_timeout = Duration::from_secs(86_401),
                "tunnel_idle_timeout",
            ),
            (
                |o| o.max_in_flight_per_upstream = 0,
                "max_in_flight_per_upstream",
            ),
            (
                |o| o.queue_timeout = Duration::from_secs(61),
                "queue_timeout",
            ),
            (|o| o.dns_refresh = Duration::ZERO, "dns_refresh"),
            (|o| o.breaker.failures = 0, "breaker.failures"),
            (
                |o| o.breaker.pause = Duration::from_secs(11),
                "breaker.pause",
            ),
            (
                |o| {
                    let path = "healthz".into();
                    o.health_check = Some(HealthCheck {
                        path,
                        ..HealthCheck::default()
                    });
                },
                "health_check.path",
            ),
            (
                |o| {
                    o.health_check = Some(HealthCheck {
                        max_status: 199,
                        ..HealthCheck::default()
                    });
                },
                "health_check.max_status",
            ),
        ];
        for (breaks, field) in broken {
            let mut origin = OriginConfig {
                upstreams: vec![Upstream {
                    url: "http://a".into(),
                    ..Upstream::default()
                }],
                health_check: Some(HealthCheck::default()),
                ..OriginConfig::default()
            };
            check_origin(&origin).unwrap();
            breaks(&mut origin);
            assert_eq!(check_origin(&origin).unwrap_err().field, field);
        }
    }
}
