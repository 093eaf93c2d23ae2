//! A Python of the tests' own, with the packages of `tests/python/requirements.txt`.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use super::Outcome;
use crate::checkout::Checkout;
use crate::program::Program;

/// Where the interpreter is once it is installed.
pub(crate) fn interpreter(checkout: &Checkout) -> PathBuf {
    checkout.tools().join("venv/bin/python")
}

/// Whether the system's Python can make virtual environments with pip in them.
pub(super) fn can_make_environments() -> bool {
    Command::new("python3")
        .args(["-c", "import ensurepip, venv"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// Makes the environment and installs what the requirements name, unless that is done.
pub(super) fn install(checkout: &Checkout) -> Outcome {
    let environment = checkout.tools().join("venv");
    let requirements = checkout.path("tests/python/requirements.txt");
    let Ok(wanted) = fs::read(&requirements) else {
        return Outcome::Unavailable(format!("{} cannot be read", requirements.display()));
    };
    let stamp = environment.join("installed-requirements.txt");
    let interpreter = interpreter(checkout);
    if interpreter.exists() && fs::read(&stamp).is_ok_and(|installed| installed == wanted) {
        return Outcome::Present;
    }
    let steps = [
        Program::new("python3", ["-m", "venv", "--clear"], checkout).argument(&environment),
        Program::new(
            &interpreter,
            [
                "-m",
                "pip",
                "install",
                "--quiet",
                "--disable-pip-version-check",
                "-r",
            ],
            checkout,
        )
        .argument(&requirements),
    ];
    for step in steps {
        if !step.run().ok {
            return Outcome::Unavailable("its packages could not be installed".to_owned());
        }
    }
    match fs::write(&stamp, wanted) {
        Ok(()) => Outcome::Installed,
        Err(error) => Outcome::Unavailable(format!("{}: {error}", stamp.display())),
    }
}
