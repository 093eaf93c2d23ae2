//! Runs another program: shown while it runs, kept for whoever counts.

use std::ffi::{OsStr, OsString};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::checkout::Checkout;
use crate::environment;

/// Lines of output that are kept: enough for the closing lines of any test runner.
const KEPT_LINES: usize = 4_000;

/// In CI no step may use up the time of all: it is ended after this.
const LONGEST_STEP: &str = "2700";

/// A program with its arguments, folder and environment.
#[derive(Debug)]
pub(crate) struct Program {
    name: OsString,
    arguments: Vec<OsString>,
    folder: PathBuf,
    variables: Vec<(&'static str, OsString)>,
}

/// What came of it.
#[derive(Debug)]
pub(crate) struct Done {
    /// It ran and exited 0.
    pub(crate) ok: bool,
    /// The last lines it printed, on either stream.
    pub(crate) output: String,
    /// How long it took.
    pub(crate) took: Duration,
}

impl Program {
    /// A program that runs in the root of the checkout.
    pub(crate) fn new<A: Into<OsString>>(
        name: impl Into<OsString>,
        arguments: impl IntoIterator<Item = A>,
        checkout: &Checkout,
    ) -> Self {
        Self {
            name: name.into(),
            arguments: arguments.into_iter().map(Into::into).collect(),
            folder: checkout.root().to_path_buf(),
            variables: Vec::new(),
        }
    }

    /// Adds an argument.
    pub(crate) fn argument(mut self, argument: impl Into<OsString>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// Adds arguments.
    pub(crate) fn arguments<A: Into<OsString>>(
        mut self,
        arguments: impl IntoIterator<Item = A>,
    ) -> Self {
        self.arguments.extend(arguments.into_iter().map(Into::into));
        self
    }

    /// The folder to run in.
    pub(crate) fn folder(mut self, folder: PathBuf) -> Self {
        self.folder = folder;
        self
    }

    /// Sets a variable.
    pub(crate) fn variable(mut self, name: &'static str, value: impl Into<OsString>) -> Self {
        self.variables.push((name, value.into()));
        self
    }

    /// Sets the variables that tests get.
    pub(crate) fn for_tests(mut self, checkout: &Checkout) -> Self {
        self.variables.extend(environment::for_tests(checkout));
        self
    }

    /// Runs it, shows its output as it comes, and says what came of it.
    pub(crate) fn run(&self) -> Done {
        println!("\n$ {}", self.line());
        let begun = Instant::now();
        let (ok, output) = match self.stream() {
            Ok(done) => done,
            Err(error) => {
                println!("{}: {error}", self.name.display());
                (false, error.to_string())
            }
        };
        let took = begun.elapsed();
        println!(
            "  ({}, {})",
            if ok { "ok" } else { "FAILED" },
            seconds(took)
        );
        Done { ok, output, took }
    }

    /// Runs it unseen and returns what it printed on stdout if it exited 0.
    pub(crate) fn read(&self) -> Option<String> {
        let output = self.command(false).stdin(Stdio::null()).output().ok()?;
        output
            .status
            .success()
            .then(|| String::from_utf8_lossy(&output.stdout).into_owned())
    }

    fn stream(&self) -> std::io::Result<(bool, String)> {
        // One pipe for both streams keeps the lines in the order they were written.
        let (reader, writer) = std::io::pipe()?;
        let mut command = self.command(environment::is_ci());
        command
            .stdin(Stdio::null())
            .stdout(writer.try_clone()?)
            .stderr(writer);
        let mut child = command.spawn()?;
        // The command holds the writing end: the pipe would never end.
        drop(command);
        let mut kept = std::collections::VecDeque::new();
        let mut lines = BufReader::new(reader);
        let mut line = Vec::new();
        while lines.read_until(b'\n', &mut line)? > 0 {
            let text = String::from_utf8_lossy(&line);
            print!("{text}");
            std::io::stdout().flush()?;
            kept.push_back(text.into_owned());
            if kept.len() > KEPT_LINES {
                kept.pop_front();
            }
            line.clear();
        }
        let status = child.wait()?;
        Ok((status.success(), kept.into_iter().collect()))
    }

    fn command(&self, limited: bool) -> Command {
        let mut command = if limited {
            let mut timeout = Command::new("timeout");
            timeout
                .args(["--kill-after=10", LONGEST_STEP])
                .arg(&self.name);
            timeout
        } else {
            Command::new(&self.name)
        };
        command.args(&self.arguments).current_dir(&self.folder);
        // `cargo run` describes this runner to it. Build scripts that look at the same
        // variables would run again each time the runner and a person take turns.
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
                command.env_remove(&name);
            }
        }
        for (name, value) in &self.variables {
            command.env(name, value);
        }
        command
    }

    fn line(&self) -> String {
        std::iter::once(&self.name)
            .chain(&self.arguments)
            .map(|word| word.to_string_lossy())
            .collect::<Vec<_>>()
            .join(" ")
    }
}

/// Whether a program of this name can be started.
pub(crate) fn is_there(name: &str) -> bool {
    let folders = std::env::var_os("PATH").unwrap_or_default();
    // Servers are in folders that are not on everybody's path.
    std::env::split_paths(&folders)
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .any(|folder: PathBuf| folder.join(OsStr::new(name)).is_file())
}

/// A duration as people say it: `4.2 s`, `3 min 20 s`.
pub(crate) fn seconds(duration: Duration) -> String {
    let whole = duration.as_secs();
    if whole >= 60 {
        format!("{} min {:02} s", whole / 60, whole % 60)
    } else {
        format!("{:.1} s", duration.as_secs_f64())
    }
}
