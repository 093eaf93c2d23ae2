//! From a connection to the room that answers it.

mod access;
mod admission;
mod batch;
mod connection;
mod explain;
mod front;
mod linger;
mod min_revision;
mod options;
mod patience;
mod server;
mod state;
mod streams;
#[cfg(test)]
mod tests;
mod trusted;
mod usage;

pub(crate) use admission::admit;
pub(crate) use explain::explain;
pub use front::{Front, FrontOptions};
pub(crate) use min_revision::wanted;
pub use server::{Server, ServerLimits};
pub use trusted::{Network, ProxyField, TrustedProxies};
