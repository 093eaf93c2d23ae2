//! The configuration of a site as it is written and sent.
//!
//! What each field is for whom it is written is said in
//! `services/cli/src/command/site/reference.md`, with its default and its bounds; tests there fail
//! for a field that is missing or said wrongly.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::duration;

/// How a site is served. The defaults are what an absent field means.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SiteConfig {
    /// Host names: exact, `*.example.com` for one more label, or `*` for every
    /// host no other site names. At least one.
    pub hosts: Vec<String>,
    /// Where everything the release does not hold comes from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub origin: Option<OriginConfig>,
    /// What makes two requests the same.
    pub key: KeyPolicy,
    /// How responses of the origin are cached.
    pub cache: CachePolicy,
    /// What browsers are told.
    pub browser: BrowserPolicy,
    /// What an edge does without a lease.
    pub fenced: FencedPolicy,
    /// How pages of the release are served.
    pub pages: PagesConfig,
    /// What browsers may hear.
    pub events: EventsConfig,
}

/// What browsers are told about reuse.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BrowserPolicy {
    /// `Cache-Control` of pages and of tagged responses.
    pub cache_control: String,
}

impl Default for BrowserPolicy {
    fn default() -> Self {
        Self {
            cache_control: "no-cache".into(),
        }
    }
}

/// The origin of a site.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OriginConfig {
    /// Servers with the same content. 1 to 16.
    pub upstreams: Vec<Upstream>,
    /// Time to establish a connection. 1 ms to 60 s.
    #[serde(with = "duration")]
    pub connect_timeout: Duration,
    /// Time from the end of the request to the headers. 1 ms to 600 s.
    #[serde(with = "duration")]
    pub first_byte_timeout: Duration,
    /// Longest silence inside a body. 1 ms to 600 s.
    #[serde(with = "duration")]
    pub between_bytes_timeout: Duration,
    /// Requests in flight from one edge, those that wait for an upstream included. 1 to
    /// 65,536.
    pub max_in_flight: u32,
    /// Of these, requests in flight to one upstream. 1 to 65,536.
    pub max_in_flight_per_upstream: u32,
    /// How long a request waits while every upstream has that many. At most 60 s; zero:
    /// not at all.
    #[serde(with = "duration")]
    pub queue_timeout: Duration,
    /// How old the addresses of an upstream's name may get before they are looked up
    /// again. 1 s to 1 h.
    #[serde(with = "duration")]
    pub dns_refresh: Duration,
    /// When an upstream that fails is left alone.
    pub breaker: BreakerConfig,
    /// How upstreams are asked whether they are well; absent: they are not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health_check: Option<HealthCheck>,
    /// When all who asked have gone, a response that may be stored is read on if no more
    /// than so many bytes of it are left. At most 1 GiB, the default: whatever may be stored.
    pub finish_fill_bytes: u64,
    /// Most bytes of the body of a request. At most 1 TiB; zero: none.
    pub max_request_bytes: u64,
    /// Connections that have switched to another protocol, from one edge; they have no place
    /// in `max_in_flight`. At most 65,536; zero: none.
    pub max_tunnels: u32,
    /// Such a connection ends when for so long no byte has come from either side nor been
    /// taken by either. 1 s to 24 h.
    #[serde(with = "duration")]
    pub tunnel_idle_timeout: Duration,
    /// Of these, requests that ask whether a copy still holds; the most wanted go
    /// first, the others wait. 1 to 65,536.
    pub max_revalidations: u32,
    /// What `Host` the origin sees: empty for the client's, or a fixed name.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub host_header: String,
}

impl Default for OriginConfig {
    fn default() -> Self {
        Self {
            upstreams: Vec::new(),
            connect_timeout: Duration::from_secs(5),
            first_byte_timeout: Duration::from_secs(30),
            between_bytes_timeout: Duration::from_secs(30),
            max_in_flight: 1024,
            max_in_flight_per_upstream: 1024,
            queue_timeout: Duration::from_secs(1),
            dns_refresh: Duration::from_secs(30),
            breaker: BreakerConfig::default(),
            health_check: None,
            finish_fill_bytes: 1 << 30,
            max_request_bytes: 64 << 20,
            max_tunnels: 1024,
            tunnel_idle_timeout: Duration::from_secs(60 * 60),
            max_revalidations: 64,
            host_header: String::new(),
        }
    }
}

/// When an upstream that fails is left alone, and for how long.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BreakerConfig {
    /// Failures in a row: no connection, no head in time, or what is no head. 1 to 1,000.
    pub failures: u32,
    /// How long it is left alone the first time, less a random part of at most half.
    /// Then one request finds out how it is. 10 ms to `max_pause`.
    #[serde(with = "duration")]
    pub pause: Duration,
    /// Each time that it fails again the pause is twice as long, up to this. At most
    /// 10 min.
    #[serde(with = "duration")]
    pub max_pause: Duration,
    /// Whether a response with a status of 500 or above is a failure too.
    pub count_5xx: bool,
}

