use std::fs;
use std::sync::Mutex;

use tidegate_domain::Digest;
use tidegate_site::{
    Build, BuildOptions, Changes, Coding, Kind, Level, Manifest, Part, Progress, Resource, build,
};

use crate::folder::{Folder, paths, prose, warnings};

fn page<'a>(build: &'a Build, path: &str) -> &'a Resource {
    &build.manifest.pages()[path]
}

#[test]
fn files_become_pages_and_assets_under_their_urls() {
    let folder = Folder::new(&[
        ("index.html", b"<p>home"),
        ("a/index.html", b"<p>a"),
        ("a/b c.html", b"<p>b"),
        ("app.css", b"p{}"),
        ("100%.txt", b"\xff"),
        ("LICENSE", b"do"),
        (".git/config", b"secret"),
        (".htaccess", b"secret"),
        (".well-known/security.txt", b"mail us"),
        ("site.json", b"{\"version\":2}"),
        ("a/site.json", b"{}"),
    ]);
    let build = folder.build();
    let (page, asset) = (Kind::Page, Kind::Asset);
    let expected = [
        (page, "/"),
        (page, "/a/"),
        (page, "/a/b%20c.html"),
        (asset, "/.well-known/security.txt"),
        (asset, "/100%25.txt"),
        (asset, "/LICENSE"),
        (asset, "/a/site.json"),
        (asset, "/app.css"),
    ];
    assert_eq!(
        paths(&build),
        expected.map(|(kind, path)| (kind, path.to_owned()))
    );
    let content_type = |path: &str| build.manifest.get(path).unwrap().1.content_type.clone();
    assert_eq!(content_type("/"), "text/html; charset=utf-8");
    assert_eq!(content_type("/app.css"), "text/css; charset=utf-8");
    assert_eq!(content_type("/100%25.txt"), "text/plain");
    assert_eq!(content_type("/LICENSE"), "application/octet-stream");
    assert_eq!(
        build.manifest.get("/").unwrap().1.digest,
        Digest::of(b"<p>home")
    );
    assert_eq!(warnings(&build), [""; 0]);
}

#[test]
fn the_manifest_is_what_its_json_says() {
    let folder = Folder::new(&[("index.html", prose(500).as_bytes()), ("a.png", b"\x89PNG")]);
    let build = folder.build();
    assert_eq!(
        Manifest::parse(&build.manifest_json).unwrap(),
        build.manifest
    );
    let named: Vec<_> = build.manifest.blobs().collect();
    let there: Vec<_> = build
        .blobs
        .iter()
        .map(|(d, source)| (*d, source.size))
        .collect();
    assert_eq!(named, there);
    for (digest, source) in &build.blobs {
        assert_eq!(Digest::of(&fs::read(&source.path).unwrap()), *digest);
    }
}

#[test]
fn variants_are_kept_where_they_save() {
    let noise: Vec<u8> = (0u32..3000)
        .flat_map(|n| *Digest::of(&n.to_be_bytes()).as_bytes())
        .collect();
    let folder = Folder::new(&[
        ("index.html", prose(1000).as_bytes()),
        ("small.html", &[b'a'; 255]),
        ("noise.txt", &noise),
        ("image.png", prose(1000).as_bytes()),
    ]);
    let build = folder.build();
    let codings = |path: &str| -> Vec<Coding> {
        let (_, resource) = build.manifest.get(path).unwrap();
        resource.encodings.keys().copied().collect()
    };
    assert_eq!(codings("/"), Coding::ALL);
    assert_eq!(codings("/small.html"), []);
    assert_eq!(codings("/noise.txt"), []);
    assert_eq!(codings("/image.png"), []);
}

#[test]
fn the_same_folder_gives_the_same_manifest_on_any_number_of_threads() {
    let files: Vec<(String, String)> = (0..40)
        .map(|n| (format!("d{}/{n}.html", n % 3), prose(n * 20)))
        .collect();
    let files: Vec<_> = files
        .iter()
        .map(|(f, t)| (f.as_str(), t.as_bytes()))
        .collect();
    let folder = Folder::new(&files);
    let with = |threads| {
        let options = BuildOptions {
            threads,
            ..BuildOptions::default()
        };
        folder.build_with(&options).unwrap().manifest_json
    };
    let first = with(1);
    for threads in [0, 1, 2, 8] {
        assert_eq!(with(threads), first);
    }
}

