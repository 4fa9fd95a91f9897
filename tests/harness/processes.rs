//! The processes of one run, found by the variable `BANYAN_RUN_ID` in their environment, which Banyan
//! passes on to its daemons and replicas.

use std::fmt::Write as _;
use std::fs;

use rustix::process::{Pid, Signal};

/// One process of a run.
#[derive(Debug, Clone)]
pub struct Process {
    /// Its number.
    pub pid: i32,
    /// Its arguments.
    pub arguments: Vec<String>,
}

impl Process {
    /// Whether this is a node daemon.
    #[must_use]
    pub fn is_daemon(&self) -> bool {
        self.arguments.windows(2).any(|pair| pair[0] == "node" && pair[1] == "run")
    }

    /// The number of the node that this daemon of a run is.
    fn node(&self) -> Option<u8> {
        self.arguments.iter().find_map(|argument| argument.strip_prefix("--node=")?.parse().ok())
    }

    /// Kills it at once.
    pub fn kill(&self) {
        send(self.pid, Signal::KILL);
    }
}

/// All living processes of the run, oldest number first.
#[must_use]
pub fn of_run(run: &str) -> Vec<Process> {
    let mark = format!("BANYAN_RUN_ID={run}");
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let mut found: Vec<Process> = entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok())
        .filter(|pid| *pid != std::process::id().cast_signed())
        .filter(|pid| {
            let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            environment.split(|byte| *byte == 0).any(|variable| variable == mark.as_bytes())
        })
        .map(|pid| {
            let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let arguments = line
                .split(|byte| *byte == 0)
                .filter(|argument| !argument.is_empty())
                .map(|argument| String::from_utf8_lossy(argument).into_owned())
                .collect();
            Process { pid, arguments }
        })
        .collect();
    found.sort_by_key(|process| process.pid);
    found
}

/// The daemons among the processes of a run, in the order of their nodes, home first. Process numbers do not
/// tell it: home starts the others side by side.
#[must_use]
pub fn daemons(mut processes: Vec<Process>) -> Vec<Process> {
    processes.retain(Process::is_daemon);
    processes.sort_by_key(Process::node);
    processes
}

/// Sends a signal to one process. That it has ended meanwhile is no error.
pub fn send(pid: i32, signal: Signal) {
    if let Some(pid) = Pid::from_raw(pid) {
        let _ = rustix::process::kill_process(pid, signal);
    }
}

/// Ends the run by force: the group of its first process, and every process that carries its mark.
pub fn end_run(run: &str, leader: i32) {
    if let Some(leader) = Pid::from_raw(leader) {
        let _ = rustix::process::kill_process_group(leader, Signal::KILL);
    }
    for process in of_run(run) {
        process.kill();
    }
}

/// What every thread of the run is doing, for the report on a hang.
#[must_use]
pub fn describe(run: &str) -> String {
    let mut text = String::new();
    for process in of_run(run) {
        let mut line = process.arguments.join(" ");
        line.truncate(line.char_indices().nth(160).map_or(line.len(), |(place, _)| place));
        let _ = writeln!(text, "  process {}: {line}", process.pid);
        let Ok(tasks) = fs::read_dir(format!("/proc/{}/task", process.pid)) else { continue };
        for task in tasks.flatten() {
            let read =
                |name: &str| fs::read_to_string(task.path().join(name)).unwrap_or_default().trim().to_owned();
            let stat = read("stat");
            let state = stat
                .rsplit(')')
                .next()
                .and_then(|rest| rest.split_whitespace().next())
                .unwrap_or("?")
                .to_owned();
            let _ = writeln!(
                text,
                "    thread {} {} state {state} waits in {} call {}",
                task.file_name().to_string_lossy(),
                read("comm"),
                read("wchan"),
                read("syscall")
            );
        }
    }
    text
}
