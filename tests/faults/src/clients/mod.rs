//! Who uses the site, and writes down what it sees.

mod backend;
mod listener;
mod operator;
mod reader;

pub use backend::{Backend, invalidate_everything};
pub use listener::{Heard, Listener};
pub use operator::{Operator, REFUSED};
pub use reader::{What, read, read_on};
