//! The targets by name.

mod cache;
mod conditions;
mod domain;
mod http;
mod origin;
mod stored;
mod wire;

/// A target.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// Its name, which is that of its folder of seeds.
    pub name: &'static str,
    /// Panics if something does not hold.
    pub run: fn(&[u8]),
}

/// All of them.
pub const TARGETS: &[Target] = &[
    target("cache-control", cache::cache_control),
    target("targeted", cache::targeted),
    target("storable", cache::storable),
    target("vary", cache::vary),
    target("cache-groups", cache::groups),
    target("tags", cache::tags),
    target("cache-status", cache::cache_status),
    target("date", conditions::date),
    target("conditions", conditions::conditions),
    target("range", conditions::range),
    target("content-range", conditions::content_range),
    target("url", domain::url),
    target("key", domain::key),
    target("key-fields", domain::key_fields),
    target("host", domain::host),
    target("pattern", domain::pattern),
    target("cursor", domain::cursor),
    target("trusted", http::trusted),
    target("admission", http::admission),
    target("hop-by-hop", origin::hop_by_hop),
    target("unkeyed", origin::unkeyed),
    target("location", origin::location),
    target("trace-context", origin::trace_context),
    target("events", origin::events),
    target("min-revision", origin::min_revision),
    target("site-config", wire::site_config),
    target("invalidate", wire::invalidate),
    target("event", wire::event),
    target("schedule-and-hint", wire::calls),
    target("manifest", stored::manifest),
    target("page-state", stored::page_state),
    target("backup", stored::backup),
    target("records", stored::records),
    target("disk", stored::disk),
];

const fn target(name: &'static str, run: fn(&[u8])) -> Target {
    Target { name, run }
}
