//! Where the programs under test are.

use std::path::{Path, PathBuf};

/// The variable that names the folder with the programs.
pub const VARIABLE: &str = "TIDEGATE_BIN_DIR";

/// The path of a program such as `tidegate-edge`: in the folder that `TIDEGATE_BIN_DIR`
/// names, else in the folder cargo builds into.
///
/// # Panics
///
/// If it is not there: how to build it.
pub fn find(program: &str) -> PathBuf {
    let folder = match std::env::var_os(VARIABLE) {
        Some(folder) => PathBuf::from(folder),
        None => {
            let own = std::env::current_exe().expect("a process knows its own program");
            build_folder(&own)
        }
    };
    let path = folder.join(program);
    assert!(
        path.is_file(),
        "{} is not there: build it (`cargo build --workspace --bins`) or set {VARIABLE} to \
         the folder that holds it",
        path.display()
    );
    path
}

/// Cargo puts tests one folder deeper than programs: `target/debug/deps/main-0123`.
fn build_folder(test: &Path) -> PathBuf {
    let folder = test.parent().unwrap_or(test);
    if folder.ends_with("deps") {
        folder.parent().unwrap_or(folder).to_path_buf()
    } else {
        folder.to_path_buf()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_beside_the_folder_of_tests() {
        let test = Path::new("/x/target/debug/deps/main-0123");
        assert_eq!(build_folder(test), Path::new("/x/target/debug"));
        let example = Path::new("/x/target/debug/example");
        assert_eq!(build_folder(example), Path::new("/x/target/debug"));
    }
}
