//! The control plane in this process, on free ports, asked by real gRPC clients.
#![expect(clippy::unwrap_used, reason = "a test fails where this panics")]

mod audit;
mod backup;
mod bad_input;
mod entries;
mod explain;
mod idempotency;
mod invalidation;
mod leases;
mod process;
mod releases;
mod rig;
mod schedules;
mod shares;
mod sites;
mod subscription;