#[test]
fn a_build_from_the_cache_is_the_same_and_repairs_the_cache() {
    let folder = Folder::new(&[("index.html", prose(800).as_bytes()), ("a.css", b"p{}")]);
    let cache = folder.path(".cache");
    for cache in [cache, folder.path("visible-cache")] {
        let options = BuildOptions {
            cache_dir: Some(cache.clone()),
            ..BuildOptions::default()
        };
        let first = folder.build_with(&options).unwrap();
        let again = folder.build_with(&options).unwrap();
        assert_eq!(again.manifest_json, first.manifest_json);
        assert_eq!(again.blobs, first.blobs);
        let variant = page(&first, "/").encodings[&Coding::Br];
        fs::write(&first.blobs[&variant.digest].path, b"damaged").unwrap();
        let repaired = folder.build_with(&options).unwrap();
        assert_eq!(repaired.manifest_json, first.manifest_json);
        let source = &repaired.blobs[&variant.digest];
        assert_eq!(Digest::of(&fs::read(&source.path).unwrap()), variant.digest);
        fs::remove_dir_all(cache).unwrap();
    }
}

#[test]
fn best_is_smaller_than_fast() {
    let words = [
        "gate", "tide", "water", "river", "salt", "fresh", "sea", "lock",
    ];
    let text: String = (0u32..4000)
        .flat_map(|n| *Digest::of(&n.to_be_bytes()).as_bytes())
        .map(|byte| format!("{} ", words[usize::from(byte % 8)]))
        .collect();
    let folder = Folder::new(&[("index.html", text.as_bytes())]);
    let size = |level| {
        let options = BuildOptions {
            level,
            ..BuildOptions::default()
        };
        let build = folder.build_with(&options).unwrap();
        let encodings = &page(&build, "/").encodings;
        Coding::ALL.map(|coding| encodings[&coding].size)
    };
    for (best, fast) in size(Level::Best).iter().zip(size(Level::Fast)) {
        assert!(*best < fast, "{best} {fast}");
    }
}

#[test]
fn markers_cut_the_page_and_leave_its_bytes() {
    let html = "<!DOCTYPE html><title>t</title><!--@flush:head--><p>x<!--@state--></p>";
    let folder = Folder::new(&[("index.html", html.as_bytes())]);
    let build = folder.build();
    let resource = page(&build, "/");
    assert_eq!(resource.digest, Digest::of(html.as_bytes()));
    let cut = html.find("<p>").unwrap() as u64;
    let hole = html.find("<!--@state").unwrap() as u64;
    let rest = html.find("</p>").unwrap() as u64;
    let slice = |start, end| Part::Slice { start, end };
    assert_eq!(
        resource.parts,
        [
            slice(0, cut),
            slice(cut, hole),
            Part::State,
            slice(rest, html.len() as u64),
        ]
    );
    assert!(resource.has_state());
}

#[test]
fn a_page_with_a_hole_has_no_variants_and_one_with_cuts_has() {
    let html = |marker: &str| format!("<p>{}</p>{marker}<p>x", prose(200));
    let folder = Folder::new(&[
        ("state.html", html("<!--@state-->").as_bytes()),
        ("cut.html", html("<!--@flush:a-->").as_bytes()),
    ]);
    let build = folder.build();
    assert!(page(&build, "/state.html").encodings.is_empty());
    assert_eq!(page(&build, "/cut.html").encodings.len(), 3);
    assert_eq!(page(&build, "/cut.html").parts.len(), 2);
}

#[test]
fn slots_and_unknown_markers_warn_with_file_and_offset() {
    let folder = Folder::new(&[(
        "a/index.html",
        b"<p><!--@slot:cart src=\"/c\"-->empty<!--@/slot--><!--@oops--><svg><!--@state--></svg>",
    )]);
    let build = folder.build();
    let warnings = warnings(&build);
    assert_eq!(warnings.len(), 4, "{warnings:?}");
    assert!(
        warnings[0].starts_with("a/index.html at offset 3: slots"),
        "{warnings:?}"
    );
    assert!(warnings[2].contains("<!--@oops-->"), "{warnings:?}");
    assert!(warnings[3].contains("inside <svg>"), "{warnings:?}");
    assert!(page(&build, "/a/").parts.is_empty());
}

