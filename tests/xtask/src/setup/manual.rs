//! The tests' real site: the PostgreSQL manual, about 1,170 pages of HTML.
//!
//! It is unpacked beside the system, not installed: slim images of Debian drop what
//! packages bring under `/usr/share/doc`.

use std::fs;
use std::path::{Path, PathBuf};

use super::{Outcome, debian};
use crate::checkout::Checkout;
use crate::program::Program;

const PACKAGE: &str = "postgresql-doc-15";

/// The folder with its HTML, if it is there.
pub(crate) fn html(checkout: &Checkout) -> Option<PathBuf> {
    let folder = folder(checkout).join(format!("usr/share/doc/{PACKAGE}/html"));
    folder.join("index.html").is_file().then_some(folder)
}

/// Downloads the package and unpacks it.
pub(super) fn install(checkout: &Checkout) -> Outcome {
    if html(checkout).is_some() {
        return Outcome::Present;
    }
    match unpack(checkout, &folder(checkout)) {
        Ok(()) if html(checkout).is_some() => Outcome::Installed,
        Ok(()) => Outcome::Unavailable(format!("{PACKAGE} holds no html/index.html")),
        Err(why) => Outcome::Unavailable(why),
    }
}

fn folder(checkout: &Checkout) -> PathBuf {
    checkout.tools().join("postgresql-doc")
}

fn unpack(checkout: &Checkout, into: &Path) -> Result<(), String> {
    let problem = |error: std::io::Error| format!("{}: {error}", into.display());
    // A folder of its own, renamed when it is whole, so that a download that was cut
    // short is not taken for the manual.
    let fresh = into.with_extension("new");
    if fresh.exists() {
        fs::remove_dir_all(&fresh).map_err(problem)?;
    }
    fs::create_dir_all(&fresh).map_err(problem)?;
    let download = Program::new("apt-get", ["download", PACKAGE], checkout).folder(fresh.clone());
    // Without package lists there is nothing to download from; the lists may be old, too.
    if !download.run().ok {
        debian::refresh(checkout);
        if !download.run().ok {
            return Err(format!("apt-get download {PACKAGE} failed"));
        }
    }
    let package = fs::read_dir(&fresh)
        .map_err(problem)?
        .flatten()
        .map(|entry| entry.path())
        .find(|path| path.extension().is_some_and(|ending| ending == "deb"))
        .ok_or_else(|| format!("apt-get download {PACKAGE} left no package"))?;
    let unpacked = Program::new("dpkg", ["-x"], checkout)
        .argument(&package)
        .argument(&fresh)
        .run();
    if !unpacked.ok {
        return Err(format!("dpkg -x {} failed", package.display()));
    }
    fs::remove_file(&package).map_err(problem)?;
    if into.exists() {
        fs::remove_dir_all(into).map_err(problem)?;
    }
    fs::rename(&fresh, into).map_err(problem)
}
