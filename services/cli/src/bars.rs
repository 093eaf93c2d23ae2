//! Progress bars of builds and uploads, on standard error.

use std::time::Duration;

use indicatif::{HumanBytes, MultiProgress, ProgressBar, ProgressStyle};

use crate::output::plain;
use crate::publish::Progress;

/// A bar for the build, then one for the upload.
#[derive(Debug)]
pub(crate) struct Bars {
    all: MultiProgress,
    build: ProgressBar,
    upload: ProgressBar,
}

impl Bars {
    pub(crate) fn new() -> Self {
        Self {
            all: MultiProgress::new(),
            build: ProgressBar::hidden(),
            upload: ProgressBar::hidden(),
        }
        .with_bars()
    }

    fn with_bars(mut self) -> Self {
        let style = |template: &str| {
            ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
        };
        self.build = self.all.add(ProgressBar::no_length());
        self.build
            .set_style(style("build   {wide_bar} {pos}/{len} files"));
        self.upload = self.all.add(ProgressBar::no_length());
        self.upload.set_style(style(
            "upload  {wide_bar} {bytes}/{total_bytes} {bytes_per_sec}",
        ));
        self
    }
}

impl tidegate_site::Progress for Bars {
    fn begin(&self, files: usize, _: u64) {
        self.build.set_length(files as u64);
        self.build.enable_steady_tick(Duration::from_millis(200));
    }

    fn file_done(&self, _: u64) {
        self.build.inc(1);
    }
}

impl Progress for Bars {
    fn built(&self) {
        self.build.finish_and_clear();
    }

    fn uploading(&self, _: u64, bytes: u64) {
        self.upload.set_position(0);
        self.upload.set_length(bytes);
        self.upload.reset_eta();
    }

    fn sent(&self, bytes: u64) {
        self.upload.inc(bytes);
    }

    fn broken(&self, cause: &str, wait: Duration) {
        let left = self.upload.length().unwrap_or_default();
        let left = left.saturating_sub(self.upload.position());
        // The text goes above the bars; if standard error is gone nobody reads it.
        let _ = self.all.println(format!(
            "{}; going on with about {} in {:.1}s",
            plain(cause),
            HumanBytes(left),
            wait.as_secs_f64()
        ));
    }

    fn uploaded(&self) {
        self.upload.finish_and_clear();
    }
}
