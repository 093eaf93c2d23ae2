//! Signals that end a program.

use std::io;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Cancels `stop` at the first `SIGTERM` or `SIGINT`, and ends the process at once at
/// the second: whoever asks twice does not want to wait for the drain. To be called
/// inside a Tokio runtime.
///
/// # Errors
/// The system refuses a handler.
pub fn stop_on_signal(stop: CancellationToken) -> io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::spawn(async move {
        for is_second in [false, true] {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            if is_second {
                std::process::exit(130);
            }
            stop.cancel();
        }
    });
    Ok(())
}
