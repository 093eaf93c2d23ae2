//! The directives of `Cache-Control` (RFC 9111, section 5.2) and of the fields that stand
//! in its place for caches like this one.
//!
//! - [`ResponseDirectives`], [`RequestDirectives`]: what they say.
//! - [`stated`]: which field of a response it is that counts (RFC 9213, section 2.2).
//!
//! What is malformed makes a response less reusable, never more.

mod grammar;
mod request;
mod response;
mod targeted;

pub use request::RequestDirectives;
pub use response::{ResponseDirectives, Scope};
pub use targeted::{Stated, stated};
