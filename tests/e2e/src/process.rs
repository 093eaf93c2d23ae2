//! One program under test as a process: started, heard, signalled, killed.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tempfile::TempDir;

use crate::programs;
use crate::wait::{PATIENCE, eventually};

/// Lines of a log that a failed test shows.
const SHOWN_LINES: usize = 80;

/// What to start.
#[derive(Debug, Clone)]
pub struct Launch {
    program: &'static str,
    arguments: Vec<OsString>,
    variables: Vec<(OsString, OsString)>,
    wrapper: Vec<OsString>,
}

impl Launch {
    /// A program by its name, or by its absolute path if it is not one of Tidegate's.
    pub fn new(program: &'static str) -> Self {
        Self {
            program,
            arguments: Vec::new(),
            variables: Vec::new(),
            wrapper: Vec::new(),
        }
    }

    /// Adds an argument.
    #[must_use]
    pub fn argument(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.arguments.push(argument.as_ref().to_owned());
        self
    }

    /// Adds a flag with its value.
    #[must_use]
    pub fn flag(self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.argument(name).argument(value)
    }

    /// Sets a variable.
    #[must_use]
    pub fn variable(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.variables
            .push((name.into(), value.as_ref().to_owned()));
        self
    }

    /// Starts it under another program: `["strace", "-f", ...]`.
    #[must_use]
    pub fn under<W: AsRef<OsStr>>(mut self, wrapper: impl IntoIterator<Item = W>) -> Self {
        self.wrapper = wrapper
            .into_iter()
            .map(|word| word.as_ref().to_owned())
            .collect();
        self
    }

    /// The command, with an environment that does not depend on who runs the tests.
    pub(crate) fn command(&self) -> Command {
        let program = programs::find(self.program);
        let mut words = self.wrapper.iter().map(OsString::as_os_str);
        let mut command = match words.next() {
            Some(first) => {
                let mut command = Command::new(first);
                command.args(words).arg(program);
                command
            }
            None => Command::new(program),
        };
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            if text.starts_with("TIDEGATE_") || text.starts_with("OTEL_") || text == "RUST_LOG" {
                command.env_remove(&name);
            }
        }
        command
            .env("RUST_BACKTRACE", "1")
            .args(&self.arguments)
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null());
        command
    }
}

/// A running process.
#[derive(Debug)]
pub struct Process {
    name: &'static str,
    child: Child,
    stdout: Receiver<String>,
    log: PathBuf,
    // The log is in it.
    _folder: TempDir,
    ended: Option<ExitStatus>,
}

/// The values of a line such as `ready edge=http://127.0.0.1:8080 grpc=...`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ready(Vec<(String, String)>);

impl Ready {
    /// Reads the line; none if it is another one.
    pub fn parse(line: &str) -> Option<Self> {
        let fields = line.trim_end().strip_prefix("ready ")?;
        fields
            .split_whitespace()
            .map(|field| {
                let (name, value) = field.split_once('=')?;
                Some((name.to_owned(), value.to_owned()))
            })
            .collect::<Option<Vec<_>>>()
            .map(Self)
    }

    /// A value by its name.
    ///
    /// # Panics
    ///
    /// If the line does not have it.
    pub fn get(&self, name: &str) -> &str {
        self.0
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
            .unwrap_or_else(|| panic!("the ready line has no `{name}`: {:?}", self.0))
    }
}

