//! Pages and assets of the active release.
//!
//! A release is immutable, so its resources are outside the lease: what changes is
//! only which release is active. Blobs come from the control plane, are kept on
//! disk by digest and in bounded memory.

mod blobs;
mod encoding;
mod explain;
mod parts;
mod redirect;
mod release;
mod representation;
mod serve;
mod state;

pub use blobs::{Blob, BlobError, BlobSource, BlobStream, Blobs};
pub use explain::PageExplanation;
pub use release::{Release, SitePages};
pub(crate) use serve::not_here_yet;
pub use serve::{NotInRelease, PageRequest};
pub use state::{StateError, StateFetch, StateSource};

#[cfg(test)]
mod tests;