impl Default for BreakerConfig {
    fn default() -> Self {
        Self {
            failures: 5,
            pause: Duration::from_secs(1),
            max_pause: Duration::from_secs(5),
            count_5xx: false,
        }
    }
}

/// How an upstream is asked whether it is well.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HealthCheck {
    /// Path and query that are asked for with GET.
    pub path: String,
    /// Time from one check to the next, give or take a tenth. 100 ms to 10 min.
    #[serde(with = "duration")]
    pub interval: Duration,
    /// Time for the connection and the head of the response. 1 ms to 60 s.
    #[serde(with = "duration")]
    pub timeout: Duration,
    /// The lowest status of one that is well. 100 to 599.
    pub min_status: u16,
    /// The highest one. `min_status` to 599.
    pub max_status: u16,
    /// Checks that fail in a row until nothing more is asked of it. 1 to 100.
    pub unhealthy_after: u32,
    /// Checks that succeed in a row until it is asked again. 1 to 100.
    pub healthy_after: u32,
}

impl Default for HealthCheck {
    fn default() -> Self {
        Self {
            path: "/".into(),
            interval: Duration::from_secs(10),
            timeout: Duration::from_secs(2),
            min_status: 200,
            max_status: 399,
            unhealthy_after: 3,
            healthy_after: 2,
        }
    }
}

/// The version of HTTP that an upstream speaks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Protocol {
    /// Over TLS what the handshake finds (ALPN), HTTP/2 if it can be; in the clear
    /// HTTP/1.1.
    #[default]
    Auto,
    /// HTTP/1.1.
    Http1,
    /// HTTP/2. In the clear the upstream has to expect it (prior knowledge).
    Http2,
}

/// One server of the origin.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Upstream {
    /// `http://host[:port]` or `https://host[:port]`, without a path.
    pub url: String,
    /// PEM certificates trusted in place of the public roots.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub ca_pem: String,
    /// Name to ask for in the TLS handshake in place of the host of `url`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub sni: String,
    /// The version of HTTP that it speaks.
    pub protocol: Protocol,
}

/// What makes two requests the same, besides host and path.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct KeyPolicy {
    /// Which parameters of the query count.
    pub query_mode: QueryMode,
    /// The parameters that are kept or dropped.
    pub query_params: Vec<String>,
    /// Sorts the parameters by name, keeping the order of equal names.
    pub query_sort: bool,
    /// Request fields that are part of the key.
    pub headers: Vec<String>,
    /// Cookies that are part of the key.
    pub cookies: Vec<String>,
    /// Cookies that mean nothing, unless they are part of the key: the origin does not see
    /// them with GET and HEAD. A `*` at the end stands for any run of characters.
    pub ignored_cookies: Vec<String>,
}

/// Which parameters of the query count.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum QueryMode {
    /// All of them.
    #[default]
    All,
    /// Only the named ones.
    Allow,
    /// All but the named ones.
    Drop,
}

/// How responses of the origin are cached, where they do not say themselves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CachePolicy {
    /// Freshness of a cacheable response that states none and is no error. Zero, the
    /// default, leaves it to the heuristic of RFC 9111, section 4.2.2. At most 366 days.
    #[serde(with = "duration")]
    pub default_ttl: Duration,
    /// Freshness of a 404, a 410 or a 5xx that states none, so that the origin is not asked
    /// again and again for what is not there or fails. Zero, the default: such a response
    /// is used again only by its own fields. At most one day.
    #[serde(with = "duration")]
    pub negative_ttl: Duration,
    /// How long a stale copy may be used while it is refreshed (RFC 5861).
    #[serde(with = "duration")]
    pub stale_while_revalidate: Duration,
    /// How long a stale copy may be used when the origin fails (RFC 5861).
    #[serde(with = "duration")]
    pub stale_if_error: Duration,
    /// How long a stale copy may be used while the origin gives no answer at all, unless
    /// the response forbids it (RFC 9111, section 4.2.4). 60 s by default, at most 366 days.
    /// Never what a hard invalidation has hit, and never without a lease.
    #[serde(with = "duration")]
    pub stale_if_unreachable: Duration,
    /// The largest body that is stored, in bytes. At most 1 GiB.
    pub max_object_bytes: u64,
    /// Responses kept for one key by `Vary`. 1 to 256.
    pub max_variants: u32,
    /// Response fields that carry tags.
    pub tag_headers: Vec<String>,
    /// Response fields that take the place of `Cache-Control` and `Expires` at the edge
    /// (RFC 9213), the one that counts most first. All of them are Structured Fields but
    /// `Surrogate-Control`, which has a grammar of its own.
    pub targeted_headers: Vec<String>,
    /// What edges share with each other through the control plane; absent: nothing. Needs
    /// an origin.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub second_tier: Option<SecondTier>,
}

