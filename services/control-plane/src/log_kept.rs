//! What is logged, for tests that look for it.

use std::io;
use std::sync::Arc;

use parking_lot::Mutex;
use tracing::subscriber::DefaultGuard;
use tracing_subscriber::fmt::MakeWriter;

/// Keeps what is logged on this thread.
#[derive(Clone, Default)]
pub(crate) struct Kept(Arc<Mutex<Vec<u8>>>);

impl Kept {
    /// Begins; it ends with the guard.
    pub(crate) fn begin() -> (Self, DefaultGuard) {
        let kept = Self::default();
        let subscriber = tracing_subscriber::fmt()
            .with_writer(kept.clone())
            .with_ansi(false)
            .finish();
        (kept, tracing::subscriber::set_default(subscriber))
    }

    /// How many lines hold all of these.
    pub(crate) fn count(&self, parts: &[&str]) -> usize {
        let all = String::from_utf8_lossy(&self.0.lock()).into_owned();
        let holds_all = |line: &&str| parts.iter().all(|part| line.contains(part));
        all.lines().filter(holds_all).count()
    }
}

impl<'a> MakeWriter<'a> for Kept {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

impl io::Write for Kept {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
