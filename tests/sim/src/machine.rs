//! One machine: a runtime of its own, whose time moves only when the simulation says
//! so. Dropping the runtime is a crash; not moving its time is a pause.

use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio::time::Instant;

use crate::clock::HostClock;

/// A machine whose time fell behind by this much was paused: it wakes up with all its
/// timers due at one moment, as a process does.
const LAG: Duration = Duration::from_millis(50);

/// See the module.
pub struct Machine {
    /// Its clocks.
    pub clock: HostClock,
    runtime: Runtime,
    base: Instant,
    born: Duration,
}

impl Machine {
    /// A machine that starts at `now`.
    ///
    /// # Errors
    /// The system refuses.
    pub fn start(clock: HostClock, now: Duration) -> std::io::Result<Self> {
        let runtime = Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()?;
        let base = runtime.block_on(async { Instant::now() });
        Ok(Self {
            clock,
            runtime,
            base,
            born: now,
        })
    }

    /// Lets it run up to `now`.
    pub fn run_until(&self, now: Duration) {
        let local = self.clock.local(now.saturating_sub(self.born));
        let target = self.base + local;
        self.runtime.block_on(async {
            let lag = target.saturating_duration_since(Instant::now());
            if lag > LAG {
                tokio::time::advance(lag).await;
            }
            tokio::time::sleep_until(target).await;
        });
    }

    /// Begins something on it.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.runtime.spawn(task);
    }

    /// Does something on it, now.
    pub fn enter<T>(&self, work: impl FnOnce() -> T) -> T {
        let _guard = self.runtime.enter();
        work()
    }
}
