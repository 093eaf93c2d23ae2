//! From wire types to domain types and back.

mod call;
mod site;
mod time;

pub use call::{
    mode_from_wire, mode_to_wire, parse_audience, parse_field, parse_path, parse_patterns,
    parse_url,
};
pub use site::{site_from_wire, site_to_wire};
pub use time::{duration_from_wire, duration_to_wire, time_from_wire, time_to_wire};
