//! One program on its machine: killed, stopped and started again.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use parking_lot::Mutex;
use tidegate_e2e::{Launch, Process};

/// Lines of a log that are shown when a process ended by itself.
const SHOWN_LINES: usize = 5;

/// A program that somebody keeps running.
#[derive(Debug)]
pub struct Node {
    /// Its name.
    pub name: &'static str,
    launch: Launch,
    log: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    process: Option<Process>,
    /// It is meant to be down.
    is_held: bool,
}

impl Node {
    /// Starts it. Its logs are kept in `output`.
    #[must_use]
    pub fn start(name: &'static str, launch: Launch, output: &Path) -> Self {
        let state = State {
            process: Some(Process::start(&launch)),
            is_held: false,
        };
        Self {
            name,
            launch,
            log: output.join(format!("{name}.log")),
            state: Mutex::new(state),
        }
    }

    /// `kill -9`, and it stays down until [`Node::revive`].
    pub fn kill(&self) {
        let mut state = self.state.lock();
        state.is_held = true;
        if let Some(mut process) = state.process.take() {
            process.kill9();
            self.keep_log(&process);
        }
    }

    /// It is asked to end, and stays down until [`Node::revive`], which waits no longer.
    pub fn drain(&self) {
        let mut state = self.state.lock();
        state.is_held = true;
        if let Some(process) = &state.process {
            process.sigterm();
        }
    }

    /// Starts it again, if it is down or was asked to be.
    pub fn revive(&self) {
        let mut state = self.state.lock();
        if state.is_held
            && let Some(mut process) = state.process.take()
        {
            process.kill9();
            self.keep_log(&process);
        }
        state.is_held = false;
        if state.process.is_none() {
            state.process = Some(Process::start(&self.launch));
        }
    }

    /// It stands still.
    pub fn stop(&self) {
        if let Some(process) = &self.state.lock().process {
            process.pause();
        }
    }

    /// It goes on.
    pub fn go_on(&self) {
        if let Some(process) = &self.state.lock().process {
            process.resume();
        }
    }

    /// If it ended although nobody killed it: the end of its log.
    pub fn ended_by_itself(&self) -> Option<String> {
        let mut state = self.state.lock();
        if state.is_held || state.process.as_mut().is_some_and(Process::is_running) {
            return None;
        }
        let process = state.process.take()?;
        self.keep_log(&process);
        let log = process.log();
        let lines: Vec<_> = log.lines().collect();
        let first = lines.len().saturating_sub(SHOWN_LINES);
        Some(lines[first..].join("\n"))
    }

    fn keep_log(&self, process: &Process) {
        let kept = OpenOptions::new().create(true).append(true).open(&self.log);
        if let Ok(mut kept) = kept {
            // For people; a run without it is no worse.
            let _ = writeln!(kept, "{}--- the end of this process ---", process.log());
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.kill();
    }
}
