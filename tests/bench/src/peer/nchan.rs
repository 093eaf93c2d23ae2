//! Nchan: one channel on nginx, published to by POST, heard by SSE.

use super::{Absent, Server, free_address, nginx};
use crate::context::Context;
use crate::install::{NCHAN, NGINX};

/// Path to POST a message to.
pub(crate) const PUBLISH: &str = "/publish";
/// Path of the event stream.
pub(crate) const SUBSCRIBE: &str = "/subscribe";

/// An nginx with one channel. Messages are kept for who reconnects, as Tidegate does.
pub(crate) fn start(context: &Context) -> Result<Server, Absent> {
    NGINX.ensure()?;
    NCHAN.ensure()?;
    let address = free_address()?;
    let modules = format!("load_module {};", NCHAN.file());
    let http = format!(
        "nchan_shared_memory_size 256m;
         server {{
             listen {address} backlog=4096;
             location = {PUBLISH} {{
                 nchan_publisher; nchan_channel_id bench;
                 nchan_message_buffer_length 10; nchan_message_timeout 1m;
             }}
             location = {SUBSCRIBE} {{
                 nchan_subscriber eventsource; nchan_channel_id bench;
                 nchan_subscriber_first_message newest;
             }}
         }}"
    );
    Ok(nginx::start(context, "nchan", address, &modules, &http)?)
}
