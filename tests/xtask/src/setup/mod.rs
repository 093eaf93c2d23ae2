//! Installs what the tests need and is not there yet. Every part asks first, so that
//! a second run costs about a second.

pub(crate) mod debian;
pub(crate) mod deny;
pub(crate) mod manual;
pub(crate) mod node;
pub(crate) mod python;

use std::time::Instant;

use crate::checkout::Checkout;
use crate::program::seconds;

/// What came of one thing that was needed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It was there.
    Present,
    /// It was not there and is now.
    Installed,
    /// It is not there: why.
    Unavailable(String),
}

/// What the tests need, and which of it is missing.
#[derive(Debug, Default)]
pub(crate) struct Tools {
    missing: Vec<String>,
}

impl Tools {
    /// Names of what could not be had, such as `strace`.
    pub(crate) fn missing(&self) -> &[String] {
        &self.missing
    }

    /// Whether this is missing.
    pub(crate) fn lacks(&self, name: &str) -> bool {
        self.missing.iter().any(|missing| missing == name)
    }

    fn note(&mut self, name: &str, outcome: &Outcome) {
        match outcome {
            Outcome::Present => println!("  present      {name}"),
            Outcome::Installed => println!("  installed    {name}"),
            Outcome::Unavailable(why) => {
                println!("  unavailable:{name} ({why})");
                self.missing.push(name.to_owned());
            }
        }
    }
}

/// Installs everything, says what was done, and returns what is missing.
pub(crate) fn everything(checkout: &Checkout) -> Tools {
    let begun = Instant::now();
    println!("setting up");
    let mut tools = Tools::default();
    for (name, outcome) in debian::install(checkout) {
        tools.note(name, &outcome);
    }
    tools.note("browser-modules", &node::install(checkout, "tests/browser"));
    tools.note(
        "conformance-modules",
        &node::install(checkout, "tests/conformance"),
    );
    tools.note("tool-modules", &node::install(checkout, "tests/tools"));
    tools.note("python", &python::install(checkout));
    tools.note("manual", &manual::install(checkout));
    println!("  (set up in {})", seconds(begun.elapsed()));
    tools
}
