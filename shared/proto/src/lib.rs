//! The wire: generated code, the way from wire types to domain types and back, and
//! how errors look to a caller.
//!
//! Whoever receives a message converts it here, once; behind this crate only
//! domain types are met. No service logic.

mod convert;
mod error;

/// The contract, package `tidegate.v1`.
#[allow(warnings, clippy::all, reason = "generated code")]
pub mod v1 {
    tonic::include_proto!("tidegate.v1");
}

/// What the control plane keeps on disk.
pub mod storage {
    /// Package `tidegate.storage.v1`.
    #[allow(warnings, clippy::all, reason = "generated code")]
    pub mod v1 {
        tonic::include_proto!("tidegate.storage.v1");
    }
}

/// Descriptors of everything, for reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

/// The version of the meaning of [`v1::Event`] that this code understands whole.
pub const EVENT_VERSION: u32 = 1;

pub use convert::{
    duration_from_wire, duration_to_wire, mode_from_wire, mode_to_wire, parse_audience,
    parse_field, parse_path, parse_patterns, parse_url, site_from_wire, site_to_wire,
    time_from_wire, time_to_wire,
};
pub use error::{Code, Error};
