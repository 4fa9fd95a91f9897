//! A control group that holds processes to a part of a processor, by either version of the kernel's
//! interface.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// How often the kernel gives the group its part, in microseconds.
const PERIOD: u32 = 5000;

/// One group; removed when dropped, if its processes have ended.
#[derive(Debug)]
pub struct ControlGroup(PathBuf);

impl ControlGroup {
    /// Makes a group whose processes get so many hundredths of a processor.
    ///
    /// # Errors
    /// The system's, if this user cannot have groups here.
    pub fn new(name: &str, hundredths: u32) -> io::Result<Self> {
        let quota = PERIOD * hundredths / 100;
        let first = Path::new("/sys/fs/cgroup/cpu");
        if first.join("cpu.cfs_quota_us").exists() {
            let group = Self::make(first, name)?;
            fs::write(group.0.join("cpu.cfs_period_us"), PERIOD.to_string())?;
            fs::write(group.0.join("cpu.cfs_quota_us"), quota.to_string())?;
            return Ok(group);
        }
        let second = Path::new("/sys/fs/cgroup");
        // Already enabled on most machines, and then refused or needless.
        let _ = fs::write(second.join("cgroup.subtree_control"), "+cpu");
        let group = Self::make(second, name)?;
        fs::write(group.0.join("cpu.max"), format!("{quota} {PERIOD}"))?;
        Ok(group)
    }

    fn make(root: &Path, name: &str) -> io::Result<Self> {
        let path = root.join(format!("banyan-{name}"));
        fs::create_dir(&path)?;
        Ok(Self(path))
    }

    /// Moves a process here with all its threads.
    ///
    /// # Errors
    /// The system's.
    pub fn add(&self, process: i32) -> io::Result<()> {
        fs::write(self.0.join("cgroup.procs"), process.to_string())
    }
}

impl Drop for ControlGroup {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.0);
    }
}
