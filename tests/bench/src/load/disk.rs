//! The floor of every durable write: append and `fdatasync`, nothing else.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow};

use super::closed_loop::{Round, per_second};
use crate::context::Context;
use crate::stats::Latencies;

/// Appends records of `size` bytes for `time`, each synced before the next, where
/// the servers write and on their core.
pub(crate) fn append(context: &Context, size: usize, time: Duration) -> anyhow::Result<Round> {
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            context.cores.server.enter()?;
            append_to(context.disk(), size, time)
        });
        writer.join().map_err(|_| anyhow!("the writer panicked"))?
    })
}

fn append_to(folder: &Path, size: usize, time: Duration) -> anyhow::Result<Round> {
    let path = folder.join("append");
    let mut file = File::create(&path).with_context(|| format!("file {}", path.display()))?;
    let record = vec![b'x'; size];
    let mut latencies = Latencies::default();
    let start = Instant::now();
    while start.elapsed() < time {
        let begun = Instant::now();
        file.write_all(&record)?;
        file.sync_data()?;
        latencies.record(begun.elapsed());
    }
    Ok(Round {
        calls_per_second: per_second(latencies.len(), start.elapsed()),
        latencies,
    })
}
