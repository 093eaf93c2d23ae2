//! What end-to-end tests stand on: the real programs as processes, an origin that does
//! what the test says, and small clients for HTTP, server-sent events and gRPC.
//!
//! The tests themselves are in `tests/`, one program of many modules. They use what any
//! user of Tidegate can use: flags, gRPC, HTTP, signals. No crate of a service may be
//! a dependency here.
//!
//! Everything in this crate panics with the reason when a test cannot go on, and every
//! process is killed when its handle is dropped; if that happens because the test
//! panicked, the end of the process's log is printed.

pub mod cli;
pub mod fleet;
pub mod frames;
pub mod gate;
pub mod http;
pub mod link;
pub mod origin;
pub mod process;
pub mod programs;
pub mod raw;
pub mod sse;
pub mod wait;

pub use cli::Cli;
pub use fleet::{Calls, ControlPlane, Dev, Edge};
pub use gate::Gate;
pub use http::{HttpClient, Reply};
pub use link::Link;
pub use origin::{Answer, Origin};
pub use process::{Launch, Process};
pub use sse::{Events, ServerSentEvent};
pub use tidegate_proto::v1;
pub use tidegate_telemetry::testing as telemetry;
pub use wait::{PATIENCE, eventually, within};
