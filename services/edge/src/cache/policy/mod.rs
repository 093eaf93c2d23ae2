//! HTTP caching for a shared cache (RFC 9111), a file a topic.
//!
//! - [`directives`]: `Cache-Control` of responses and requests, and the fields that stand
//!   in its place.
//! - [`date`], `list`: how fields are written.
//! - [`content`]: which fields are about the content of one message.
//! - [`freshness`]: for how long a response is fresh, and how old it is.
//! - [`asked`]: by what the origin may know who asks.
//! - [`storable`]: whether a response may be stored; [`terms`]: how it may be used then.
//! - [`vary`]: which requests a stored response answers.
//! - [`invalidation`], [`groups`]: what an unsafe request makes useless.
//! - [`validation`]: asking the origin whether a copy is still good, and what a 304
//!   does to it.

pub mod asked;
pub mod content;
pub mod date;
pub mod directives;
pub mod freshness;
pub mod groups;
pub mod invalidation;
mod list;
pub mod storable;
pub mod terms;
pub mod validation;
pub mod vary;
