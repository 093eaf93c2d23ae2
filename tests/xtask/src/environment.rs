//! What the runner reads from the environment, and what it hands to the tests.

use std::ffi::OsString;

use crate::checkout::Checkout;
use crate::setup::{manual, python};

/// Whether this is a run of CI, in which a skipped test is a failure.
pub(crate) fn is_ci() -> bool {
    std::env::var("CI").is_ok_and(|value| !matches!(value.as_str(), "" | "0" | "false"))
}

/// The variables that every suite gets:
///
/// - `TIDEGATE_BIN_DIR`: folder with `tidegate`, `tidegate-control-plane` and
///   `tidegate-edge`, built with the dev profile.
/// - `TIDEGATE_TEST_PYTHON`: a Python that has grpcio-tools and pytest.
/// - `TIDEGATE_TEST_SITE`: folder of a real site, the HTML of the PostgreSQL manual.
///
/// The last two are absent if they could not be had.
pub(crate) fn for_tests(checkout: &Checkout) -> Vec<(&'static str, OsString)> {
    let mut variables = vec![("TIDEGATE_BIN_DIR", checkout.programs().into_os_string())];
    let interpreter = python::interpreter(checkout);
    if interpreter.is_file() {
        variables.push(("TIDEGATE_TEST_PYTHON", interpreter.into_os_string()));
    }
    if let Some(site) = manual::html(checkout) {
        variables.push(("TIDEGATE_TEST_SITE", site.into_os_string()));
    }
    variables
}
