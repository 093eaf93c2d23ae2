//! Notices changes of a folder by looking at it: what is not an event of the file
//! system everywhere is a change of a size or a time everywhere.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash as _, Hasher as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tidegate_domain::SiteName;

use super::site::publish;
use crate::client::Client;
use crate::failure::Failure;

/// How often the folder is looked at. A change is published once two looks agree.
const EVERY: Duration = Duration::from_millis(500);

/// The most files that are looked at, and the deepest folder.
const MAX_FILES: usize = 200_000;
const MAX_DEPTH: usize = 64;

/// Publishes the folder again whenever it differs from how it was `published`. What
/// goes wrong is logged: the last release that was whole stays.
pub(super) async fn republish(
    client: &Client,
    site: &SiteName,
    folder: &Path,
    mut published: u64,
) -> Result<(), Failure> {
    let mut last = published;
    loop {
        tokio::time::sleep(EVERY).await;
        let now = look(folder).await;
        if now != published && now == last {
            match publish(client, site, folder).await {
                Ok(_) => {}
                Err(failure) => tracing::error!("cannot publish the changed folder: {failure}"),
            }
            published = now;
        }
        last = now;
    }
}

/// How the folder is now, as a number.
pub(super) async fn look(folder: &Path) -> u64 {
    let folder = folder.to_owned();
    tokio::task::spawn_blocking(move || fingerprint(&folder))
        .await
        .unwrap_or_default()
}

/// A number that changes with names, sizes and times of the files below `folder`.
fn fingerprint(folder: &Path) -> u64 {
    let mut hasher = DefaultHasher::new();
    let mut folders: Vec<(PathBuf, usize)> = vec![(folder.to_owned(), 0)];
    let mut files = 0;
    while let Some((folder, depth)) = folders.pop() {
        let Ok(entries) = std::fs::read_dir(&folder) else {
            continue;
        };
        let mut entries: Vec<_> = entries.flatten().collect();
        entries.sort_by_key(std::fs::DirEntry::file_name);
        for entry in entries {
            // Hidden ones are where builds keep their own files.
            let name = entry.file_name();
            let is_hidden = name.as_encoded_bytes().starts_with(b".") && name != ".well-known";
            let Ok(metadata) = entry.metadata() else {
                continue;
            };
            if is_hidden {
                continue;
            }
            if metadata.is_dir() && depth < MAX_DEPTH {
                folders.push((entry.path(), depth + 1));
                continue;
            }
            files += 1;
            if files > MAX_FILES {
                return hasher.finish();
            }
            entry.path().hash(&mut hasher);
            metadata.len().hash(&mut hasher);
            metadata.modified().ok().hash(&mut hasher);
        }
    }
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_anywhere_is_noticed_and_hidden_files_are_not() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("sub")).unwrap();
        std::fs::write(dir.path().join("sub/a"), "1").unwrap();
        let before = fingerprint(dir.path());
        assert_eq!(fingerprint(dir.path()), before);
        std::fs::write(dir.path().join(".hidden"), "1").unwrap();
        assert_eq!(fingerprint(dir.path()), before);
        std::fs::write(dir.path().join("sub/a"), "22").unwrap();
        assert_ne!(fingerprint(dir.path()), before);
    }
}
