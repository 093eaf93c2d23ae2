//! An edge that is broken on purpose, for those who look for faults. It takes all flags
//! of the real one.
#![expect(clippy::print_stdout, reason = "its addresses are read from there")]

use clap::Parser;
use tidegate_edge::app::{App, Listeners};
use tidegate_edge::config::Config;
use tidegate_edge::faults::Faults;
use tidegate_faults::args::Broken;
use tokio_util::sync::CancellationToken;

/// Of so many revisions, one is acknowledged without being applied.
const SKIPS_EVERY: u64 = 5;

/// An edge that is broken on purpose.
#[derive(Debug, Parser)]
#[command(name = "tidegate-broken-edge")]
struct Flags {
    /// How it is broken
    #[arg(long, value_enum)]
    broken: Broken,

    #[command(flatten)]
    edge: Config,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let flags = Flags::parse();
    let mut config = flags.edge;
    config.faults = match flags.broken {
        Broken::Skips => Faults {
            skips_every: SKIPS_EVERY,
            ..Faults::default()
        },
        Broken::IgnoresLease => Faults {
            ignores_lease: true,
            ..Faults::default()
        },
        Broken::StoresStaleFills => Faults {
            stores_stale_fills: true,
            ..Faults::default()
        },
    };
    let stop = CancellationToken::new();
    tidegate_net::stop_on_signal(stop.clone())?;
    let app = App::build(&config, Listeners::bind(&config)?)?;
    println!(
        "ready edge=http://{} admin=http://{}",
        app.address(),
        app.admin_address()
    );
    app.run(stop).await
}
