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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::{Coding, Part, Resource, Variant};
    use crate::testing::{manifest, resource};
    use std::collections::BTreeMap;

    #[test]
    fn what_came_went_and_differs_is_told_apart() {
        let old = manifest(&[("/", "a"), ("/gone", "x"), ("/same", "s")]);
        let new = manifest(&[("/", "b"), ("/new/", "x"), ("/same", "s")]);
        let changes = Changes::between(Some(&old), &new);
        assert_eq!(changes.changed, ["/"]);
        assert_eq!(changes.added, ["/new/"]);
        assert_eq!(changes.removed, ["/gone"]);
        assert_eq!(changes.len(), 3);
        let tags: Vec<_> = changes.tags().iter().map(ToString::to_string).collect();
        assert_eq!(tags, ["url:/", "url:/gone", "url:/new/"]);
    }

    #[test]
    fn the_same_release_has_no_changes_and_the_first_adds_everything() {
        let release = manifest(&[("/", "a"), ("/b", "b")]);
        assert!(Changes::between(Some(&release), &release).is_empty());
        assert_eq!(Changes::between(None, &release).added, ["/", "/b"]);
    }

    #[test]
    fn what_a_client_sees_counts_and_the_rest_does_not() {
        let base = resource("a.html", "abc");
        let changed = |change: &dyn Fn(&mut Resource)| {
            let mut other = base.clone();
            change(&mut other);
            let release = |resource: &Resource| {
                let pages = BTreeMap::from([("/".to_owned(), resource.clone())]);
                Manifest::new(pages, BTreeMap::new()).unwrap()
            };
            !Changes::between(Some(&release(&base)), &release(&other)).is_empty()
        };
        assert!(changed(&|r| r.content_type = "text/plain".to_owned()));
        assert!(changed(&|r| r.link = vec!["</a>; rel=preload".to_owned()]));
        assert!(changed(
            &|r| r.parts = vec![Part::Slice { start: 0, end: 3 }, Part::State]
        ));
        assert!(!changed(&|r| r.file = "b.html".to_owned()));
        let variant = Variant {
            digest: tidegate_domain::Digest::of(b"z"),
            size: 1,
        };
        assert!(!changed(
            &|r| r.encodings = BTreeMap::from([(Coding::Br, variant)])
        ));
    }

    #[test]
    fn a_page_that_becomes_an_asset_has_changed() {
        let page = BTreeMap::from([("/".to_owned(), resource("a", "a"))]);
        let old = Manifest::new(page.clone(), BTreeMap::new()).unwrap();
        let new = Manifest::new(BTreeMap::new(), page).unwrap();
        assert_eq!(Changes::between(Some(&old), &new).changed, ["/"]);
    }
}
