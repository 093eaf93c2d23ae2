//! Stored responses: what may be stored, for how long it is fresh, by which tags it
//! falls, and whether a copy may be used for one request.
//!
//! No network, and but for the disk no waiting: everything here is a function of what it
//! is given, or a table in memory.
//!
//! - [`policy`]: HTTP caching as RFC 9111 has it, a file a topic.
//! - [`tagging`]: the tags of a response.
//! - [`stamp`], [`fence`], [`tags`], `walk`, [`recent`], [`changed_here`], `old_changes`, [`faded`]: which
//!   invalidation, or change by an unsafe request, a copy is behind.
//! - [`key`], [`cookies`], [`stored`], [`fields`], [`partial`], [`resource`], [`storage`]: the copies;
//!   [`disk`]: those for which memory has no room.
//! - [`judge`]: whether a copy may be used.

pub mod changed_here;
pub mod cookies;
pub mod disk;
pub mod faded;
pub mod fence;
pub mod fields;
pub mod judge;
pub mod key;
mod old_changes;
pub mod partial;
pub mod policy;
pub mod recent;
pub mod resource;
pub mod stamp;
pub mod storage;
pub mod stored;
pub mod tagging;
pub mod tags;
mod walk;
