//! What a run must not leave: processes, sockets, shared memory, temporary files.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::processes;
use crate::scratch::Scratch;

/// Daemons may take this long to end after the program has.
const GRACE: Duration = Duration::from_secs(5);

/// Everything that the run has left, in words. Empty is good.
#[must_use]
pub fn find(scratch: &Scratch) -> Vec<String> {
    let deadline = Instant::now() + GRACE;
    loop {
        let mut found: Vec<String> = processes::of_run(&scratch.run)
            .iter()
            .map(|process| format!("process {} ({})", process.pid, process.arguments.join(" ")))
            .collect();
        found.extend(entries(&scratch.temporary(), |_| true));
        for shared in ["/dev/shm", "/run", "/tmp"] {
            let own = |name: &str| name.contains(&scratch.run) && name != format!("banyan-{}", scratch.run);
            found.extend(entries(Path::new(shared), own));
        }
        found.extend(sockets(scratch));
        if found.is_empty() || Instant::now() > deadline {
            return found;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn entries(directory: &Path, counts: impl Fn(&str) -> bool) -> Vec<String> {
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    entries
        .flatten()
        .filter(|entry| counts(&entry.file_name().to_string_lossy()))
        .map(|entry| format!("file {}", entry.path().display()))
        .collect()
}

// Sockets by path or by abstract name that mention the run.
fn sockets(scratch: &Scratch) -> Vec<String> {
    let list = fs::read_to_string("/proc/net/unix").unwrap_or_default();
    let named = |line: &&str| line.split_whitespace().nth(7).is_some_and(|name| name.contains(&scratch.run));
    list.lines().filter(named).map(|line| format!("socket {line}")).collect()
}
