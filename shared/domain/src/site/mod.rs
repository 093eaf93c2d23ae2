//! What a site is: the configuration that says how it is served.
//!
//! [`SiteConfig`] is what people write as YAML or TOML and what travels as one
//! protobuf message. [`SiteConfig::check`] is the only way to a [`CheckedSite`],
//! so a service never meets a configuration that breaks a rule.

mod checked;
mod config;
mod duration;
mod key;

pub use checked::{CheckedSite, HostPattern, Scheme, UpstreamUrl};
pub use config::{
    BrowserPolicy, CachePolicy, EventsConfig, FencedMode, FencedPolicy, HeaderRule, KeyPolicy,
    OriginConfig, PagesConfig, QueryMode, Redirect, SiteConfig, Upstream,
};
