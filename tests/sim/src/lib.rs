//! The real control plane, three real edges, an origin, visitors, browsers that listen
//! and backends, in one process on simulated time and a simulated network, with faults
//! from a seed.
//!
//! A machine is a Tokio runtime of its own whose time moves only when the simulation
//! says so: dropping it is a crash, leaving it alone is a pause, and its clock may run
//! at a rate of its own. One thread runs them in turns, and whatever is random comes
//! from the seed, so a seed that fails fails again.
//!
//! From below: `entropy`, `rng`, `clock`, `machine`, `net`: the world. `disk`,
//! `service`: the products in it. `items`, `truth`, `calm`, `trace`: what is true,
//! who has to answer, and what happened.
//! `origin`, `visit`, `hear`, `backend`: who is there. `plan`, `run`, `finale`: one
//! simulation. `many`: many of them, each in a process of its own.

pub mod backend;
pub mod broken;
pub mod calm;
pub mod cast;
pub mod cli;
pub mod clock;
pub mod disk;
pub mod entropy;
pub mod finale;
pub mod hear;
pub mod items;
pub mod machine;
pub mod many;
pub mod net;
pub mod origin;
pub mod plan;
pub mod rng;
pub mod run;
pub mod service;
pub mod trace;
pub mod truth;
pub mod visit;