#[test]
fn version_1_makes_parts_and_links() {
    let html = b"<p>abc</p><!-- --><p>def</p><p>ghi</p>";
    let folder = Folder::new(&[
        ("index.html", html),
        (
            "site.json",
            br#"{"pages":{"/":{"link":"</a.css>; rel=preload; as=style",
                "critical":{"start":0,"end":10},"head":{"start":18,"end":28}}}}"#,
        ),
    ]);
    let build = folder.build();
    let slice = |start, end| Part::Slice { start, end };
    assert_eq!(
        page(&build, "/").parts,
        [slice(0, 10), Part::State, slice(18, 28), slice(28, 38)]
    );
    assert_eq!(page(&build, "/").link, ["</a.css>; rel=preload; as=style"]);
}

#[test]
fn version_2_makes_parts_links_and_content_types() {
    let folder = Folder::new(&[
        ("index.html", b"<p>abc</p><p>def</p>"),
        ("feed", prose(300).as_bytes()),
        (
            "site.json",
            br#"{"version":2,"pages":{"/":{"flush":[10],"state":{"start":10,"end":10}}},
                "assets":{"/feed":{"content_type":"application/rss+xml","link":["</a>; rel=x"]}}}"#,
        ),
    ]);
    let build = folder.build();
    let slice = |start, end| Part::Slice { start, end };
    assert_eq!(
        page(&build, "/").parts,
        [slice(0, 10), Part::State, slice(10, 20)]
    );
    let feed = &build.manifest.assets()["/feed"];
    assert_eq!(feed.content_type, "application/rss+xml");
    assert_eq!(feed.link, ["</a>; rel=x"]);
    assert_eq!(feed.encodings.len(), 3);
}