impl Process {
    /// Starts it in a process group of its own.
    ///
    /// # Panics
    ///
    /// If it cannot be started.
    pub fn start(launch: &Launch) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let log = folder.path().join("log");
        let stderr = File::create(&log).expect("a log file can be made");
        let mut command = launch.command();
        command
            .process_group(0)
            .stdout(Stdio::piped())
            .stderr(stderr);
        let mut child = command
            .spawn()
            .unwrap_or_else(|error| panic!("{} cannot be started: {error}", launch.program));
        let (sender, stdout) = sync_channel(1_000);
        let pipe = child.stdout.take().expect("stdout is a pipe");
        thread::spawn(move || forward(pipe, &sender));
        Self {
            name: launch.program,
            child,
            stdout,
            log,
            _folder: folder,
            ended: None,
        }
    }

    /// Waits for the line that says that all is up.
    ///
    /// # Panics
    ///
    /// If another line comes, the process ends, or it takes too long.
    pub async fn ready(&mut self) -> Ready {
        let line = self.line().await;
        match Ready::parse(&line) {
            Some(ready) => ready,
            None => panic!("{} said `{line}` and not `ready ...`", self.name),
        }
    }

    /// Waits for the next line on stdout.
    ///
    /// # Panics
    ///
    /// If the process ends or it takes too long.
    pub async fn line(&mut self) -> String {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            match self.stdout.recv_timeout(Duration::ZERO) {
                Ok(line) => return line,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    panic!("{} closed its stdout\n{}", self.name, self.log_end())
                }
            }
            assert!(
                tokio::time::Instant::now() < deadline,
                "{} printed nothing within {PATIENCE:?}\n{}",
                self.name,
                self.log_end()
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// The lines on stdout that nobody has read yet.
    pub fn rest_of_stdout(&mut self) -> Vec<String> {
        self.stdout.try_iter().collect()
    }

    /// Its id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The most memory that it has had so far, in KiB.
    ///
    /// # Panics
    ///
    /// If it has ended.
    pub fn most_resident_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id()));
        let status = status.expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let words = line.unwrap_or_default().split_whitespace();
        let kib = words.filter_map(|word| word.parse().ok()).next();
        kib.expect("the kernel says how much it has had")
    }

    /// Everything it has logged so far.
    pub fn log(&self) -> String {
        let bytes = std::fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// `SIGKILL` to the whole group, and waits for its end: what was not on the disk
    /// or in the kernel's hands is gone.
    pub fn kill9(&mut self) {
        if self.ended.is_none() {
            self.signal(Signal::KILL);
            self.ended = Some(self.child.wait().expect("a child can be waited for"));
        }
    }

    /// `SIGTERM`: asks it to drain and end.
    pub fn sigterm(&self) {
        self.signal(Signal::TERM);
    }

    /// `SIGSTOP`: it stands still, with its connections open.
    pub fn pause(&self) {
        self.signal(Signal::STOP);
    }

    /// `SIGCONT`: it goes on.
    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        if self.ended.is_none() {
            self.ended = self
                .child
                .try_wait()
                .expect("a child can be asked for its state");
        }
        self.ended.is_none()
    }

    /// Waits for its end.
    ///
    /// # Panics
    ///
    /// If it goes on too long.
    pub async fn ended(&mut self) -> ExitStatus {
        let what = format!("{} ends", self.name);
        eventually(&what, || {
            let running = self.is_running();
            std::future::ready(if running { Err("it runs") } else { Ok(()) })
        })
        .await;
        self.ended.expect("it has ended")
    }

    fn signal(&self, signal: Signal) {
        if self.ended.is_some() {
            return;
        }
        let group = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        if let Some(group) = group {
            // It may have ended by itself.
            let _ = kill_process_group(group, signal);
        }
    }

    fn log_end(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        let first = lines.len().saturating_sub(SHOWN_LINES);
        format!(
            "--- {} (process {}), end of its log ---\n{}\n---",
            self.name,
            self.child.id(),
            lines[first..].join("\n")
        )
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("{}", self.log_end());
        }
        self.kill9();
    }
}

/// Hands lines on until the pipe ends. More than the test reads are dropped, so that
/// the process is never held up by its stdout.
fn forward(pipe: impl std::io::Read, sender: &SyncSender<String>) {
    for line in BufReader::new(pipe).lines() {
        let Ok(line) = line else { return };
        let _ = sender.try_send(line);
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn the_ready_line_is_read() {
        let ready =
            Ready::parse("ready edge=http://127.0.0.1:1 grpc=http://127.0.0.1:2\n").unwrap();
        assert_eq!(ready.get("edge"), "http://127.0.0.1:1");
        assert_eq!(ready.get("grpc"), "http://127.0.0.1:2");
    }

    #[test]
    fn another_line_is_not_taken_for_it() {
        assert_eq!(Ready::parse("listening on 127.0.0.1:1"), None);
        assert_eq!(Ready::parse("ready soon"), None);
    }

    fn shell(script: &str) -> Process {
        Process::start(&Launch::new("/bin/sh").flag("-c", script))
    }

    #[tokio::test]
    async fn a_process_is_heard_and_ends_by_itself() {
        let mut process = shell("echo ready a=1; echo more; echo 'to the log' >&2; exit 3");
        assert_eq!(process.ready().await.get("a"), "1");
        assert_eq!(process.line().await, "more");
        assert_eq!(process.ended().await.code(), Some(3));
        assert_eq!(process.log(), "to the log\n");
    }

    #[tokio::test]
    async fn sigterm_can_be_caught() {
        let mut process = shell("trap 'exit 0' TERM; echo ready; while :; do sleep 0.01; done");
        process.line().await;
        process.sigterm();
        assert_eq!(process.ended().await.code(), Some(0));
    }

    #[tokio::test]
    async fn killing_reaches_the_whole_group() {
        let mut process = shell("sleep 1000 & echo $!; wait");
        let grandchild = format!("/proc/{}/stat", process.line().await);
        assert!(Path::new(&grandchild).exists());
        drop(process);
        eventually("the grandchild is gone", || {
            // Killed, it may stay as a zombie if nobody reaps orphans here.
            let state = std::fs::read_to_string(&grandchild).unwrap_or_default();
            let gone = state.is_empty() || state.contains(") Z ");
            std::future::ready(if gone { Ok(()) } else { Err(state) })
        })
        .await;
    }

    #[tokio::test]
    #[should_panic(expected = "closed its stdout")]
    async fn a_process_that_ends_before_it_is_ready_is_not_waited_for() {
        shell("echo 'port in use' >&2; exit 1").ready().await;
    }
}
