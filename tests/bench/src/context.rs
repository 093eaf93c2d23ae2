//! What every bench is given: how long to measure, on which cores, with which files.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use tempfile::TempDir;

use crate::cli::Options;
use crate::machine::{Cores, Machine};

/// What every bench is given.
#[derive(Debug, Clone)]
pub(crate) struct Context {
    /// Short form: does the rig work.
    pub(crate) quick: bool,
    /// What the server gets, and what the load.
    pub(crate) cores: Cores,
    /// What the title of a table holds that is wanted; none: every table.
    only: Option<String>,
    two: Option<Cores>,
    bin: PathBuf,
    disk: Arc<TempDir>,
    memory: Arc<TempDir>,
}

impl Context {
    pub(crate) fn new(options: &Options) -> anyhow::Result<Self> {
        let own = std::env::current_exe()?;
        let own = own.parent().context("this program is in no folder")?;
        let or_own = |dir: &Option<PathBuf>| dir.clone().unwrap_or_else(|| own.to_owned());
        let disk = or_own(&options.data);
        let (cores, two) = Cores::choose()?;
        // Everything this process does is load; servers move to their own core.
        cores.load.enter()?;
        Ok(Self {
            quick: options.quick,
            cores,
            only: options.only.clone(),
            two,
            bin: or_own(&options.bin),
            disk: folder_in(&disk)?.into(),
            memory: folder_in(memory_folder())?.into(),
        })
    }

    /// Whether a table of this title is wanted.
    pub(crate) fn wants(&self, title: &str) -> bool {
        self.only.as_ref().is_none_or(|only| title.contains(only))
    }

    /// The same with two cores for the server. None where there is one only.
    pub(crate) fn with_two_cores(&self) -> Option<Self> {
        let cores = self.two?;
        Some(Self {
            cores,
            ..self.clone()
        })
    }

    /// A folder on the disk that is measured, gone after the run.
    pub(crate) fn disk(&self) -> &Path {
        self.disk.path()
    }

    /// A folder in memory where the machine has one, gone after the run.
    pub(crate) fn memory(&self) -> &Path {
        self.memory.path()
    }

    /// Where one of Tidegate's own binaries should be.
    pub(crate) fn binary(&self, name: &str) -> PathBuf {
        self.bin.join(name)
    }

    pub(crate) fn machine(&self) -> Machine {
        Machine::describe(&self.cores, self.disk())
    }

    /// The full value, or the one of the short form.
    pub(crate) fn or_quick<T>(&self, full: T, quick: T) -> T {
        if self.quick { quick } else { full }
    }
}

/// Begins the name of every folder of a run; the run's pid follows.
const PREFIX: &str = "tidegate-bench-run-";

/// A run that was killed could not remove its folders.
fn remove_left_overs(parent: &Path) {
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let dead = pid_of_run(&entry.file_name())
            .is_some_and(|pid| !Path::new("/proc").join(pid.to_string()).exists());
        if dead {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

fn pid_of_run(folder: &OsStr) -> Option<u32> {
    let (pid, _) = folder.to_str()?.strip_prefix(PREFIX)?.split_once('-')?;
    pid.parse().ok()
}

fn memory_folder() -> PathBuf {
    let shm = PathBuf::from("/dev/shm");
    if shm.is_dir() {
        shm
    } else {
        std::env::temp_dir()
    }
}

fn folder_in(parent: impl AsRef<Path>) -> anyhow::Result<TempDir> {
    let parent = parent.as_ref();
    remove_left_overs(parent);
    tempfile::Builder::new()
        .prefix(&format!("{PREFIX}{}-", std::process::id()))
        .tempdir_in(parent)
        .with_context(|| format!("no folder can be made in {}", parent.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_folders_of_runs_that_ended_are_removed() {
        let parent = tempfile::tempdir().unwrap();
        let folder = |name: String| {
            let path = parent.path().join(name);
            fs::create_dir(&path).unwrap();
            path
        };
        // No pid is that large.
        let left_over = folder(format!("{PREFIX}4294967295-a"));
        let others = [
            folder(format!("{PREFIX}{}-a", std::process::id())),
            folder(format!("{PREFIX}x-a")),
            folder("data".to_owned()),
        ];
        remove_left_overs(parent.path());
        assert!(!left_over.exists());
        assert!(others.iter().all(|path| path.exists()));
    }
}
