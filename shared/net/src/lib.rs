//! What every service does alike towards the outside: where it listens, how long it
//! waits before it tries again, and which signals end it.

mod backoff;
mod files;
mod listen;
mod stop;

pub use backoff::{Backoff, spread};
pub use files::raise_file_limit;
pub use listen::{ListenError, bind};
pub use stop::stop_on_signal;