/// What edges share with each other through the control plane, so that a new edge starts
/// warm and the origin answers once for all of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SecondTier {
    /// The largest body that is shared, in bytes. 1 to 4,000,000.
    pub max_body_bytes: u64,
    /// Only what is fresh for as long yet is shared. 5 s to 366 days.
    #[serde(with = "duration")]
    pub min_fresh: Duration,
    /// How long a look-up may take before the origin is asked. 1 ms to 1 s.
    #[serde(with = "duration")]
    pub look_up_timeout: Duration,
    /// How long a request waits for what another edge is fetching before it asks the
    /// origin itself. At most 3 s; zero: not at all.
    #[serde(with = "duration")]
    pub wait: Duration,
}

impl Default for SecondTier {
    fn default() -> Self {
        Self {
            max_body_bytes: 256 << 10,
            min_fresh: Duration::from_secs(10),
            look_up_timeout: Duration::from_millis(250),
            wait: Duration::from_secs(1),
        }
    }
}

impl Default for CachePolicy {
    fn default() -> Self {
        Self {
            default_ttl: Duration::ZERO,
            negative_ttl: Duration::ZERO,
            stale_while_revalidate: Duration::ZERO,
            stale_if_error: Duration::ZERO,
            stale_if_unreachable: Duration::from_secs(60),
            max_object_bytes: 16 << 20,
            max_variants: 16,
            tag_headers: ["cache-tag", "surrogate-key", "xkey"]
                .map(String::from)
                .to_vec(),
            targeted_headers: ["cdn-cache-control", "surrogate-control"]
                .map(String::from)
                .to_vec(),
            second_tier: None,
        }
    }
}

impl FencedPolicy {
    /// For how long an edge may serve copies as they are without a lease.
    #[must_use]
    pub fn stale_bound(&self) -> Duration {
        match self.mode {
            FencedMode::ServeStale => self.serve_stale_for,
            FencedMode::Revalidate | FencedMode::Fail => Duration::ZERO,
        }
    }
}

/// What an edge does with its copies while it has no lease.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FencedPolicy {
    /// What it does.
    pub mode: FencedMode,
    /// With `serve-stale`: how long after the lease ended. At most one day.
    #[serde(with = "duration")]
    pub serve_stale_for: Duration,
}

/// What an edge does with its copies while it has no lease.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FencedMode {
    /// Ask the origin before every reuse.
    #[default]
    Revalidate,
    /// Serve copies as they are for a bounded time, marked.
    ServeStale,
    /// Answer 503.
    Fail,
}

/// How pages of the release are served.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PagesConfig {
    /// Path at the origin that answers with a page's state, such as
    /// `/api/state{path}` or `/api/state?page={path}`; `{path}` stands for the
    /// page's path, percent-encoded where it is part of a query.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub state_path: String,
    /// Request field that marks a service worker's precache.
    pub precache_header: String,
    /// Path patterns whose names hold a fingerprint: sent as `immutable`.
    pub immutable: Vec<String>,
    /// Page served, with 404, for a path that is neither in the release nor at
    /// an origin.
    pub not_found: String,
    /// Redirects; the first match wins. At most 10,000.
    pub redirects: Vec<Redirect>,
    /// Fields added by path pattern. At most 1,000.
    pub headers: Vec<HeaderRule>,
}

impl Default for PagesConfig {
    fn default() -> Self {
        Self {
            state_path: String::new(),
            precache_header: "tidegate-precache".into(),
            immutable: Vec::new(),
            not_found: "/404.html".into(),
            redirects: Vec::new(),
            headers: Vec::new(),
        }
    }
}

/// Sends a path somewhere else.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Redirect {
    /// Path, exact.
    pub from: String,
    /// Path or absolute URL.
    pub to: String,
    /// 301, 302, 303, 307 or 308.
    #[serde(default = "permanent_redirect")]
    pub status: u16,
}

fn permanent_redirect() -> u16 {
    308
}

/// A field for paths.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HeaderRule {
    /// Path pattern; `*` stands for any run of characters.
    pub path: String,
    /// Field name.
    pub name: String,
    /// Field value.
    pub value: String,
}

/// What browsers may hear.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EventsConfig {
    /// Tag patterns that anyone may hear of.
    pub public_tags: Vec<String>,
    /// Origins that may read across origins, or `*`.
    pub allowed_origins: Vec<String>,
    /// Time between heartbeats. 1 s to 300 s.
    #[serde(with = "duration")]
    pub heartbeat: Duration,
    /// Open connections of the site on one edge.
    pub max_connections: u32,
    /// Open connections from one address.
    pub max_connections_per_address: u32,
}

impl Default for EventsConfig {
    fn default() -> Self {
        Self {
            public_tags: Vec::new(),
            allowed_origins: Vec::new(),
            heartbeat: Duration::from_secs(15),
            max_connections: 50_000,
            max_connections_per_address: 100,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
