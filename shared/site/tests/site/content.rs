use std::cell::Cell;
use std::collections::BTreeMap;
use std::io::{self, Read};

use tidegate_domain::Digest;
use tidegate_site::{
    BlobReader, Coding, ContentError, Manifest, Part, Resource, Variant, check_changed_content,
    check_content,
};

use crate::folder::{Blobs, Folder, prose};

/// Blobs in memory. What is stored need not fit its digest.
#[derive(Default)]
struct Memory {
    blobs: BTreeMap<Digest, Vec<u8>>,
    opened: Cell<usize>,
}

impl Memory {
    fn put(&mut self, bytes: &[u8]) -> Digest {
        let digest = Digest::of(bytes);
        self.blobs.insert(digest, bytes.to_vec());
        digest
    }
}

impl BlobReader for Memory {
    fn open(&self, digest: &Digest) -> io::Result<Box<dyn Read + '_>> {
        self.opened.set(self.opened.get() + 1);
        let bytes = self.blobs.get(digest).ok_or(io::ErrorKind::NotFound)?;
        Ok(Box::new(bytes.as_slice()))
    }
}

fn release(text: &str, memory: &mut Memory, change: impl Fn(&mut Resource)) -> Manifest {
    let mut resource = Resource {
        file: "a.html".to_owned(),
        content_type: "text/html".to_owned(),
        digest: memory.put(text.as_bytes()),
        size: text.len() as u64,
        encodings: BTreeMap::new(),
        link: Vec::new(),
        parts: Vec::new(),
    };
    change(&mut resource);
    let pages = BTreeMap::from([("/a.html".to_owned(), resource)]);
    Manifest::new(pages, BTreeMap::new()).unwrap()
}

fn refused(manifest: &Manifest, memory: &Memory) -> String {
    check_content(manifest, memory).unwrap_err().to_string()
}

#[test]
fn what_was_built_passes() {
    let folder = Folder::new(&[
        ("index.html", prose(3000).as_bytes()),
        ("cut.html", b"<p>a</p><!--@flush:a--><p>b</p><!--@state-->"),
        ("a.css", prose(300).as_bytes()),
        ("empty.txt", b""),
    ]);
    let build = folder.build();
    check_content(&build.manifest, &Blobs(&build)).unwrap();
}

#[test]
fn cuts_inside_tags_scripts_comments_and_characters_are_refused() {
    let html = "<p class=\"x\">é</p><script>let a;</script><!-- c --><p>ok</p>";
    let at = |needle: &str, plus: usize| (html.find(needle).unwrap() + plus) as u64;
    for (cut, inside) in [
        (at("class", 0), "a tag"),
        (at("é", 1), "a UTF-8 sequence"),
        (at("let", 0), "<script>"),
        (at(" c ", 0), "a comment"),
    ] {
        let mut memory = Memory::default();
        let manifest = release(html, &mut memory, |r| {
            let end = r.size;
            r.parts = vec![
                Part::Slice { start: 0, end: cut },
                Part::Slice { start: cut, end },
            ];
        });
        let error = refused(&manifest, &memory);
        let place = format!("/a.html (file a.html) at offset {cut}: the cut is inside {inside}");
        assert!(error.starts_with(&place), "{error}");
        let field = check_content(&manifest, &memory).unwrap_err().field();
        assert_eq!(field, format!("a.html@{cut}"));
    }
}

#[test]
fn both_sides_of_the_state_hole_are_checked() {
    let html = "<p>a</p><!-- hole --><p>b</p>";
    for (start, end, ok) in [(8, 21, true), (8, 12, false), (6, 21, false), (8, 8, true)] {
        let mut memory = Memory::default();
        let manifest = release(html, &mut memory, |r| {
            r.parts = vec![
                Part::Slice {
                    start: 0,
                    end: start,
                },
                Part::State,
                Part::Slice {
                    start: end,
                    end: r.size,
                },
            ];
        });
        assert_eq!(
            check_content(&manifest, &memory).is_ok(),
            ok,
            "{start}..{end}"
        );
    }
}

#[test]
fn a_size_that_is_not_the_contents_is_refused() {
    for (stated, parts) in [(7, false), (9, false), (7, true), (9, true)] {
        let mut memory = Memory::default();
        let manifest = release("<p>a</p>", &mut memory, |r| {
            r.size = stated;
            if parts {
                r.parts = vec![
                    Part::Slice {
                        start: 0,
                        end: stated,
                    },
                    Part::State,
                ];
            }
        });
        let error = refused(&manifest, &memory);
        assert!(
            error.contains(&format!("the manifest says {stated}")),
            "{error}"
        );
    }
}

#[test]
fn a_variant_that_is_another_text_is_refused_with_its_offset() {
    let text = prose(2000);
    let other = text.replacen("word 1000", "word ten3", 1);
    let encoded = zstd::bulk::compress(other.as_bytes(), 3).unwrap();
    let mut memory = Memory::default();
    let variant = Variant {
        digest: memory.put(&encoded),
        size: encoded.len() as u64,
    };
    let encodings = BTreeMap::from([(Coding::Zstd, variant)]);
    let manifest = release(&text, &mut memory, |r| r.encodings = encodings.clone());
    let offset = text.find("1000").unwrap();
    let error = refused(&manifest, &memory);
    let expected = format!("at offset {offset}: the zstd variant decodes to other bytes");
    assert!(error.contains(&expected), "{error}");
}

#[test]
fn a_variant_that_is_none_or_of_another_size_is_refused() {
    let text = prose(2000);
    let encoded = zstd::bulk::compress(text.as_bytes(), 3).unwrap();
    for (bytes, stated, says) in [
        (&b"no zstd at all"[..], 14, "cannot be decoded"),
        (
            &encoded[..encoded.len() - 5],
            encoded.len() as u64 - 5,
            "zstd variant",
        ),
        (&encoded[..], encoded.len() as u64 + 1, "zstd has"),
    ] {
        let mut memory = Memory::default();
        let variant = Variant {
            digest: memory.put(bytes),
            size: stated,
        };
        let encodings = BTreeMap::from([(Coding::Zstd, variant)]);
        let manifest = release(&text, &mut memory, |r| r.encodings = encodings.clone());
        let error = refused(&manifest, &memory);
        assert!(error.contains(says), "{says}: {error}");
    }
}

#[test]
fn a_blob_that_is_not_there_is_a_failure_to_read() {
    let mut memory = Memory::default();
    let manifest = release("<p>a</p>", &mut memory, |_| {});
    memory.blobs.clear();
    let error = check_content(&manifest, &memory).unwrap_err();
    assert!(matches!(error, ContentError::Read { .. }), "{error}");
    assert!(
        error.to_string().contains("/a.html (file a.html)"),
        "{error}"
    );
}

#[test]
fn what_was_checked_before_is_not_read_again() {
    let mut memory = Memory::default();
    let manifest = release("<p>a</p>", &mut memory, |_| {});
    check_changed_content(&manifest, Some(&manifest), &memory).unwrap();
    assert_eq!(memory.opened.get(), 0);
    let changed = release("<p>b</p>", &mut memory, |r| {
        r.parts = vec![Part::Slice { start: 0, end: 1 }, Part::State];
    });
    assert!(check_changed_content(&changed, Some(&manifest), &memory).is_err());
}
