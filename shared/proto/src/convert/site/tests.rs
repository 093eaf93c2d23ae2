use super::*;

#[test]
fn every_field_survives_the_wire() {
    let config = SiteConfig {
        hosts: vec!["a.example".into()],
        origin: Some(OriginConfig {
            upstreams: vec![Upstream {
                url: "https://o.example".into(),
                ca_pem: "pem".into(),
                sni: "s.example".into(),
                protocol: Protocol::Http2,
            }],
            connect_timeout: Duration::from_millis(7),
            first_byte_timeout: Duration::from_millis(8),
            between_bytes_timeout: Duration::from_millis(9),
            max_in_flight: 3,
            max_revalidations: 2,
            host_header: "h.example".into(),
            max_in_flight_per_upstream: 4,
            queue_timeout: Duration::ZERO,
            dns_refresh: Duration::from_secs(8),
            breaker: BreakerConfig {
                failures: 6,
                pause: Duration::from_millis(20),
                max_pause: Duration::from_millis(30),
                count_5xx: true,
            },
            health_check: Some(HealthCheck {
                path: "/h".into(),
                interval: Duration::from_millis(101),
                timeout: Duration::from_millis(102),
                min_status: 204,
                max_status: 205,
                unhealthy_after: 1,
                healthy_after: 3,
            }),
            finish_fill_bytes: 0,
            max_request_bytes: 0,
            max_tunnels: 0,
            tunnel_idle_timeout: Duration::from_secs(1),
        }),
        key: KeyPolicy {
            query_mode: QueryMode::Allow,
            query_params: vec!["q".into()],
            query_sort: true,
            headers: vec!["x-a".into()],
            cookies: vec!["c".into()],
            ignored_cookies: vec!["_d*".into()],
        },
        cache: CachePolicy {
            default_ttl: Duration::from_secs(1),
            stale_while_revalidate: Duration::from_secs(2),
            stale_if_error: Duration::from_secs(3),
            stale_if_unreachable: Duration::ZERO,
            max_object_bytes: 4,
            max_variants: 5,
            tag_headers: vec!["x-tag".into()],
            negative_ttl: Duration::from_secs(7),
            targeted_headers: vec!["x-cache-control".into()],
            second_tier: Some(SecondTier {
                max_body_bytes: 8,
                min_fresh: Duration::from_secs(9),
                look_up_timeout: Duration::from_millis(10),
                wait: Duration::ZERO,
            }),
        },
        browser: BrowserPolicy {
            cache_control: "max-age=1".into(),
        },
        fenced: FencedPolicy {
            mode: FencedMode::ServeStale,
            serve_stale_for: Duration::from_secs(6),
        },
        pages: PagesConfig {
            state_path: "/s{path}".into(),
            precache_header: "x-pre".into(),
            immutable: vec!["/f/*".into()],
            not_found: "/nf".into(),
            redirects: vec![Redirect {
                from: "/a".into(),
                to: "/b".into(),
                status: 302,
            }],
            headers: vec![HeaderRule {
                path: "/*".into(),
                name: "x".into(),
                value: "y".into(),
            }],
        },
        events: EventsConfig {
            public_tags: vec!["t*".into()],
            allowed_origins: vec!["*".into()],
            heartbeat: Duration::from_secs(7),
            max_connections: 8,
            max_connections_per_address: 9,
        },
    };
    let read = site_from_wire(site_to_wire(&config)).unwrap();
    assert_eq!(read.config(), &config);
}

#[test]
fn absent_messages_mean_the_defaults() {
    let wire = v1::SiteConfig {
        hosts: vec!["*".into()],
        ..v1::SiteConfig::default()
    };
    let expected = SiteConfig {
        hosts: vec!["*".into()],
        ..SiteConfig::default()
    };
    assert_eq!(site_from_wire(wire).unwrap().config(), &expected);
}

#[test]
fn a_zero_that_is_allowed_is_not_taken_for_the_default() {
    let mut config = SiteConfig {
        hosts: vec!["*".into()],
        ..SiteConfig::default()
    };
    config.cache.max_object_bytes = 0;
    config.cache.stale_if_unreachable = Duration::ZERO;
    config.events.max_connections = 0;
    let read = site_from_wire(site_to_wire(&config)).unwrap();
    assert_eq!(read.config(), &config);
}

#[test]
fn errors_name_the_path_of_the_field() {
    let wire = v1::SiteConfig {
        hosts: vec!["*".into()],
        fenced: Some(v1::FencedPolicy {
            mode: 77,
            serve_stale_for: None,
        }),
        ..v1::SiteConfig::default()
    };
    assert_eq!(
        site_from_wire(wire).unwrap_err().field,
        "config.fenced.mode"
    );
}
