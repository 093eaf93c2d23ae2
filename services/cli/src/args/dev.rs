//! `tidegate dev`.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;

use super::value;

/// What runs, and where.
#[derive(Debug, Clone, Args)]
pub struct DevArgs {
    /// A folder of prebuilt pages and assets, published at the start and after each change.
    /// Without a folder and an origin: the bundled sample site
    pub dir: Option<PathBuf>,
    /// Where everything comes from that the folder does not hold; it is cached
    #[arg(long, value_name = "URL", value_parser = value::origin_url)]
    pub origin: Option<String>,
    /// Where pages are served
    #[arg(
        long,
        env = "TIDEGATE_LISTEN",
        value_name = "IP:PORT",
        default_value = "127.0.0.1:8080"
    )]
    pub listen: SocketAddr,
    /// Where gRPC is served
    #[arg(
        long,
        env = "TIDEGATE_GRPC_LISTEN",
        value_name = "IP:PORT",
        default_value = "127.0.0.1:7420"
    )]
    pub grpc_listen: SocketAddr,
    /// Where health and metrics are served
    #[arg(
        long,
        env = "TIDEGATE_ADMIN_LISTEN",
        value_name = "IP:PORT",
        default_value = "127.0.0.1:7421"
    )]
    pub admin_listen: SocketAddr,
    /// Where the control plane keeps its data [default: a temporary folder]
    #[arg(long, env = "TIDEGATE_DATA", value_name = "PATH")]
    pub data: Option<PathBuf>,
    /// Listen on public addresses although nothing authenticates callers
    #[arg(long, env = "TIDEGATE_INSECURE")]
    pub insecure: bool,
}
