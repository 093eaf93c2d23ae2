//! The sample site that `tidegate dev` shows when it is given nothing: a few pages of
//! our own, and a tiny origin, so that something can change.
//!
//! It uses what any site can use and knows nothing of the rest of this crate.

mod files;
mod items;
mod origin;

pub use files::unpack;
pub use origin::{STATE_PATH, router, serve};
