//! nginx: `proxy_cache`, and `return` of the same bytes as the floor.

use std::fs;
use std::net::SocketAddr;

use anyhow::Context as _;

use super::process::{Process, on_cores};
use super::{
    Absent, Protocol, Server, first_line, free_address, log, version_in, wait_for_listener,
};
use crate::context::Context;
use crate::install::NGINX;

/// Whether nginx keeps the files of its cache open, which saves an open() for each hit
/// and is not what it does by default.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum CacheFiles {
    OpenedEachTime,
    KeptOpen,
}

/// A cache in front of `origin`, its files in memory.
pub(crate) fn proxy_cache(
    context: &Context,
    origin: SocketAddr,
    files: CacheFiles,
    protocol: Protocol,
) -> Result<Server, Absent> {
    NGINX.ensure()?;
    let address = free_address()?;
    let (name, open_files) = match files {
        CacheFiles::OpenedEachTime => ("nginx-proxy-cache", ""),
        CacheFiles::KeptOpen => (
            "nginx-proxy-cache-open",
            "open_file_cache max=10000 inactive=1h; open_file_cache_valid 1h;",
        ),
    };
    let http = format!(
        "proxy_cache_path cache keys_zone=cache:64m max_size=512m inactive=1h use_temp_path=off;
         {open_files}
         upstream origin {{ server {origin}; keepalive 64; }}
         server {{
             {listen}
             location / {{
                 proxy_pass http://origin; proxy_http_version 1.1; proxy_set_header Connection \"\";
                 proxy_cache cache;
             }}
         }}",
        listen = listen(address, protocol),
    );
    Ok(start(context, name, address, "", &http)?)
}

/// The same bytes without a cache or an origin.
pub(crate) fn return_bytes(
    context: &Context,
    body: &str,
    protocol: Protocol,
) -> Result<Server, Absent> {
    NGINX.ensure()?;
    let address = free_address()?;
    let http = format!(
        "server {{
             {listen}
             location / {{ default_type text/plain; return 200 \"{body}\"; }}
         }}",
        listen = listen(address, protocol),
    );
    Ok(start(context, "nginx-return", address, "", &http)?)
}

/// A listener of this nginx speaks HTTP/1.1 or, without TLS, HTTP/2 alone.
fn listen(address: SocketAddr, protocol: Protocol) -> String {
    let protocol = match protocol {
        Protocol::Http1 => "",
        Protocol::Http2 => "http2",
    };
    format!("listen {address} {protocol} backlog=4096;")
}

/// Starts a worker for each core, with `http` inside the `http` block.
pub(super) fn start(
    context: &Context,
    name: &str,
    address: SocketAddr,
    modules: &str,
    http: &str,
) -> anyhow::Result<Server> {
    let folder = context.memory().join(name);
    // What an nginx before this one has stored there belongs to another origin.
    if folder.exists() {
        fs::remove_dir_all(&folder).with_context(|| format!("folder {}", folder.display()))?;
    }
    fs::create_dir_all(&folder).with_context(|| format!("folder {}", folder.display()))?;
    let configuration = folder.join("nginx.conf");
    let workers = context.cores.server.count().max(1);
    fs::write(&configuration, config(workers, modules, http))?;

    let mut command = on_cores(context.cores.server, NGINX.file())?;
    command.arg("-p").arg(&folder).arg("-c").arg(&configuration);
    // Without this nginx complains about its built-in log, which it may not write.
    command.args(["-e", "stderr"]);
    let mut process = Process::start(&mut command, &log(context, name))?;
    wait_for_listener(&mut process, address)?;
    Ok(Server {
        version: version_in(&first_line(NGINX.file(), "-v")),
        address,
        process,
    })
}

fn config(workers: usize, modules: &str, http: &str) -> String {
    // The worker must own the folders; started by root it would become www-data.
    let user = if rustix::process::geteuid().is_root() {
        "user root;"
    } else {
        ""
    };
    format!(
        "{modules}
         {user}
         daemon off;
         worker_processes {workers};
         worker_rlimit_nofile 20000;
         pid nginx.pid;
         error_log stderr warn;
         events {{ worker_connections 19000; }}
         http {{
             access_log off;
             keepalive_requests 1000000000;
             keepalive_timeout 1h;
             tcp_nodelay on;
             client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi;
             uwsgi_temp_path uwsgi; scgi_temp_path scgi;
             {http}
         }}"
    )
}
