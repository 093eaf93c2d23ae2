//! A server as a child of this process: started on its core, watched, ended by pid
//! together with its own children.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow, bail};
use rustix::process::{Pid, Signal, kill_process, set_parent_process_death_signal};

use crate::machine::{self, Pin};

/// Longest time a server has to end by itself.
const GRACE: Duration = Duration::from_secs(5);

/// Most of a log that is shown with an error, in bytes.
const TAIL: usize = 2000;

/// A running server. Dropping it ends it.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    log: PathBuf,
}

/// What a server and its children have used.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Usage {
    /// User and system time since they started, as exact as the kernel's clock
    /// tick (10 ms).
    pub(crate) cpu: Duration,
    /// Resident memory now, in bytes.
    pub(crate) resident: u64,
}

/// The program that `program` becomes on these cores: `Command` for the launcher.
pub(crate) fn on_cores(pin: Pin, program: impl AsRef<OsStr>) -> anyhow::Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("launch");
    for core in pin.cores() {
        command.arg("--core").arg(core.to_string());
    }
    command.arg("--").arg(program);
    Ok(command)
}

/// The launcher: moves to the cores, asks to end with its parent, becomes the program.
///
/// # Errors
/// Returns only if that failed.
pub(crate) fn become_program(cores: Pin, program: &[OsString]) -> anyhow::Result<bool> {
    machine::raise_open_files()?;
    cores.enter()?;
    // A run that is killed must not leave servers behind.
    set_parent_process_death_signal(Some(Signal::TERM))?;
    let [name, arguments @ ..] = program else {
        bail!("no program given");
    };
    let error = Command::new(name).args(arguments).exec();
    Err(error).with_context(|| format!("{} cannot be started", name.display()))
}

impl Process {
    /// Starts a server. What it prints goes to `log`.
    pub(crate) fn start(command: &mut Command, log: &Path) -> anyhow::Result<Self> {
        let file = File::create(log).with_context(|| format!("log {}", log.display()))?;
        command.stdout(file.try_clone()?);
        Self::spawn(command, log, file)
    }

    /// Starts a server. What it prints on stderr goes to `log`; stdout is returned.
    pub(crate) fn start_piped(
        command: &mut Command,
        log: &Path,
    ) -> anyhow::Result<(Self, ChildStdout)> {
        let file = File::create(log).with_context(|| format!("log {}", log.display()))?;
        command.stdout(Stdio::piped());
        let mut process = Self::spawn(command, log, file)?;
        let stdout = process
            .child
            .stdout
            .take()
            .context("stdout was not piped")?;
        Ok((process, stdout))
    }

    fn spawn(command: &mut Command, log: &Path, stderr: File) -> anyhow::Result<Self> {
        let child = command.stdin(Stdio::null()).stderr(stderr).spawn();
        Ok(Self {
            child: child.context("the launcher cannot be started")?,
            log: log.to_owned(),
        })
    }

    /// An error with the end of the log if the server is gone.
    pub(crate) fn must_be_alive(&mut self) -> anyhow::Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => bail!("ended by itself ({status}){}", self.log_tail()),
        }
    }

    /// Adds the end of the log to an error.
    pub(crate) fn explain(&self, error: &anyhow::Error) -> anyhow::Error {
        anyhow!("{error:#}{}", self.log_tail())
    }

    /// The end of what it logged, on lines of its own.
    pub(crate) fn log_tail(&self) -> String {
        let text = fs::read(&self.log).unwrap_or_default();
        let tail = &text[text.len().saturating_sub(TAIL)..];
        format!("\n{}", String::from_utf8_lossy(tail).trim_end())
    }

    /// The most memory it has had resident at once, in bytes.
    pub(crate) fn peak(&self) -> anyhow::Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
        Ok(kib.context("no VmHWM in /proc/PID/status")? * 1024)
    }

    /// Ends it at once, as a crash does.
    pub(crate) fn kill(mut self) -> anyhow::Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// What the server and all its children have used.
    pub(crate) fn usage(&self) -> anyhow::Result<Usage> {
        let mut sum = Usage::default();
        for process in family(self.child.id())? {
            sum.cpu += process.usage.cpu;
            sum.resident += process.usage.resident;
        }
        Ok(sum)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let family = family(self.child.id()).unwrap_or_default();
        signal(self.child.id(), Signal::TERM);
        let start = Instant::now();
        while matches!(self.child.try_wait(), Ok(None)) && start.elapsed() < GRACE {
            std::thread::sleep(Duration::from_millis(10));
        }
        // A pid that was given away meanwhile has another start time.
        for process in family {
            if Stat::read(process.pid).is_ok_and(|now| now.started == process.started) {
                signal(process.pid, Signal::KILL);
            }
        }
        let _ = self.child.wait();
    }
}

