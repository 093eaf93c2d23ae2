//! The machine the figures belong to, and how its cores are shared out.

use std::fmt;
use std::fs;
use std::path::Path;
use std::time::SystemTime;

use anyhow::{Context as _, ensure};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use serde::Serialize;

/// Cores that a process is held to. None: any.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Pin([Option<usize>; 2]);

impl Pin {
    /// The cores of the given numbers.
    ///
    /// # Errors
    /// More than two.
    pub(crate) fn of(cores: &[usize]) -> anyhow::Result<Self> {
        ensure!(
            cores.len() <= 2,
            "{cores:?}: no server gets more than two cores"
        );
        Ok(Self([cores.first().copied(), cores.get(1).copied()]))
    }

    /// How many they are.
    pub(crate) fn count(self) -> usize {
        self.0.iter().flatten().count()
    }

    /// Their numbers.
    pub(crate) fn cores(self) -> impl Iterator<Item = usize> {
        self.0.into_iter().flatten()
    }

    /// Moves this thread, and all it starts from now on, to these cores.
    pub(crate) fn enter(self) -> anyhow::Result<()> {
        if self.count() == 0 {
            return Ok(());
        }
        let mut set = CpuSet::new();
        self.cores().for_each(|core| set.set(core));
        sched_setaffinity(None, &set).with_context(|| format!("cores {self} cannot be used"))
    }
}

impl From<usize> for Pin {
    fn from(core: usize) -> Self {
        Self([Some(core), None])
    }
}

impl fmt::Display for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cores: Vec<String> = self.cores().map(|core| core.to_string()).collect();
        f.write_str(&cores.join(" and "))
    }
}

/// Where the server runs, and where everything else. Nobody is held to anything where the
/// machine has a single core, and the report says so.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Cores {
    pub(crate) server: Pin,
    pub(crate) load: Pin,
}

impl Cores {
    /// One core for the server and one for the load, if this process may use two, and the
    /// same with two for the server, if so.
    pub(crate) fn choose() -> anyhow::Result<(Self, Option<Self>)> {
        let allowed = sched_getaffinity(None).context("cores cannot be read")?;
        let free = (0..CpuSet::MAX_CPU).filter(|core| allowed.is_set(*core));
        Ok(Self::share(&free.take(4).collect::<Vec<_>>()))
    }

    fn share(free: &[usize]) -> (Self, Option<Self>) {
        let &[first, second, ref rest @ ..] = free else {
            let nobody = Pin::default();
            return (
                Self {
                    server: nobody,
                    load: nobody,
                },
                None,
            );
        };
        let server = Pin([Some(first), Some(second)]);
        let load = match *rest {
            [third, fourth] => Pin([Some(third), Some(fourth)]),
            // What is left would be too little for two cores' worth of load: they share.
            _ => server,
        };
        let one = Self {
            server: first.into(),
            load: second.into(),
        };
        (one, Some(Self { server, load }))
    }
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
            pinning: if cores.server.count() == 0 {
                "one core only: server and load share it".to_owned()
            } else {
                format!(
                    "server on core {}, load on core {}",
                    cores.server, cores.load
                )
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
    fn the_load_shares_the_cores_of_a_server_of_two_only_where_there_are_no_others() {
        let pins = |free: &[usize]| {
            let (one, two) = Cores::share(free);
            let text = |cores: Cores| (cores.server.to_string(), cores.load.to_string());
            (text(one), two.map(text))
        };
        let text = |server: &str, load: &str| (server.to_owned(), load.to_owned());
        assert_eq!(pins(&[3]), (text("", ""), None));
        assert_eq!(
            pins(&[3, 5]),
            (text("3", "5"), Some(text("3 and 5", "3 and 5")))
        );
        assert_eq!(
            pins(&[3, 5, 6, 8]),
            (text("3", "5"), Some(text("3 and 5", "6 and 8")))
        );
    }

    #[test]
    fn cores_and_model_are_read_from_cpuinfo() {
        let text =
            "processor\t: 0\nmodel name\t: Some CPU\nprocessor\t: 1\nmodel name\t: Some CPU\n";
        assert_eq!(cpu_model(text).as_deref(), Some("Some CPU"));
        assert_eq!(count_cores(text), 2);
    }
}
