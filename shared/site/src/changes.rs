//! What differs between two releases.

use tidegate_domain::{PathAndQuery, Tag, url_tag};

use crate::manifest::Manifest;

/// The URL paths at which two releases differ, each list sorted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    /// In both, with other bytes, content type, links or parts, or a page here and
    /// an asset there.
    pub changed: Vec<String>,
    /// Only in the new one. A cached answer of the origin may have stood there.
    pub added: Vec<String>,
    /// Only in the old one.
    pub removed: Vec<String>,
}

impl Changes {
    /// What a client notices when a site goes from `old` to `new`. Without an old
    /// release everything is added.
    #[must_use]
    pub fn between(old: Option<&Manifest>, new: &Manifest) -> Self {
        let mut changes = Self::default();
        for (kind, path, resource) in new.resources() {
            match old.and_then(|old| old.get(path)) {
                None => changes.added.push(path.to_owned()),
                Some((was, before)) if was != kind || !before.serves_like(resource) => {
                    changes.changed.push(path.to_owned());
                }
                Some(_) => {}
            }
        }
        for (_, path, _) in old.into_iter().flat_map(Manifest::resources) {
            if new.get(path).is_none() {
                changes.removed.push(path.to_owned());
            }
        }
        for list in [
            &mut changes.changed,
            &mut changes.added,
            &mut changes.removed,
        ] {
            list.sort_unstable();
        }
        changes
    }

    /// How many URLs differ.
    #[must_use]
    pub fn len(&self) -> usize {
        self.changed.len() + self.added.len() + self.removed.len()
    }

    /// Whether no URL differs.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Every URL path that differs: changed, then added, then removed.
    pub fn paths(&self) -> impl Iterator<Item = &str> {
        let lists = [&self.changed, &self.added, &self.removed];
        lists.into_iter().flatten().map(String::as_str)
    }

    /// The `url:` tag of every URL that differs, sorted, each once.
    #[must_use]
    pub fn tags(&self) -> Vec<Tag> {
        // Paths come from checked manifests, in which every path parses.
        let urls = self.paths().filter_map(|p| PathAndQuery::parse(p).ok());
        let mut tags: Vec<Tag> = urls.map(|url| url_tag(&url)).collect();
        tags.sort_unstable();
        tags.dedup();
        tags
    }
}
