use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;

use tidegate_site::{BuildOptions, build};

use crate::folder::{Folder, paths, warnings};

#[test]
fn links_that_leave_the_folder_are_skipped_with_a_warning() {
    let outside = Folder::new(&[("secret.txt", b"secret"), ("dir/x.txt", b"x")]);
    let folder = Folder::new(&[("index.html", b"<p>"), ("real/a.txt", b"a")]);
    folder.link("secret.txt", outside.path("secret.txt"));
    folder.link("up", "..");
    folder.link("dir", outside.path("dir"));
    folder.link("real/etc", "../../../../../../../../etc");
    folder.link("nowhere", "not-there");
    folder.link("copy.txt", "real/a.txt");
    folder.link("alias", "real");
    let build = folder.build();
    let found: Vec<_> = paths(&build).into_iter().map(|(_, path)| path).collect();
    assert_eq!(found, ["/", "/alias/a.txt", "/copy.txt", "/real/a.txt"]);
    let warnings = warnings(&build);
    let about: Vec<_> = warnings
        .iter()
        .map(|w| w.split_once(':').unwrap().0)
        .collect();
    // The alias leads to the folder whose link leaves, so that is told twice.
    assert_eq!(
        about,
        [
            "alias/etc",
            "dir",
            "nowhere",
            "real/etc",
            "secret.txt",
            "up"
        ]
    );
    assert!(warnings.iter().all(|warning| warning.contains("skipped")));
}

#[test]
fn links_that_go_round_end() {
    let folder = Folder::new(&[("a/x.txt", b"x"), ("b/y.txt", b"y")]);
    folder.link("a/self", ".");
    folder.link("a/root", "..");
    folder.link("a/b", "../b");
    folder.link("b/a", "../a");
    folder.link("loop", "loop");
    let build = folder.build();
    let found: Vec<_> = paths(&build).into_iter().map(|(_, path)| path).collect();
    assert_eq!(found, ["/a/b/y.txt", "/a/x.txt", "/b/a/x.txt", "/b/y.txt"]);
    assert_eq!(build.warnings.len(), 7, "{:?}", warnings(&build));
}

#[test]
fn file_names_that_are_no_text_are_refused() {
    let folder = Folder::new(&[("index.html", b"<p>")]);
    let name = OsStr::from_bytes(b"caf\xe9.html");
    fs::write(folder.path("").join(name), b"x").unwrap();
    assert!(folder.refused().contains("not UTF-8; rename"));
}

#[test]
fn what_is_no_file_is_skipped_with_a_warning() {
    let folder = Folder::new(&[("index.html", b"<p>")]);
    let _socket = std::os::unix::net::UnixListener::bind(folder.path("socket")).unwrap();
    let build = folder.build();
    assert_eq!(paths(&build).len(), 1);
    assert_eq!(
        warnings(&build),
        ["socket: neither a file nor a folder; skipped"]
    );
}

#[test]
fn folders_that_are_not_there_or_too_deep_are_refused() {
    let folder = Folder::new(&[]);
    let gone = build(&folder.path("gone"), &BuildOptions::default(), &());
    assert!(gone.unwrap_err().to_string().contains("gone"));
    folder.write(&format!("{}x.txt", "d/".repeat(70)), b"x");
    assert!(folder.refused().contains("folders inside each other"));
}
