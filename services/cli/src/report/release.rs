//! Releases: what was built, published, activated and removed.

use std::fmt::Write as _;

use comfy_table::Cell;
use serde::Serialize;
use tidegate_proto::v1;

use super::invalidation::{Completion, EdgeOutcome, outcome_table, outcomes};
use super::{bytes, count, or_dash, short_id, time};
use crate::output::{Report, Style, Tone, finish, plain, table, toned};
use crate::publish::Published;

/// A release.
#[derive(Debug, Serialize)]
pub(crate) struct Release {
    id: String,
    label: String,
    published_at: Option<String>,
    revision: u64,
    active: bool,
    pages: u32,
    assets: u32,
    bytes: u64,
}

impl From<v1::Release> for Release {
    fn from(wire: v1::Release) -> Self {
        Self {
            id: wire.id,
            label: wire.label,
            published_at: time(wire.published_at.as_ref()),
            revision: wire.revision,
            active: wire.active,
            pages: wire.pages,
            assets: wire.assets,
            bytes: wire.bytes,
        }
    }
}

/// Releases, newest first.
#[derive(Debug, Serialize)]
pub(crate) struct Releases {
    releases: Vec<Release>,
}

impl From<Vec<v1::Release>> for Releases {
    fn from(wire: Vec<v1::Release>) -> Self {
        Self {
            releases: wire.into_iter().map(Release::from).collect(),
        }
    }
}

impl Report for Releases {
    fn text(&self, style: Style) -> String {
        if self.releases.is_empty() {
            return "no releases; `tidegate site publish DIR` makes one\n".to_owned();
        }
        let header = [
            "RELEASE",
            "STATE",
            "PUBLISHED",
            "PAGES",
            "ASSETS",
            "SIZE",
            "LABEL",
        ];
        let mut rows = table(style, &header);
        for release in &self.releases {
            rows.add_row([
                Cell::new(plain(&short_id(&release.id))),
                match release.active {
                    true => toned(style, "active", Tone::Good),
                    false => toned(style, "-", Tone::Quiet),
                },
                Cell::new(or_dash(release.published_at.clone())),
                Cell::new(release.pages),
                Cell::new(release.assets),
                Cell::new(bytes(release.bytes)),
                Cell::new(plain(&release.label)),
            ]);
        }
        finish(&rows)
    }
}

/// What a switch to a release did.
#[derive(Debug, Serialize)]
pub(crate) struct Activated {
    release: String,
    revision: u64,
    changed: bool,
    changed_urls: u32,
    pub(crate) status: Completion,
    edges: Vec<EdgeOutcome>,
}

impl Activated {
    pub(crate) fn new(release: String, wire: v1::ActivateReleaseResponse) -> Self {
        Self {
            release,
            revision: wire.revision,
            changed: wire.changed,
            changed_urls: wire.changed_urls,
            status: Completion::of(wire.status),
            edges: outcomes(wire.edges),
        }
    }
}

impl Report for Activated {
    fn text(&self, style: Style) -> String {
        let release = plain(&short_id(&self.release));
        if !self.changed {
            return format!("release {release} is active already; nothing changed\n");
        }
        format!(
            "revision {}: release {release} is active, {}; {}\n{}",
            self.revision,
            count(self.changed_urls.into(), "URL differs", "URLs differ"),
            self.status.sentence(),
            outcome_table(&self.edges, style),
        )
    }
}

/// What publishing a folder did.
#[derive(Debug, Serialize)]
pub(crate) struct PublishReport {
    release: Release,
    created: bool,
    warnings: Vec<String>,
    blobs: u64,
    blobs_sent: u64,
    bytes_sent: u64,
    pub(crate) activated: Option<Activated>,
}

impl From<Published> for PublishReport {
    fn from(published: Published) -> Self {
        let id = published.release.id.clone();
        Self {
            created: published.created,
            warnings: published.warnings.iter().map(ToString::to_string).collect(),
            blobs: published.blobs,
            blobs_sent: published.blobs_sent,
            bytes_sent: published.bytes_sent,
            activated: published.activated.map(|it| Activated::new(id, it)),
            release: published.release.into(),
        }
    }
}

impl Report for PublishReport {
    fn text(&self, style: Style) -> String {
        let mut text = format!(
            "release {} {}: {}, {}, {}; sent {} of {} ({})\n",
            plain(&short_id(&self.release.id)),
            if self.created {
                "published"
            } else {
                "was published before"
            },
            count(self.release.pages.into(), "page", "pages"),
            count(self.release.assets.into(), "asset", "assets"),
            bytes(self.release.bytes),
            self.blobs_sent,
            count(self.blobs, "blob", "blobs"),
            bytes(self.bytes_sent),
        );
        match &self.activated {
            Some(activated) => text.push_str(&activated.text(style)),
            None if self.release.active => text.push_str("it is active\n"),
            None => {
                let _ = writeln!(
                    text,
                    "it is not served until `tidegate site activate {}`",
                    plain(&short_id(&self.release.id))
                );
            }
        }
        text
    }
}

/// What building a folder gave.
#[derive(Debug, Serialize)]
pub(crate) struct Built {
    /// The id the release would have.
    pub(crate) release: String,
    pub(crate) pages: usize,
    pub(crate) assets: usize,
    /// Bytes of pages and assets before encoding.
    pub(crate) bytes: u64,
    pub(crate) blobs: usize,
    /// Bytes of all blobs, encoded ones too.
    pub(crate) blob_bytes: u64,
    pub(crate) warnings: Vec<String>,
    /// The folder it was written to.
    pub(crate) out: Option<String>,
}

impl Report for Built {
    fn text(&self, _: Style) -> String {
        let mut text = format!(
            "release {}: {}, {}, {}; {} of {}\n",
            short_id(&self.release),
            count(self.pages as u64, "page", "pages"),
            count(self.assets as u64, "asset", "assets"),
            bytes(self.bytes),
            count(self.blobs as u64, "blob", "blobs"),
            bytes(self.blob_bytes),
        );
        if let Some(out) = &self.out {
            let _ = writeln!(text, "written to {}", plain(out));
        }
        text
    }
}

/// What pruning removed.
#[derive(Debug, Serialize)]
pub(crate) struct Pruned {
    pub(crate) removed: Vec<String>,
}

impl Report for Pruned {
    fn text(&self, _: Style) -> String {
        let mut text = format!(
            "removed {}\n",
            count(self.removed.len() as u64, "release", "releases")
        );
        for id in &self.removed {
            let _ = writeln!(text, "  {}", plain(&short_id(id)));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_activation_that_changed_nothing_says_so() {
        let wire = v1::ActivateReleaseResponse::default();
        let text = Activated::new("sha256:00ff".into(), wire).text(Style::default());
        assert_eq!(text, "release 00ff is active already; nothing changed\n");
    }
}
