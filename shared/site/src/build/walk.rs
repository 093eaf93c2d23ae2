//! Finds the files of a site and the URL of each.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use tidegate_domain::PathAndQuery;

use super::{BuildError, Warning};
use crate::limits::{MAX_FILE_BYTES, MAX_FILES, MAX_FOLDER_DEPTH};
use crate::problem::Problem;

/// The file that people write; it is not served.
pub(super) const SITE_JSON: &str = "site.json";

const WELL_KNOWN: &str = ".well-known";
const INDEX: &str = "index.html";

/// A file that will be served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    /// Where to open it.
    pub(super) path: PathBuf,
    /// Its path relative to the site's folder, with `/` between folders.
    pub(super) file: String,
    /// Its size now, in bytes.
    pub(super) size: u64,
}

/// What a folder holds.
#[derive(Debug, Default)]
pub(super) struct Walk {
    /// The files by URL path.
    pub(super) files: BTreeMap<String, Found>,
    pub(super) warnings: Vec<Warning>,
}

/// Walks `root`, which is a canonical path, but for `skip`, which are too.
pub(super) fn walk(root: &Path, skip: &[PathBuf]) -> Result<Walk, BuildError> {
    let mut walker = Walker {
        root,
        skip,
        folders: 0,
        walk: Walk::default(),
    };
    walker.folder(root, "", &mut Vec::new())?;
    Ok(walker.walk)
}

struct Walker<'a> {
    root: &'a Path,
    skip: &'a [PathBuf],
    folders: usize,
    walk: Walk,
}

impl Walker<'_> {
    /// Walks the folder at the canonical path `folder`, the files of which have names
    /// that begin with `prefix`. `above` are the folders that lead to it.
    fn folder(
        &mut self,
        folder: &Path,
        prefix: &str,
        above: &mut Vec<PathBuf>,
    ) -> Result<(), BuildError> {
        self.folders += 1;
        at_most("folders", self.folders, MAX_FILES)?;
        at_most("folders inside each other", above.len(), MAX_FOLDER_DEPTH)?;
        above.push(folder.to_owned());
        let mut names = Vec::new();
        for entry in fs::read_dir(folder).map_err(BuildError::io(folder))? {
            names.push(entry.map_err(BuildError::io(folder))?.file_name());
            at_most("files in one folder", names.len(), 2 * MAX_FILES)?;
        }
        // The order of a folder is the file system's; the order of warnings is not.
        names.sort_unstable();
        for name in names {
            let path = folder.join(&name);
            if name.as_encoded_bytes().starts_with(b".") && name != WELL_KNOWN {
                continue;
            }
            let Some(name) = name.to_str() else {
                return Err(BuildError::Name { path });
            };
            if prefix.is_empty() && name == SITE_JSON {
                continue;
            }
            self.entry(path, format!("{prefix}{name}"), above)?;
        }
        above.pop();
        Ok(())
    }

    fn entry(
        &mut self,
        path: PathBuf,
        file: String,
        above: &mut Vec<PathBuf>,
    ) -> Result<(), BuildError> {
        let mut metadata = fs::symlink_metadata(&path).map_err(BuildError::io(&path))?;
        let mut path = path;
        if metadata.is_symlink() {
            let Some(target) = self.follow(&path, &file, above) else {
                return Ok(());
            };
            metadata = fs::metadata(&target).map_err(BuildError::io(&target))?;
            path = target;
        }
        if self.skip.contains(&path) {
            return Ok(());
        }
        if metadata.is_dir() {
            return self.folder(&path, &format!("{file}/"), above);
        }
        if !metadata.is_file() {
            let text = "neither a file nor a folder; skipped";
            self.walk.warnings.push(Warning::new(file, text));
            return Ok(());
        }
        let size = metadata.len();
        if size > MAX_FILE_BYTES {
            return Err(BuildError::TooMuch {
                what: format!("bytes of {file}"),
                found: size,
                max: MAX_FILE_BYTES,
            });
        }
        self.add(Found { path, file, size })
    }

    /// Where a symbolic link leads; none, with a warning, if it must not be followed.
    fn follow(&mut self, link: &Path, file: &str, above: &[PathBuf]) -> Option<PathBuf> {
        let text = match fs::canonicalize(link) {
            Err(error) => format!("the symbolic link leads nowhere ({error}); skipped"),
            Ok(target) if !target.starts_with(self.root) => {
                "the symbolic link leaves the site's folder; skipped".to_owned()
            }
            Ok(target) if above.contains(&target) => {
                "the symbolic link leads to a folder it is in; skipped".to_owned()
            }
            Ok(target) => return Some(target),
        };
        self.walk.warnings.push(Warning::new(file, text));
        None
    }

    fn add(&mut self, found: Found) -> Result<(), BuildError> {
        let url = url_path(&found.file)
            .map_err(|reason| Problem::new(format!("/{}", found.file), &found.file, reason))?;
        let second = found.file.clone();
        if let Some(first) = self.walk.files.insert(url.clone(), found) {
            return Err(BuildError::SameUrl {
                url,
                first: first.file,
                second,
            });
        }
        at_most("files", self.walk.files.len(), MAX_FILES)
    }
}

