//! Looks at the replicas of a run while it goes on: how many threads each has and how much CPU time they used.
//!
//! Only by way of /proc, so that watching costs the run nothing.

use std::fs;
use std::path::PathBuf;

/// The variable by which the processes of one run are recognised.
pub(super) const RUN_VARIABLE: &str = "BANYAN_RUN_ID";
/// How remote replicas are called in a list of processes.
const REPLICA_NAME: &str = "banyan: node ";

/// What a replica does just now.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Activity {
    /// CPU time so far.
    pub(super) cpu_seconds: f64,
}

/// The replicas of one run, found once and then followed.
#[derive(Debug)]
pub(super) struct Replicas {
    run: String,
    nodes: usize,
    /// Process of each node's replica; home is known from the start.
    processes: Vec<Option<u32>>,
    latest: Vec<Activity>,
}

impl Replicas {
    /// Those of the run with this mark, whose home replica is process `home`.
    pub(super) fn new(run: &str, home: u32, nodes: usize) -> Self {
        let mut processes = vec![None; nodes];
        processes[0] = Some(home);
        Self {
            run: format!("{RUN_VARIABLE}={run}"),
            nodes,
            processes,
            latest: vec![Activity::default(); nodes],
        }
    }

    /// How it stands with each node. A replica that has ended keeps what it last had.
    pub(super) fn look(&mut self) -> &[Activity] {
        if self.processes.iter().any(Option::is_none) {
            self.find();
        }
        for (process, latest) in self.processes.iter().zip(&mut self.latest) {
            if let Some(activity) = process.and_then(activity) {
                *latest = activity;
            }
        }
        &self.latest
    }

    fn find(&mut self) {
        let Ok(directory) = fs::read_dir("/proc") else { return };
        for entry in directory.flatten() {
            let Some(process) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
                continue;
            };
            let path = entry.path();
            let Some(node) = node_of(&path.join("cmdline")).filter(|&node| node < self.nodes) else {
                continue;
            };
            let environment = fs::read(path.join("environ")).unwrap_or_default();
            if environment.split(|&byte| byte == 0).any(|word| word == self.run.as_bytes()) {
                self.processes[node] = Some(process);
            }
        }
    }
}

/// The node of a remote replica, by its command line.
fn node_of(path: &PathBuf) -> Option<usize> {
    let text = fs::read_to_string(path).ok()?;
    text.strip_prefix(REPLICA_NAME)?.split('\0').next()?.parse().ok()
}

fn activity(process: u32) -> Option<Activity> {
    let text = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    let ticks = cpu_ticks(&text)?;
    Some(Activity { cpu_seconds: ticks as f64 / rustix::param::clock_ticks_per_second() as f64 })
}

/// User and system time in a line of /proc/PID/stat, its 14th and 15th field.
fn cpu_ticks(line: &str) -> Option<u64> {
    // The second field is a name in parentheses that may contain anything.
    let (_, fields) = line.rsplit_once(')')?;
    let mut fields = fields.split_whitespace().skip(11).map(str::parse::<u64>);
    Some(fields.next()?.ok()? + fields.next()?.ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_time_is_found_behind_any_name() {
        let line = "7 (a ) b) S 1 2 3 4 5 6 7 8 9 10 30 12 1 2";
        assert_eq!(cpu_ticks(line), Some(42));
        assert_eq!(cpu_ticks("7 (a"), None);
    }

    #[test]
    fn the_home_replica_is_known_from_the_start() {
        let mut replicas = Replicas::new("a-run-that-is-not", std::process::id(), 2);
        assert_eq!(replicas.look().len(), 2);
        assert_eq!(replicas.look()[1], Activity::default());
    }
}
