//! Looks at the replicas of a run while it goes on: how many threads each has and how much CPU time they
//! used.
//!
//! Only by way of /proc, so that watching costs the run nothing.

use banyan_node::{REPLICA_NAME, RUN_VARIABLE};
use procfs::process::Process;
use std::ffi::{OsStr, OsString};

/// What a replica does just now.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Activity {
    /// CPU time so far.
    pub(super) cpu_seconds: f64,
}

/// The replicas of one run, found once and then followed.
#[derive(Debug)]
pub(super) struct Replicas {
    run: OsString,
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
        Self { run: run.into(), nodes, processes, latest: vec![Activity::default(); nodes] }
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
        for process in procfs::process::all_processes().into_iter().flatten().flatten() {
            let Some(node) = node_of(&process).filter(|&node| node < self.nodes) else { continue };
            let marked = process.environ().is_ok_and(|environment| {
                environment.get(OsStr::new(RUN_VARIABLE)).is_some_and(|run| *run == *self.run)
            });
            if marked {
                self.processes[node] = Some(process.pid().cast_unsigned());
            }
        }
    }
}

/// The node of a remote replica, by its command line.
fn node_of(process: &Process) -> Option<usize> {
    let line = process.cmdline().ok()?;
    line.first()?.strip_prefix(REPLICA_NAME)?.parse().ok()
}

fn activity(process: u32) -> Option<Activity> {
    let stat = Process::new(process.cast_signed()).and_then(|process| process.stat()).ok()?;
    let ticks = stat.utime + stat.stime;
    Some(Activity { cpu_seconds: ticks as f64 / procfs::ticks_per_second() as f64 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_time_is_that_of_the_process() {
        let begun = std::time::Instant::now();
        while begun.elapsed() < std::time::Duration::from_millis(100) {}
        let seconds = activity(std::process::id()).map(|activity| activity.cpu_seconds);
        assert!(seconds.is_some_and(|seconds| seconds > 0.0), "{seconds:?}");
        assert_eq!(activity(u32::MAX >> 1), None);
    }

    #[test]
    fn the_home_replica_is_known_from_the_start() {
        let mut replicas = Replicas::new("a-run-that-is-not", std::process::id(), 2);
        assert_eq!(replicas.look().len(), 2);
        assert_eq!(replicas.look()[1], Activity::default());
    }
}
