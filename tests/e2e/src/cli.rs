//! The `tidegate` command, as a person or a script calls it.

use std::ffi::OsStr;
use std::process::Output;
use std::time::Duration;

use crate::process::Launch;
use crate::wait::PATIENCE;

/// The command, pointed at a control plane.
#[derive(Debug, Clone)]
pub struct Cli {
    launch: Launch,
    patience: Duration,
}

/// What came of a call.
#[derive(Debug, Clone)]
pub struct Said {
    /// Exit code; -1 if a signal ended it.
    pub code: i32,
    /// What it printed.
    pub stdout: String,
    /// What it complained of, and its progress.
    pub stderr: String,
}

impl Cli {
    /// The command, pointed at `http://host:port`.
    pub fn new(control: &str) -> Self {
        Self {
            launch: Launch::new("tidegate").flag("--control", control),
            patience: PATIENCE,
        }
    }

    /// The same with a flag that all commands know, such as `--site`.
    #[must_use]
    pub fn flag(mut self, name: &str, value: &str) -> Self {
        self.launch = self.launch.flag(name, value);
        self
    }

    /// The same with a variable set.
    #[must_use]
    pub fn variable(mut self, name: &str, value: &str) -> Self {
        self.launch = self.launch.variable(name, value);
        self
    }

    /// The same for commands that work for long, such as building a large site on a
    /// machine that does other things too.
    #[must_use]
    pub fn patient(mut self) -> Self {
        self.patience = 5 * PATIENCE;
        self
    }

    /// Runs a command and waits for its end.
    ///
    /// # Panics
    ///
    /// If it cannot be started, or does not end.
    pub async fn run<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Said {
        let launch = arguments
            .into_iter()
            .fold(self.launch.clone(), |launch, argument| {
                launch.argument(argument)
            });
        let what = format!("the end of {launch:?}");
        let run = tokio::task::spawn_blocking(move || launch.command().output());
        let output = tokio::time::timeout(self.patience, run)
            .await
            .unwrap_or_else(|_| panic!("{what}: not within {:?}", self.patience))
            .expect("the call does not panic");
        match output {
            Ok(output) => Said::new(&output),
            Err(error) => panic!("tidegate cannot be started: {error}"),
        }
    }

    /// Runs a command that has to succeed, and returns its JSON.
    ///
    /// # Panics
    ///
    /// If it fails or prints something else.
    pub async fn json<A: AsRef<OsStr>>(
        &self,
        arguments: impl IntoIterator<Item = A>,
    ) -> serde_json::Value {
        let said = self.clone().flag("--output", "json").run(arguments).await;
        assert_eq!(said.code, 0, "{said:?}");
        serde_json::from_str(&said.stdout)
            .unwrap_or_else(|error| panic!("no JSON ({error}): {said:?}"))
    }
}

impl Said {
    fn new(output: &Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Self {
            code: output.status.code().unwrap_or(-1),
            stdout: text(&output.stdout),
            stderr: text(&output.stderr),
        }
    }
}
