//! Packages from npm, one folder of them for each `package.json` of the tests.

use std::fs;
use std::path::PathBuf;

use super::Outcome;
use crate::checkout::Checkout;
use crate::program::Program;

/// Installs what the folder's lock file names, unless exactly that is installed.
pub(crate) fn install(checkout: &Checkout, folder: &str) -> Outcome {
    let folder = checkout.path(folder);
    let Ok(lock) = fs::read(folder.join("package-lock.json")) else {
        return Outcome::Unavailable(format!("{} has no package-lock.json", folder.display()));
    };
    let stamp = folder.join("node_modules/.installed-lock.json");
    if fs::read(&stamp).is_ok_and(|installed| installed == lock) {
        return Outcome::Present;
    }
    let done = Program::new(
        "npm",
        ["ci", "--ignore-scripts", "--no-audit", "--no-fund"],
        checkout,
    )
    .folder(folder.clone())
    .run();
    if !done.ok {
        return Outcome::Unavailable(format!("npm ci in {} failed", folder.display()));
    }
    match fs::write(&stamp, lock) {
        Ok(()) => Outcome::Installed,
        Err(error) => Outcome::Unavailable(format!("{}: {error}", stamp.display())),
    }
}

/// The program that lints the gRPC contract, from `tests/tools`.
pub(crate) fn buf(checkout: &Checkout) -> PathBuf {
    let machine = match std::env::consts::ARCH {
        "x86_64" => "x64",
        other => other,
    };
    checkout.path(&format!(
        "tests/tools/node_modules/@bufbuild/buf-linux-{machine}/bin/buf"
    ))
}
