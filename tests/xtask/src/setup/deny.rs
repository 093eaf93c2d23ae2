//! cargo-deny, built once: in `PATH` already, or under `target/tools`.

use std::ffi::OsString;

use super::Outcome;
use crate::checkout::Checkout;
use crate::program::{Program, is_there};

const VERSION: &str = "0.20.2";

/// The program to call.
pub(crate) fn program(checkout: &Checkout) -> OsString {
    if is_there("cargo-deny") {
        "cargo-deny".into()
    } else {
        checkout
            .tools()
            .join("cargo/bin/cargo-deny")
            .into_os_string()
    }
}

/// Builds it where it is missing: about a minute on two cores, because it need not be
/// fast and nobody debugs it.
pub(crate) fn install(checkout: &Checkout) -> Outcome {
    let runs = || {
        Program::new(program(checkout), ["--version"], checkout)
            .read()
            .is_some()
    };
    if runs() {
        return Outcome::Present;
    }
    let package = format!("cargo-deny@{VERSION}");
    Program::new(
        "cargo",
        [
            "install",
            "--locked",
            "--quiet",
            "--profile",
            "dev",
            "--no-default-features",
            "--root",
        ],
        checkout,
    )
    .argument(checkout.tools().join("cargo"))
    .argument(package)
    .variable("CARGO_PROFILE_DEV_DEBUG", "0")
    .variable("CARGO_INCREMENTAL", "0")
    .run();
    if runs() {
        Outcome::Installed
    } else {
        Outcome::Unavailable("cargo install cargo-deny failed".to_owned())
    }
}