fn signal(pid: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        let _ = kill_process(pid, signal);
    }
}

/// A line of `/proc/PID/stat`.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Stat {
    pid: u32,
    parent: u32,
    started: u64,
    usage: Usage,
}

impl Stat {
    fn read(pid: u32) -> anyhow::Result<Self> {
        let text = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        let ticks = rustix::param::clock_ticks_per_second();
        let page = u64::try_from(rustix::param::page_size())?;
        Self::parse(&text, ticks, page).with_context(|| format!("/proc/{pid}/stat: {text:?}"))
    }

    /// Fields as proc(5) numbers them. The name (2) may hold anything, so the rest is
    /// counted from its closing parenthesis.
    fn parse(text: &str, ticks_per_second: u64, page: u64) -> Option<Self> {
        let (pid, _) = text.split_once(' ')?;
        let (_, rest) = text.rsplit_once(')')?;
        let fields: Vec<&str> = rest.split_whitespace().collect();
        let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
        let ticks = field(14)? + field(15)?;
        Some(Self {
            pid: pid.parse().ok()?,
            parent: u32::try_from(field(4)?).ok()?,
            started: field(22)?,
            usage: Usage {
                cpu: Duration::from_micros(ticks * 1_000_000 / ticks_per_second.max(1)),
                resident: field(24)? * page,
            },
        })
    }
}

/// A process and all that descend from it.
fn family(root: u32) -> anyhow::Result<Vec<Stat>> {
    let mut children: HashMap<u32, Vec<Stat>> = HashMap::new();
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let pid = name.to_str().and_then(|name| name.parse().ok());
        // A process may be gone by now.
        if let Some(stat) = pid.and_then(|pid| Stat::read(pid).ok()) {
            children.entry(stat.parent).or_default().push(stat);
        }
    }
    let mut found = vec![Stat::read(root)?];
    let mut next = 0;
    while let Some(stat) = found.get(next) {
        let below = children.remove(&stat.pid).unwrap_or_default();
        found.extend(below);
        next += 1;
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stat_line_is_read_whatever_the_name_holds() {
        let line = "42 (a ) b) S 7 42 42 0 -1 4194560 1 0 0 0 150 50 0 0 20 0 1 0 9000 1048576 256 18446744073709551615 1 1";
        let stat = Stat::parse(line, 100, 4096).unwrap();
        assert_eq!((stat.pid, stat.parent, stat.started), (42, 7, 9000));
        assert_eq!(stat.usage.cpu, Duration::from_secs(2));
        assert_eq!(stat.usage.resident, 256 * 4096);
    }

    #[test]
    fn a_line_cut_short_is_refused() {
        assert_eq!(Stat::parse("42 (a) S 7 42", 100, 4096), None);
        assert_eq!(Stat::parse("", 100, 4096), None);
    }

    #[test]
    fn this_process_is_its_own_family() {
        let own = std::process::id();
        let family = family(own).unwrap();
        assert_eq!(family[0].pid, own);
        assert!(family[0].usage.resident > 0);
    }
}
