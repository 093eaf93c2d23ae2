//! From a connection to the room that answers it.

mod access;
mod front;
mod min_revision;
mod server;
mod state;

pub use front::{Front, FrontOptions};
pub use server::{Server, ServerLimits};
