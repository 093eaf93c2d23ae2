//! What every service does alike towards the outside: where it listens, how it
//! connects, how long it waits before it tries again, and which signals end it.

mod backoff;
mod dial;
mod files;
mod listen;
mod listener;
mod stop;

pub use backoff::{Backoff, spread};
pub use dial::{Connector, Dial, Dialed, Dialer, Duplex};
pub use files::raise_file_limit;
pub use listen::{ListenError, bind};
pub use listener::{Abort, Listener};
pub use stop::stop_on_signal;
