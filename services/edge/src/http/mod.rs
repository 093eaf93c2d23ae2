//! From a connection to the room that answers it.

mod access;
mod explain;
mod front;
mod min_revision;
mod server;
mod state;
#[cfg(test)]
mod tests;

pub(crate) use explain::explain;
pub use front::{Front, FrontOptions};
pub use server::{Server, ServerLimits};
