//! What every service does with the network alike: where it listens, and how long
//! it waits before it tries again.

mod backoff;
mod listen;

pub use backoff::{Backoff, spread};
pub use listen::{ListenError, bind};
