//! What a site is: the configuration that says how it is served.
//!
//! [`SiteConfig`] is what people write as YAML or TOML and what travels as one
//! protobuf message. [`SiteConfig::check`] is the only way to a [`CheckedSite`],
//! so a service never meets a configuration that breaks a rule.

mod checked;
mod config;
mod duration;
mod host;
mod key;
mod origin;
mod rules;
mod upstream;

pub use checked::CheckedSite;
pub use config::{
    BreakerConfig, BrowserPolicy, CachePolicy, EventsConfig, FencedMode, FencedPolicy, HeaderRule,
    HealthCheck, KeyPolicy, OriginConfig, PagesConfig, Protocol, QueryMode, Redirect, SecondTier,
    SiteConfig, Upstream,
};
pub use host::HostPattern;
pub use upstream::{Scheme, UpstreamUrl};
