//! What must hold before any test is run.

use crate::checkout::Checkout;
use crate::program::{Done, Program};
use crate::report::Report;
use crate::setup::{self, Outcome};

/// A check by its name.
type Check = (&'static str, fn(&Checkout) -> Result<Done, String>);

/// Every check; one that cannot be run says why.
const ALL: [Check; 5] = [
    ("format", |checkout| {
        cargo(checkout, &["fmt", "--all", "--check"])
    }),
    ("lints", lints),
    ("documentation", documentation),
    ("dependencies", dependencies),
    ("contract", contract),
];

/// Runs the checks with these names, or all, and notes each in the report.
pub(crate) fn run(
    checkout: &Checkout,
    names: &[String],
    report: &mut Report,
) -> Result<(), String> {
    if let Some(unknown) = names
        .iter()
        .find(|name| ALL.iter().all(|(known, _)| known != name))
    {
        let known = ALL.map(|(name, _)| name).join(", ");
        return Err(format!("there is no check `{unknown}`; there are {known}"));
    }
    for (name, check) in ALL {
        if !names.is_empty() && !names.iter().any(|chosen| chosen == name) {
            continue;
        }
        let row = format!("check {name}");
        match check(checkout) {
            Ok(done) => report.step(&row, &done),
            Err(why) => report.skipped(&row, &why),
        }
    }
    Ok(())
}

fn lints(checkout: &Checkout) -> Result<Done, String> {
    let what = [
        "clippy",
        "--workspace",
        "--all-targets",
        "--locked",
        "--",
        "-D",
        "warnings",
    ];
    cargo(checkout, &what)
}

fn documentation(checkout: &Checkout) -> Result<Done, String> {
    Ok(Program::new(
        "cargo",
        ["doc", "--no-deps", "--workspace", "--locked"],
        checkout,
    )
    .variable("RUSTDOCFLAGS", "-D warnings")
    .run())
}

/// Licences, bans and sources, as `deny.toml` says.
fn dependencies(checkout: &Checkout) -> Result<Done, String> {
    had(setup::deny::install(checkout))?;
    let deny = setup::deny::program(checkout);
    let what = ["--locked", "check", "bans", "licenses", "sources"];
    Ok(Program::new(deny, what, checkout).run())
}

/// The gRPC contract, as `proto/buf.yaml` says.
fn contract(checkout: &Checkout) -> Result<Done, String> {
    had(setup::node::install(checkout, "tests/tools"))?;
    let buf = setup::node::buf(checkout);
    Ok(Program::new(buf, ["lint", "proto"], checkout).run())
}

fn cargo(checkout: &Checkout, arguments: &[&str]) -> Result<Done, String> {
    Ok(Program::new("cargo", arguments, checkout).run())
}

fn had(outcome: Outcome) -> Result<(), String> {
    match outcome {
        Outcome::Present | Outcome::Installed => Ok(()),
        Outcome::Unavailable(why) => Err(why),
    }
}
