//! What browsers are told: server-sent events (WHATWG HTML, section 9.2) of one
//! site at `/_tidegate/events`, and the client that listens to them.
//!
//! [`SiteEvents`] is one site. The link publishes into it in the order of the log,
//! after the edge has applied what it publishes. Browsers with the same interests
//! form a group: an event is narrowed and encoded once for a group and its frame is
//! shared. A connection is an [`EventsBody`] that keeps a place in its group's ring
//! and a waker: no task, channel, timer or buffer of its own.
//!
//! Two rules keep a stream whole. An `id:` is sent only once everything up to it
//! has been handed over, so a browser may resume from any id it saw. And a
//! connection knows the revision it stands at and passes over frames at or below
//! it, so replay and live may overlap and yet nothing is told twice.
//!
//! Nothing here knows gRPC, the cache or the origin.

mod body;
mod caps;
mod client;
mod cors;
mod event;
mod fold;
mod frame;
mod group;
mod hearing;
mod limits;
mod request;
mod resume;
mod serve;
mod site;
mod terms;
#[cfg(test)]
mod tests;

pub use body::EventsBody;
pub use client::serve_client;
pub use cors::Cors;
pub use event::{Kind, SiteEvent};
pub use limits::Limits;
pub use request::Call;
pub(crate) use request::interests;
pub use resume::{Replay, Replayed};
pub use site::SiteEvents;
