//! gRPC: adapters for callers. They read and check messages, hand them on as domain
//! values, and write what comes back; they decide nothing.

mod admin;
mod backup;
mod blob;
mod cache;
mod call;
mod context;
mod edge;
mod entry;
mod explain;
mod fault;
mod fields;
mod fleet;
mod lookup;
mod page;
mod refused;
mod replay;
mod schedule;
mod server;
mod share;
mod site;
mod upload;
mod wait;

use tidegate_proto::{Code, Error};
use tonic::Status;

pub(crate) use context::Context;
pub use context::Limits;
pub(crate) use server::serve;
pub(crate) use wait::MAX_WAIT;

/// The answer to calls that are not built.
fn unimplemented(call: &str) -> Status {
    let text = format!("{call} is not implemented by this version of the control plane");
    Error::new(Code::Unimplemented, text).into()
}
