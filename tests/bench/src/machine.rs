//! The machine the figures belong to, and how its cores are shared out.

use std::fs;
use std::path::Path;
use std::time::SystemTime;

use anyhow::Context as _;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use serde::Serialize;

/// Which core the server gets, and which everything else. Neither where the machine
/// has a single core: then nobody is pinned, and the report says so.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cores {
    pub(crate) server: Option<usize>,
    pub(crate) load: Option<usize>,
}

impl Cores {
    /// The first two cores this process may run on.
    pub(crate) fn choose() -> anyhow::Result<Self> {
        let allowed = sched_getaffinity(None).context("cores cannot be read")?;
        let mut free = (0..CpuSet::MAX_CPU).filter(|core| allowed.is_set(*core));
        let both = free.next().zip(free.next());
        Ok(Self {
            server: both.map(|(server, _)| server),
            load: both.map(|(_, load)| load),
        })
    }

    /// Moves this thread, and all it starts from now on, to the core of the load.
    pub(crate) fn enter_load(self) -> anyhow::Result<()> {
        self.load.map_or(Ok(()), pin_to)
    }
}

/// Moves this thread, and all it starts from now on, to one core.
pub(crate) fn pin_to(core: usize) -> anyhow::Result<()> {
    let mut set = CpuSet::new();
    set.set(core);
    sched_setaffinity(None, &set).with_context(|| format!("core {core} cannot be used"))
}

/// Allows as many open files as the hard limit does.
pub(crate) fn raise_open_files() -> anyhow::Result<()> {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    setrlimit(Resource::Nofile, raised).context("the limit of open files cannot be raised")
}

/// How many files this process may have open.
pub(crate) fn open_files() -> u64 {
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// What a reader must know to judge a figure.
#[derive(Debug, Serialize)]
pub(crate) struct Machine {
    pub(crate) date: String,
    pub(crate) kernel: String,
    pub(crate) cpu: String,
    pub(crate) cores: usize,
    pub(crate) pinning: String,
    pub(crate) disk: String,
}

impl Machine {
    pub(crate) fn describe(cores: &Cores, disk: &Path) -> Self {
        Self {
            date: humantime::format_rfc3339_seconds(SystemTime::now()).to_string(),
            kernel: read_line("/proc/sys/kernel/osrelease"),
            cpu: fs::read_to_string("/proc/cpuinfo")
                .ok()
                .and_then(|text| cpu_model(&text))
                .unwrap_or_else(|| "unknown".to_owned()),
            cores: fs::read_to_string("/proc/cpuinfo")
                .map(|text| count_cores(&text))
                .unwrap_or_default(),
            pinning: match (cores.server, cores.load) {
                (Some(server), Some(load)) => {
                    format!("server on core {server}, load on core {load}")
                }
                _ => "one core only: server and load share it".to_owned(),
            },
            disk: fs::read_to_string("/proc/self/mounts")
                .ok()
                .and_then(|text| file_system(&text, disk))
                .unwrap_or_else(|| "unknown".to_owned()),
        }
    }
}

fn read_line(path: &str) -> String {
    fs::read_to_string(path).map_or_else(|_| "unknown".to_owned(), |text| text.trim().to_owned())
}

fn cpu_model(cpuinfo: &str) -> Option<String> {
    let line = cpuinfo
        .lines()
        .find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

fn count_cores(cpuinfo: &str) -> usize {
    let cores = cpuinfo.lines().filter(|line| line.starts_with("processor"));
    cores.count()
}

/// Type and device of the file system that holds `path`.
fn file_system(mounts: &str, path: &Path) -> Option<String> {
    mounts
        .lines()
        .filter_map(|line| {
            let mut fields = line.split(' ');
            let (device, point, kind) = (fields.next()?, fields.next()?, fields.next()?);
            path.starts_with(point)
                .then_some((point.len(), device, kind))
        })
        .max_by_key(|(length, ..)| *length)
        .map(|(_, device, kind)| format!("{kind} on {device}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_deepest_mount_point_holds_a_path() {
        let mounts =
            "/dev/vda / ext4 rw 0 0\ntmpfs /tmp tmpfs rw 0 0\n/dev/vdb /tmp/data xfs rw 0 0\n";
        let at = |path: &str| file_system(mounts, Path::new(path)).unwrap();
        assert_eq!(at("/tmp/data/x"), "xfs on /dev/vdb");
        assert_eq!(at("/tmp/database"), "tmpfs on tmpfs");
        assert_eq!(at("/home"), "ext4 on /dev/vda");
    }

    #[test]
    fn cores_and_model_are_read_from_cpuinfo() {
        let text =
            "processor\t: 0\nmodel name\t: Some CPU\nprocessor\t: 1\nmodel name\t: Some CPU\n";
        assert_eq!(cpu_model(text).as_deref(), Some("Some CPU"));
        assert_eq!(count_cores(text), 2);
    }
}
