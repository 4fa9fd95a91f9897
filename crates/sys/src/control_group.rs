//! Control groups that hold processes to a part of a processor, version 1 or 2 of the kernel's interface.
//!
//! For benches, demonstrations and tests, which have nodes of one machine be as slow as they want. No node
//! uses them.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Where version 1 keeps its `cpu` controller.
const VERSION_1: [&str; 2] = ["/sys/fs/cgroup/cpu", "/sys/fs/cgroup/cpu,cpuacct"];
/// Where version 2 is found.
const VERSION_2: &str = "/sys/fs/cgroup";
/// The file with the ids of a group's processes.
const PROCESSES: &str = "cgroup.procs";

/// One group; removed when dropped.
#[derive(Debug)]
pub struct ControlGroup {
    path: PathBuf,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

fn hierarchy() -> Option<(PathBuf, Version)> {
    let first = VERSION_1.iter().map(PathBuf::from).find(|path| path.join("cpu.cfs_quota_us").exists());
    if let Some(path) = first {
        return Some((path, Version::One));
    }
    let controllers = fs::read_to_string(Path::new(VERSION_2).join("cgroup.controllers")).unwrap_or_default();
    let has_cpu = controllers.split_whitespace().any(|controller| controller == "cpu");
    has_cpu.then(|| (VERSION_2.into(), Version::Two))
}

/// Why groups cannot be made here, if so.
#[must_use]
pub fn missing() -> Option<String> {
    let Some((path, _)) = hierarchy() else {
        return Some("no cpu controller under /sys/fs/cgroup: mount one".into());
    };
    let may_write = rustix::fs::access(&path, rustix::fs::Access::WRITE_OK).is_ok();
    (!may_write).then(|| format!("{} cannot be written: run this as root", path.display()))
}

impl ControlGroup {
    /// Makes a group whose processes get `quota` of every `period` microseconds. The kernel takes no quota
    /// below a millisecond.
    ///
    /// # Errors
    /// The system's, with the file that cannot be written; see [`missing`].
    pub fn new(name: &str, quota: u64, period: u64) -> io::Result<Self> {
        let (root, version) = hierarchy().ok_or_else(|| io::Error::other("no cpu controller"))?;
        if version == Version::Two {
            // Already enabled on most machines, and then refused or needless.
            let _ = fs::write(root.join("cgroup.subtree_control"), "+cpu");
        }
        let path = root.join(format!("banyan-{name}"));
        fs::create_dir(&path).map_err(|error| named(&path, &error))?;
        let group = Self { path };
        match version {
            Version::One => {
                group.write("cpu.cfs_period_us", &period.to_string())?;
                group.write("cpu.cfs_quota_us", &quota.to_string())?;
            }
            Version::Two => group.write("cpu.max", &format!("{quota} {period}"))?,
        }
        Ok(group)
    }

    /// Moves a process here with all its threads; those that it starts later follow, and its children.
    ///
    /// # Errors
    /// The system's.
    pub fn add(&self, process: i32) -> io::Result<()> {
        self.write(PROCESSES, &process.to_string())
    }

    /// Whether a process is in this group.
    #[must_use]
    pub fn holds(&self, process: i32) -> bool {
        let processes = fs::read_to_string(self.path.join(PROCESSES)).unwrap_or_default();
        processes.lines().any(|line| line.parse() == Ok(process))
    }

    /// How often the group was stopped because its quota was spent, and for how many seconds in all.
    #[must_use]
    pub fn throttled(&self) -> (u64, f64) {
        let text = fs::read_to_string(self.path.join("cpu.stat")).unwrap_or_default();
        let value = |name: &str| {
            text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<u64>().ok()).unwrap_or(0)
        };
        let nanoseconds = value("throttled_time ").max(value("throttled_usec ") * 1000);
        (value("nr_throttled "), nanoseconds as f64 / 1e9)
    }

    fn write(&self, file: &str, text: &str) -> io::Result<()> {
        let path = self.path.join(file);
        fs::write(&path, text).map_err(|error| named(&path, &error))
    }
}

impl Drop for ControlGroup {
    fn drop(&mut self) {
        // A process that is just ending keeps its group busy for a moment; the guard tries again.
        let _ = fs::remove_dir(&self.path);
    }
}

fn named(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

/// Removes every group whose name begins with `mark` and a hyphen. Returns whether none is left.
pub fn remove_all(mark: &str) -> bool {
    let Some((root, _)) = hierarchy() else { return true };
    let start = format!("banyan-{mark}-");
    let entries = fs::read_dir(root).into_iter().flatten().flatten();
    let own = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(&start));
    own.filter(|entry| fs::remove_dir(entry.path()).is_err()).count() == 0
}
