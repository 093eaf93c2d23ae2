//! The words of Tidegate as types: tags and patterns, positions in the log, sites
//! and their policies, and the checks that bring text from outside into them.
//!
//! Pure: no I/O, no clock, no wire format. Everything here is deterministic, so
//! that the control plane, every edge and every simulation decide alike.

mod cursor;
mod digest;
mod error;
mod event;
mod glob;
mod name;
pub mod site;
mod tag;
mod url;

pub use cursor::{Cursor, CursorError, Epoch, Revision, SiteFilter, Term};
pub use digest::{Digest, DigestHasher};
pub use error::FieldError;
pub use event::{EventType, Mode, RESERVED_EVENT_TYPES};
pub use glob::{glob_intersects, glob_matches};
pub use name::{EdgeId, InstanceId, ScheduleName, SiteName};
pub use tag::{MAX_PATTERNS, MAX_TAG_BYTES, MAX_TAGS, Tag, TagKind, TagPattern, cascade};
pub use url::{
    CUT_TAG_BYTES, MAX_URL_BYTES, PathAndQuery, group_tag, host_tag, normalize_host, url_tag,
};
