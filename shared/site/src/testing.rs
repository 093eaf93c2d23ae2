//! Manifests for the tests of this crate.

use std::collections::BTreeMap;

use tidegate_domain::Digest;

use crate::manifest::Manifest;
use crate::resource::Resource;

/// A page or asset with these bytes.
pub(crate) fn resource(file: &str, text: &str) -> Resource {
    Resource {
        file: file.to_owned(),
        content_type: "text/html; charset=utf-8".to_owned(),
        digest: Digest::of(text.as_bytes()),
        size: text.len() as u64,
        encodings: BTreeMap::new(),
        link: Vec::new(),
        parts: Vec::new(),
    }
}

/// A manifest of pages, by path and text.
pub(crate) fn manifest(pages: &[(&str, &str)]) -> Manifest {
    let pages = pages.iter().map(|(path, text)| {
        let file = format!("{}.html", path.trim_matches('/').replace('/', "-"));
        ((*path).to_owned(), resource(&file, text))
    });
    Manifest::new(pages.collect(), BTreeMap::new()).unwrap()
}