/// The URL path of a file: its relative path percent-encoded, or the path of its
/// folder if it is the folder's index.
fn url_path(file: &str) -> Result<String, String> {
    let path = match file.rsplit_once('/') {
        None if file == INDEX => "",
        Some((folder, INDEX)) => &file[..=folder.len()],
        _ => file,
    };
    // What means something in a URL is part of a name here.
    let mut encoded = String::with_capacity(path.len() + 1);
    encoded.push('/');
    for c in path.chars() {
        match c {
            '%' | '?' | '#' | '\\' | '\u{0}'..='\u{1f}' | '\u{7f}' => {
                encoded.push_str(&format!("%{:02X}", u32::from(c)));
            }
            _ => encoded.push(c),
        }
    }
    let url = PathAndQuery::parse(&encoded).map_err(|error| error.within("path").to_string())?;
    Ok(url.path().to_owned())
}

fn at_most(what: &str, found: usize, max: usize) -> Result<(), BuildError> {
    if found <= max {
        return Ok(());
    }
    Err(BuildError::TooMuch {
        what: what.to_owned(),
        found: found as u64,
        max: max as u64,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_have_the_url_of_their_name_and_indexes_that_of_their_folder() {
        for (file, expected) in [
            ("index.html", "/"),
            ("a/index.html", "/a/"),
            ("a/my index.html", "/a/my%20index.html"),
            ("myindex.html", "/myindex.html"),
            ("index.htm", "/index.htm"),
            ("a%20b.txt", "/a%2520b.txt"),
            ("100%.txt", "/100%25.txt"),
            ("a?b#c.txt", "/a%3Fb%23c.txt"),
            ("%2e%2e/x", "/%252e%252e/x"),
            ("a\\b\n.txt", "/a%5Cb%0A.txt"),
            ("é,*.css", "/%C3%A9%2C%2A.css"),
            ("...", "/..."),
        ] {
            assert_eq!(url_path(file).unwrap(), expected, "{file}");
        }
        assert!(url_path(&"é".repeat(5000)).is_err());
    }

    #[test]
    fn two_files_for_one_url_are_both_named() {
        let mut walker = Walker {
            root: Path::new("/"),
            skip: &[],
            folders: 0,
            walk: Walk::default(),
        };
        let found = |file: &str| Found {
            path: PathBuf::new(),
            file: file.to_owned(),
            size: 0,
        };
        walker.add(found("a.txt")).unwrap();
        let error = walker.add(found("a.txt")).unwrap_err().to_string();
        assert!(
            error.contains("/a.txt: the files a.txt and a.txt"),
            "{error}"
        );
    }
}
