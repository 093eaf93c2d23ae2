//! Who uses the site, and writes down what it sees.

mod backend;
mod listener;
mod reader;

pub use backend::{Backend, invalidate_everything};
pub use listener::{Heard, Listener};
pub use reader::{read, read_on};