#[test]
fn mistakes_in_site_json_name_page_offset_and_reason() {
    let folder = Folder::new(&[("index.html", "<p>é</p>".as_bytes()), ("a.css", b"")]);
    for (json, says) in [
        (
            "{ \"pages\": ",
            "site.json: EOF while parsing a value at line 1 column 11",
        ),
        (
            r#"{"version":2,"pages":{"/x":{}}}"#,
            "site.json: /x: no file has this URL",
        ),
        (
            r#"{"version":2,"pages":{"/a.css":{}}}"#,
            "belongs under \"assets\"",
        ),
        (
            r#"{"version":2,"assets":{"/":{}}}"#,
            "belongs under \"pages\"",
        ),
        (
            r#"{"version":2,"pages":{"/":{"flush":[4]}}}"#,
            "(file index.html) at offset 4",
        ),
        (
            r#"{"version":2,"pages":{"/":{"flush":[4]}}}"#,
            "inside a UTF-8 sequence",
        ),
        (
            r#"{"version":2,"pages":{"/":{"flush":[1]}}}"#,
            "inside a tag",
        ),
        (
            r#"{"version":2,"pages":{"/":{"flush":[10]}}}"#,
            "behind the file's 9 bytes",
        ),
        (
            r#"{"version":2,"pages":{"/":{"state":{"start":5,"end":3}}}}"#,
            "at offset 5",
        ),
        (r#"{"version":2,"pages":{"/":{"link":"a\nb"}}}"#, "link[0]"),
        (
            r#"{"version":2,"pages":{"/":{"content_type":"x"}}}"#,
            "content_type",
        ),
        (r#"{"version":9}"#, "version 9"),
    ] {
        folder.write("site.json", json.as_bytes());
        let error = folder.refused();
        assert!(error.contains(says), "{json}: {error}");
    }
    folder.write(
        "site.json",
        b"{\"version\":2,\"pages\":{\"/\":{\"state\":{\"start\":3,\"end\":5}}}}",
    );
    folder.write("index.html", "<p>é<!--@state--></p>".as_bytes());
    let error = folder.refused();
    assert!(error.contains("a second state hole"), "{error}");
}

#[test]
fn a_file_that_is_too_large_is_refused_without_reading_it() {
    let folder = Folder::new(&[]);
    let file = fs::File::create(folder.path("large.bin")).unwrap();
    file.set_len((1 << 30) + 1).unwrap();
    assert!(folder.refused().contains("bytes of large.bin: 1073741825"));
    file.set_len(0).unwrap();
    let page = fs::File::create(folder.path("large.html")).unwrap();
    page.set_len((64 << 20) + 1).unwrap();
    assert!(folder.refused().contains("bytes of large.html: 67108865"));
}

#[test]
fn an_empty_folder_and_empty_files_are_a_site() {
    let folder = Folder::new(&[]);
    assert_eq!(folder.build().manifest.resources().count(), 0);
    folder.write("index.html", b"");
    folder.write("a.txt", b"");
    let build = folder.build();
    assert_eq!(page(&build, "/").size, 0);
    assert_eq!(build.blobs.len(), 1);
}

#[test]
fn progress_hears_of_every_file() {
    #[derive(Default)]
    struct Heard(Mutex<(usize, u64, usize, u64)>);
    impl Progress for Heard {
        fn begin(&self, files: usize, bytes: u64) {
            let mut heard = self.0.lock().unwrap();
            (heard.0, heard.1) = (files, bytes);
        }
        fn file_done(&self, bytes: u64) {
            let mut heard = self.0.lock().unwrap();
            heard.2 += 1;
            heard.3 += bytes;
        }
    }
    let folder = Folder::new(&[("index.html", b"<p>"), ("a.txt", b"abcd")]);
    let heard = Heard::default();
    build(&folder.path(""), &BuildOptions::default(), &heard).unwrap();
    assert_eq!(*heard.0.lock().unwrap(), (2, 7, 2, 7));
}

#[test]
fn one_changed_file_is_one_changed_url() {
    let folder = Folder::new(&[("index.html", b"<p>a"), ("b.html", b"<p>b")]);
    let old = folder.build();
    folder.write("b.html", b"<p>c");
    let new = folder.build();
    let changes = Changes::between(Some(&old.manifest), &new.manifest);
    assert_eq!(changes.changed, ["/b.html"]);
    assert_eq!(changes.len(), 1);
}

#[test]
fn a_release_is_written_and_read_again() {
    let folder = Folder::new(&[("index.html", prose(500).as_bytes()), ("a.css", b"p{}")]);
    let out = Folder::new(&[]);
    let (out, sources) = (out.path("release"), folder.path(""));
    let built = folder.build();
    built.write_to(&out).unwrap();
    assert!(Build::is_in(&out).unwrap());
    assert!(!Build::is_in(&sources).unwrap());
    let read = Build::read_from(&out).unwrap();
    assert_eq!(read.manifest_json, built.manifest_json);
    assert_eq!(read.blobs.len(), built.blobs.len());
    let refused = build(&out, &BuildOptions::default(), &()).unwrap_err();
    assert!(refused.to_string().contains("built release"), "{refused}");

    folder.write("a.css", b"p{color:red}");
    let next = folder.build();
    next.write_to(&out).unwrap();
    assert_eq!(
        Build::read_from(&out).unwrap().manifest_json,
        next.manifest_json
    );
    let files = fs::read_dir(out.join("blobs")).unwrap().count();
    assert_eq!(files, next.blobs.len());

    let (digest, _) = next.blobs.iter().next().unwrap();
    fs::write(out.join("blobs").join(digest.to_hex()), b"").unwrap();
    assert!(Build::read_from(&out).is_err());
    next.write_to(&out).unwrap();
    fs::remove_file(out.join("blobs").join(digest.to_hex())).unwrap();
    assert!(Build::read_from(&out).is_err());
}

#[test]
fn a_file_that_changed_since_the_build_is_not_written() {
    let folder = Folder::new(&[("a.css", b"p{}")]);
    let built = folder.build();
    folder.write("a.css", b"q{}");
    let error = built.write_to(&folder.path("out")).unwrap_err().to_string();
    assert!(error.contains("was changed since"), "{error}");
}
