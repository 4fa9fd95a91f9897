//! Cleans up after the bench, however it ends: a process that waits for the other end of a pipe to close.
//!
//! Ctrl-C, a kill or a crash of the bench all close the pipe. The guard is in a process group of its own,
//! which the terminal's signals do not reach.

use super::processes;
use anyhow::Context;
use banyan_sys::control_group;
use std::io::Read;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long the guard tries.
const DEADLINE: Duration = Duration::from_secs(10);

/// The guard of this bench. Dropping it lets it do its work and waits for it.
pub(crate) struct Guard(Child);

impl Guard {
    /// Starts it. `mark` is what the run marks of this bench begin with.
    pub(crate) fn start(mark: &str, directory: &Path) -> anyhow::Result<Self> {
        let child = Command::new("/proc/self/exe")
            .arg0("banyan")
            .args(["bench-program", "guard", mark])
            .arg(directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .process_group(0)
            .spawn();
        Ok(Self(child.context("starting the guard of the bench")?))
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

/// What the guard does.
pub(crate) fn guard(mark: &str, directory: &Path) -> anyhow::Result<()> {
    // Returns when the bench has ended or has closed the pipe.
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
    let deadline = Instant::now() + DEADLINE;
    let mark_word = format!("{}={mark}-", processes::RUN_VARIABLE);
    while processes::kill_marked(&mark_word) > 0 && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(10));
    }
    while !control_group::remove_all(mark) && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(10));
    }
    match std::fs::remove_dir_all(directory) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("removing {}", directory.display()))
        }
        _ => Ok(()),
    }
}
