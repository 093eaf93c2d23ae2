//! A real site: the PostgreSQL manual, unpacked from Debian's `postgresql-doc-15`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant;
use std::{env, fs};

use tidegate_domain::Digest;
use tidegate_site::{BuildOptions, Changes, Coding, build, check_content};

use crate::folder::Blobs;

fn folder() -> Option<PathBuf> {
    let path = env::var_os("TIDEGATE_TEST_SITE").map(PathBuf::from);
    if path.is_none() {
        eprintln!("skipped: TIDEGATE_TEST_SITE does not name a folder with the unpacked manual");
    }
    path
}

fn files(folder: &Path, found: &mut BTreeMap<Digest, PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, found);
        } else {
            found.insert(Digest::of(&fs::read(&path).unwrap()), path);
        }
    }
}

#[test]
fn the_manual_is_built_whole_and_passes_its_checks() {
    let Some(folder) = folder() else { return };
    let cache = tempfile::tempdir().unwrap();
    let with = |threads| {
        let options = BuildOptions {
            cache_dir: Some(cache.path().to_owned()),
            threads,
            ..BuildOptions::default()
        };
        let begun = Instant::now();
        let built = build(&folder, &options, &()).unwrap();
        eprintln!("{threads} threads: {:?}", begun.elapsed());
        built
    };
    let built = with(2);
    let pages = built.manifest.pages();
    assert!(pages.len() > 1000, "{} pages", pages.len());
    assert!(pages.contains_key("/"), "the manual has an index");
    let mut there = BTreeMap::new();
    files(&folder, &mut there);
    for (_, path, resource) in built.manifest.resources() {
        assert!(there.contains_key(&resource.digest), "{path}");
    }
    let encoded = pages
        .values()
        .filter(|page| page.encodings.len() == Coding::ALL.len());
    assert!(encoded.count() > 1000, "text is worth compressing");
    check_content(&built.manifest, &Blobs(&built)).unwrap();

    let again = with(1);
    assert_eq!(again.manifest_json, built.manifest_json);
    assert!(Changes::between(Some(&built.manifest), &again.manifest).is_empty());
}
