//! What a manifest may not hold, each with a message that says where and why.

use std::collections::BTreeMap;

use proptest::prelude::*;
use tidegate_domain::Digest;

use crate::limits::{MAX_FILES, MAX_LINKS, MAX_PAGE_BYTES, MAX_PARTS};
use crate::manifest::{Kind, Manifest, ManifestError};
use crate::resource::{Coding, Part, Resource, Variant};
use crate::testing::{manifest, resource};

const TEXT: &str = "0123456789";

/// The error when this resource is the only page, or the only asset.
fn refused(kind: Kind, change: impl Fn(&mut Resource)) -> String {
    let mut changed = resource("a.html", TEXT);
    change(&mut changed);
    let one = BTreeMap::from([("/a.html".to_owned(), changed)]);
    let result = match kind {
        Kind::Page => Manifest::new(one, BTreeMap::new()),
        Kind::Asset => Manifest::new(BTreeMap::new(), one),
    };
    result.map_or_else(|error| error.to_string(), |_| "accepted".to_owned())
}

fn refused_parts(parts: &[Part]) -> String {
    refused(Kind::Page, |r| r.parts = parts.to_vec())
}

fn slice(start: u64, end: u64) -> Part {
    Part::Slice { start, end }
}

#[test]
fn parts_in_order_without_loss_are_accepted() {
    for parts in [
        &[][..],
        &[slice(0, 10)],
        &[slice(0, 4), slice(4, 10)],
        &[slice(0, 4), Part::State, slice(6, 10)],
        &[slice(0, 4), Part::State, slice(4, 10)],
        &[Part::State, slice(3, 10)],
        &[slice(0, 4), Part::State],
        &[Part::State],
    ] {
        assert_eq!(refused_parts(parts), "accepted", "{parts:?}");
    }
}

#[test]
fn other_parts_are_refused_with_offset_and_reason() {
    for (parts, says) in [
        (
            &[slice(0, 4), slice(3, 10)][..],
            "at offset 3: parts[1]: \"3..10\"",
        ),
        (&[slice(4, 10), slice(0, 4)], "at offset 4: parts[0]"),
        (&[slice(0, 4), slice(5, 10)], "no gap but at the state hole"),
        (&[slice(0, 11)], "inside the file's 10 bytes"),
        (&[slice(0, u64::MAX)], "inside the file's 10 bytes"),
        (&[slice(5, 5)], "start below end"),
        (&[slice(5, 4)], "start below end"),
        (&[slice(0, 4)], "up to the end of the file"),
        (
            &[Part::State, slice(0, 10), Part::State],
            "one state hole a page",
        ),
        (&[slice(0, 4), Part::State, slice(3, 10)], "do not overlap"),
    ] {
        let error = refused_parts(parts);
        assert!(error.contains(says), "{parts:?}: {error}");
        assert!(error.starts_with("/a.html (file a.html)"), "{error}");
    }
    let many = vec![Part::State; MAX_PARTS + 1];
    assert!(refused_parts(&many).contains("at most 256"));
}

#[test]
fn assets_are_whole() {
    let error = refused(Kind::Asset, |r| r.parts = vec![slice(0, 10)]);
    assert!(error.contains("none for an asset"), "{error}");
}

#[test]
fn header_values_are_safe() {
    for bad in [
        "",
        "text",
        "text/",
        "/html",
        "text/html\r\nX: y",
        "text/é",
        " a/b",
        "a b/c",
    ] {
        let error = refused(Kind::Page, |r| r.content_type = bad.to_owned());
        assert!(error.contains("content_type"), "{bad:?}: {error}");
    }
    for bad in ["", "a", "</a>\n", "<\u{e9}>", "</a> "] {
        let error = refused(Kind::Page, |r| r.link = vec![bad.to_owned()]);
        assert!(error.contains("link[0]"), "{bad:?}: {error}");
    }
    let error = refused(Kind::Page, |r| {
        r.link = vec!["</a>".to_owned(); MAX_LINKS + 1];
    });
    assert!(error.contains("at most 64"), "{error}");
}

#[test]
fn files_lie_below_the_folder() {
    for bad in ["", "/etc/passwd", "../a", "a/../b", "a//b", "./a", "a\0"] {
        let error = refused(Kind::Page, |r| r.file = bad.to_owned());
        assert!(error.contains("file"), "{bad:?}: {error}");
    }
}

#[test]
fn sizes_are_bounded_and_agree() {
    let error = refused(Kind::Page, |r| r.size = MAX_PAGE_BYTES + 1);
    assert!(error.contains("size"), "{error}");
    assert_eq!(
        refused(Kind::Asset, |r| r.size = MAX_PAGE_BYTES + 1),
        "accepted"
    );
    assert!(refused(Kind::Asset, |r| r.size = u64::MAX).contains("size"));

    let mut other = resource("b.html", TEXT);
    other.size += 1;
    let pages = BTreeMap::from([
        ("/a".to_owned(), resource("a.html", TEXT)),
        ("/b".to_owned(), other),
    ]);
    let error = Manifest::new(pages, BTreeMap::new())
        .unwrap_err()
        .to_string();
    assert!(error.contains("stated elsewhere"), "{error}");
}

#[test]
fn variants_are_smaller_and_not_of_composed_pages() {
    let variant = |size| {
        let digest = Digest::of(b"variant");
        BTreeMap::from([(Coding::Gzip, Variant { digest, size })])
    };
    assert_eq!(
        refused(Kind::Page, |r| r.encodings = variant(9)),
        "accepted"
    );
    for size in [0, 10, u64::MAX] {
        let error = refused(Kind::Page, |r| r.encodings = variant(size));
        assert!(error.contains("encodings.gzip.size"), "{error}");
    }
    let error = refused(Kind::Page, |r| {
        r.encodings = variant(9);
        r.parts = vec![slice(0, 10), Part::State];
    });
    assert!(
        error.contains("none for a page with a state hole"),
        "{error}"
    );
}

