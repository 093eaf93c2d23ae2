//! Where things are in a checkout.

use std::path::{Path, PathBuf};

/// The root of the project that this runner was built from.
#[derive(Debug, Clone)]
pub(crate) struct Checkout {
    root: PathBuf,
}

impl Checkout {
    /// The checkout in whose `tests/xtask` this runner's sources are.
    pub(crate) fn find() -> Result<Self, String> {
        let own = Path::new(env!("CARGO_MANIFEST_DIR"));
        let root = own.ancestors().nth(2).unwrap_or(own).to_path_buf();
        if !root.join("proto/buf.yaml").is_file() {
            return Err(format!(
                "{} is not the project any more: run `cargo xtask` in the checkout again, \
                 so that the runner is built there",
                root.display()
            ));
        }
        Ok(Self { root })
    }

    /// A path inside the checkout.
    pub(crate) fn path(&self, inside: &str) -> PathBuf {
        self.root.join(inside)
    }

    /// Where tools live that the tests brought themselves; git ignores it.
    pub(crate) fn tools(&self) -> PathBuf {
        self.target().join("tools")
    }

    /// The folder cargo builds into.
    pub(crate) fn target(&self) -> PathBuf {
        match std::env::var_os("CARGO_TARGET_DIR") {
            Some(folder) => self.root.join(folder),
            None => self.root.join("target"),
        }
    }

    /// The folder that holds the services' programs once they are built.
    pub(crate) fn programs(&self) -> PathBuf {
        self.target().join("debug")
    }

    /// The root itself.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }
}
