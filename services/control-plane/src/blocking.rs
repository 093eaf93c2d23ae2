//! Where work runs that waits for the disk.

use tokio::task::JoinError;

/// Where work runs that waits for the disk.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Blocking {
    /// On threads of their own, so that nobody else waits.
    #[default]
    Threads,
    /// At once, for stores in memory: a simulation has one thread, or the order of
    /// things would be the system's.
    Inline,
}

impl Blocking {
    /// Runs the work and waits for it.
    ///
    /// # Errors
    /// It panicked on its thread.
    pub(crate) async fn run<T: Send + 'static>(
        self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, JoinError> {
        match self {
            Self::Threads => tokio::task::spawn_blocking(work).await,
            Self::Inline => Ok(work()),
        }
    }
}