#[test]
fn paths_are_normalised_and_in_one_list() {
    for bad in ["", "a", "/a/../b", "/%7Ea", "/a b", "/a?b", "/a#b", "/%2e"] {
        let pages = BTreeMap::from([(bad.to_owned(), resource("a.html", TEXT))]);
        assert!(Manifest::new(pages, BTreeMap::new()).is_err(), "{bad:?}");
    }
    let one = BTreeMap::from([("/a".to_owned(), resource("a", TEXT))]);
    let error = Manifest::new(one.clone(), one).unwrap_err().to_string();
    assert!(error.contains("both a page and an asset"), "{error}");
}

#[test]
fn text_form_round_trips_and_is_deterministic() {
    let mut page = resource("a.html", TEXT);
    page.parts = vec![slice(0, 4), Part::State, slice(6, 10)];
    page.link = vec!["</a.css>; rel=preload".to_owned()];
    let pages = BTreeMap::from([("/".to_owned(), page)]);
    let assets = BTreeMap::from([("/x".to_owned(), resource("x", "x"))]);
    let built = Manifest::new(pages, assets).unwrap();
    let json = built.to_json();
    let read = Manifest::parse(&json).unwrap();
    assert_eq!(read, built);
    assert_eq!(read.to_json(), json);
    let text = String::from_utf8(json).unwrap();
    let parts = r#""parts":[{"slice":{"start":0,"end":4}},"state",{"slice":{"start":6,"end":10}}]"#;
    assert!(text.contains(parts), "{text}");
    assert!(matches!(read.get("/"), Some((Kind::Page, _))));
    assert!(matches!(read.get("/x"), Some((Kind::Asset, _))));
    assert!(read.get("/y").is_none());
    assert_eq!(read.blobs().count(), 2);
}

#[test]
fn truncated_anywhere_is_refused_with_line_and_column() {
    let json = manifest(&[("/", "a"), ("/b", "b")]).to_json();
    for end in 0..json.len() {
        let error = Manifest::parse(&json[..end]).unwrap_err();
        assert!(matches!(error, ManifestError::Syntax(_)), "{end}: {error}");
        assert!(error.to_string().contains("line 1 column"), "{error}");
    }
}

#[test]
fn what_is_unknown_or_doubled_is_refused() {
    for (json, says) in [
        (
            r#"{"version":3,"pages":{},"assets":{}}"#,
            "version 3; allowed: 2",
        ),
        (
            r#"{"version":2,"pages":{},"assets":{},"x":1}"#,
            "unknown field",
        ),
        (r#"{"version":2,"pages":{}}"#, "missing field `assets`"),
        (
            r#"{"version":2,"pages":{},"pages":{},"assets":{}}"#,
            "duplicate field",
        ),
    ] {
        let error = Manifest::parse(json.as_bytes()).unwrap_err().to_string();
        assert!(error.contains(says), "{json}: {error}");
    }
    let json = String::from_utf8(manifest(&[("/", "a")]).to_json()).unwrap();
    let entry = json.split_once("\"pages\":{").unwrap().1;
    let entry = entry.split_once("},\"assets\"").unwrap().0;
    let doubled = json.replacen(entry, &format!("{entry},{entry}"), 1);
    let error = Manifest::parse(doubled.as_bytes()).unwrap_err().to_string();
    assert!(error.contains("is named twice"), "{error}");
    for (from, to) in [("sha256:", "md5:"), ("\"size\":1", "\"size\":-1")] {
        let bad = json.replacen(from, to, 1);
        assert!(Manifest::parse(bad.as_bytes()).is_err(), "{bad}");
    }
}

#[test]
fn too_much_is_refused() {
    let large = vec![b' '; crate::limits::MAX_MANIFEST_BYTES + 1];
    assert!(matches!(
        Manifest::parse(&large),
        Err(ManifestError::TooLarge { .. })
    ));
    let one = resource("a", "a");
    let many = |from: usize, to: usize| -> BTreeMap<String, Resource> {
        (from..to).map(|n| (format!("/{n}"), one.clone())).collect()
    };
    let half = MAX_FILES / 2;
    assert!(matches!(
        Manifest::new(many(0, half), many(half, MAX_FILES + 1)),
        Err(ManifestError::TooMany { .. })
    ));
}

proptest! {
    #[test]
    fn nothing_from_outside_panics(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
        let _ = Manifest::parse(&bytes);
    }

    #[test]
    fn a_damaged_manifest_is_refused_or_obeys_the_rules(
        at in any::<prop::sample::Index>(), byte in any::<u8>()
    ) {
        let mut json = manifest(&[("/", "a"), ("/b", "bcd")]).to_json();
        let at = at.index(json.len());
        json[at] = byte;
        if let Ok(read) = Manifest::parse(&json) {
            prop_assert_eq!(Manifest::parse(&read.to_json()).unwrap(), read);
        }
    }

    #[test]
    fn accepted_parts_cover_the_page(
        raw in prop::collection::vec(
            prop::option::of((0u64..12, 0u64..12)), 0..5
        )
    ) {
        let parts: Vec<Part> = raw.iter().map(|part| match part {
            Some((start, end)) => slice(*start, *end),
            None => Part::State,
        }).collect();
        if refused_parts(&parts) == "accepted" && !parts.is_empty() && !parts.contains(&Part::State) {
            let covered: u64 = parts.iter().map(|part| match part {
                Part::Slice { start, end } => end - start,
                Part::State => 0,
            }).sum();
            prop_assert_eq!(covered, TEXT.len() as u64);
        }
    }
}
