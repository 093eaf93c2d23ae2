//! Backups that were taken and put back.

use std::path::Path;

use serde::Serialize;
use tidegate_control_plane::backup::{Contents, Restoration};

use super::{bytes, count};
use crate::output::{Report, Style};

/// A backup that was taken.
#[derive(Debug, Serialize)]
pub(crate) struct Taken {
    file: String,
    revision: u64,
    epoch: String,
    records: u64,
    blobs: u64,
    bytes: u64,
}

impl Taken {
    pub(crate) fn new(file: String, contents: &Contents) -> Self {
        Self {
            file,
            revision: contents.revision.0,
            epoch: epoch(contents.epoch.0),
            records: contents.pairs,
            blobs: contents.blobs,
            bytes: contents.bytes,
        }
    }

    pub(crate) fn sentence(&self) -> String {
        format!(
            "backup of revision {}: {}, {}, {} in all",
            self.revision,
            count(self.records, "record", "records"),
            count(self.blobs, "blob", "blobs"),
            bytes(self.bytes),
        )
    }
}

impl Report for Taken {
    fn text(&self, _: Style) -> String {
        format!("{}\nwritten to {}\n", self.sentence(), self.file)
    }
}

/// A backup that was put back.
#[derive(Debug, Serialize)]
pub(crate) struct Restored {
    file: String,
    data: String,
    /// Of the backup.
    revision: u64,
    /// The newest one now.
    head: u64,
    former_epoch: String,
    epoch: String,
    records: u64,
    blobs: u64,
    bytes: u64,
}

impl Restored {
    pub(crate) fn new(file: &Path, data: &Path, restored: &Restoration) -> Self {
        let contents = &restored.contents;
        Self {
            file: file.display().to_string(),
            data: data.display().to_string(),
            revision: contents.revision.0,
            head: restored.head.0,
            former_epoch: epoch(contents.epoch.0),
            epoch: epoch(restored.epoch.0),
            records: contents.pairs,
            blobs: contents.blobs,
            bytes: contents.bytes,
        }
    }
}

impl Report for Restored {
    fn text(&self, _: Style) -> String {
        format!(
            "{} holds revision {} of the backup: {}, {}\n\
             It goes on as another history (epoch {} in place of {}) at revision {}: every edge \
             begins anew, pushed entries have to be pushed again, and calls that wait for all \
             edges wait until the leases from before are over.\n",
            self.data,
            self.revision,
            count(self.records, "record", "records"),
            count(self.blobs, "blob", "blobs"),
            self.epoch,
            self.former_epoch,
            self.head,
        )
    }
}

/// A number that means nothing but itself.
fn epoch(epoch: u64) -> String {
    format!("{epoch:016x}")
}
