//! `kill -9` of each part of a run, at work and asleep: the run ends within five seconds, by 125 and one
//! line of ours, or as the program's own death; and nothing is left.

use std::time::{Duration, Instant};

use banyan_tests::compile::{self, Link};
use banyan_tests::launch::{End, How, Outcome, excerpt};
use banyan_tests::processes::{self, Process};
use banyan_tests::{Case, Running, gate, workspace};

const LIMIT: Duration = Duration::from_secs(5);
/// What a loaded machine adds to five seconds before this test calls it a failure.
const SLACK: Duration = Duration::from_secs(2);
const NODES: usize = 3;
const SIGKILL: i32 = 9;

/// Starts the endless program, kills one of its processes, and returns how the run ended.
fn kill_one(mode: &str, choose: impl FnOnce(&[Process], i32) -> Process) -> Option<Outcome> {
    kill_in(&endless(mode), choose)
}

fn endless(mode: &str) -> Case {
    Case::new(compile::c("endless", Link::Dynamic).unwrap(), [mode])
}

fn kill_in(case: &Case, choose: impl FnOnce(&[Process], i32) -> Process) -> Option<Outcome> {
    let _pass = gate::enter();
    if workspace::native_only() {
        return None;
    }
    let mut running = Running::start(case, How::Banyan(NODES)).unwrap();
    running.wait_for_output("ready", Duration::from_secs(30)).unwrap();
    // A moment in the middle of work.
    std::thread::sleep(Duration::from_millis(150));
    let processes = processes::of_run(&running.scratch.run);
    let victim = choose(&processes, running.pid());
    let killed = Instant::now();
    victim.kill();
    let outcome =
        running.finish(LIMIT + SLACK).unwrap_or_else(|error| panic!("killed {victim:?}: {error:#}"));
    assert!(killed.elapsed() < LIMIT + SLACK, "killed {victim:?}: it took {:?}", killed.elapsed());
    Some(outcome)
}

#[track_caller]
fn ended_by_125_and_one_line(outcome: Option<Outcome>) {
    let Some(outcome) = outcome else { return };
    assert_eq!(outcome.end, End::Status(125), "stderr: {}", excerpt(&outcome.stderr));
    let text = String::from_utf8_lossy(&outcome.stderr);
    assert_eq!(text.lines().count(), 1, "one line is wanted: {text:?}");
    assert!(text.starts_with("banyan: "), "{text:?}");
    assert_eq!(outcome.stdout, b"ready\n");
}

fn daemon(place: usize) -> impl FnOnce(&[Process], i32) -> Process {
    move |processes, _| {
        let mut daemons = processes::daemons(processes.to_vec());
        assert_eq!(daemons.len(), NODES, "the daemons among {processes:?}");
        daemons.swap_remove(place)
    }
}

fn replica(place: usize) -> impl FnOnce(&[Process], i32) -> Process {
    move |processes, program| {
        let is_replica = |process: &&Process| {
            process.pid != program
                && process.arguments.first().is_some_and(|name| name.starts_with("banyan: node"))
        };
        let replicas: Vec<&Process> = processes.iter().filter(is_replica).collect();
        assert_eq!(replicas.len(), NODES - 1, "the replicas among {processes:?}");
        replicas[place].clone()
    }
}

#[test]
fn a_killed_daemon_ends_a_busy_run() {
    for place in 0..NODES {
        ended_by_125_and_one_line(kill_one("busy", daemon(place)));
    }
}

#[test]
fn a_killed_daemon_ends_a_sleeping_run() {
    for place in 0..NODES {
        ended_by_125_and_one_line(kill_one("wait", daemon(place)));
    }
}

#[test]
fn a_killed_replica_ends_a_busy_run() {
    for place in 0..NODES - 1 {
        ended_by_125_and_one_line(kill_one("busy", replica(place)));
    }
}

#[test]
fn a_killed_replica_ends_a_sleeping_run() {
    for place in 0..NODES - 1 {
        ended_by_125_and_one_line(kill_one("wait", replica(place)));
    }
}

#[test]
fn a_kill_while_threads_move_ends_the_run() {
    let moving = endless("busy").moving("1ms", 0);
    for place in 0..NODES {
        ended_by_125_and_one_line(kill_in(&moving, daemon(place)));
    }
    for place in 0..NODES - 1 {
        ended_by_125_and_one_line(kill_in(&moving, replica(place)));
    }
}

/// A copy that still asks its daemon says, too, that it is gone.
#[test]
fn a_kill_while_the_process_is_copied_ends_the_run() {
    let ended = |outcome: Option<Outcome>| {
        let Some(outcome) = outcome else { return };
        let text = String::from_utf8_lossy(&outcome.stderr);
        assert_eq!(outcome.end, End::Status(125), "stderr: {text}");
        let lines = text.lines().count();
        assert!((1..=2).contains(&lines) && text.lines().all(|line| line.starts_with("banyan: ")), "{text}");
    };
    for place in 0..NODES {
        ended(kill_one("forks", daemon(place)));
    }
    for place in 0..NODES - 1 {
        ended(kill_one("forks", replica(place)));
    }
    let program = |processes: &[Process], program: i32| {
        processes.iter().find(|process| process.pid == program).expect("the program").clone()
    };
    let Some(outcome) = kill_one("forks", program) else { return };
    assert_eq!(outcome.end, End::Signal(SIGKILL), "stderr: {}", excerpt(&outcome.stderr));
}

#[test]
fn a_killed_program_ends_as_killed() {
    for mode in ["busy", "wait"] {
        let program = |processes: &[Process], program: i32| {
            processes.iter().find(|process| process.pid == program).expect("the program").clone()
        };
        let Some(outcome) = kill_one(mode, program) else { return };
        assert_eq!(outcome.end, End::Signal(SIGKILL), "stderr: {}", excerpt(&outcome.stderr));
        assert!(outcome.stderr.is_empty(), "{}", excerpt(&outcome.stderr));
    }
}

/// Kills at arbitrary moments, during the start too: whatever the run says, it ends and leaves nothing.
#[test]
fn a_kill_at_any_moment_neither_hangs_nor_leaves_anything() {
    if workspace::native_only() {
        return;
    }
    let _pass = gate::enter();
    let program = compile::c("endless", Link::Dynamic).unwrap();
    for moment in 0..12u64 {
        let case = Case::new(&program, ["busy"]);
        let running = Running::start(&case, How::Banyan(NODES)).unwrap();
        std::thread::sleep(Duration::from_millis(5 + moment * moment * 3));
        // The process that starts a daemon and ends at once has done its work when it is seen: losing it is
        // no loss.
        let starts = |process: &Process| process.arguments.iter().any(|argument| argument == "--detach");
        let processes: Vec<Process> =
            processes::of_run(&running.scratch.run).into_iter().filter(|process| !starts(process)).collect();
        if let Some(victim) = processes.get(moment as usize % processes.len().max(1)) {
            victim.kill();
        } else {
            processes::send(running.pid(), rustix::process::Signal::KILL);
        }
        let outcome = running
            .finish(LIMIT + SLACK)
            .unwrap_or_else(|error| panic!("moment {moment}, killed one of {processes:?}: {error:#}"));
        let expected = [End::Status(125), End::Signal(SIGKILL)];
        assert!(
            expected.contains(&outcome.end),
            "moment {moment}: {:?} {}",
            outcome.end,
            excerpt(&outcome.stderr)
        );
    }
}

/// A caller that has gone, and with it the reader of standard error, ends no thread of a daemon: the
/// statistics are lost, and nothing stays behind.
#[test]
fn a_standard_error_that_nobody_reads_keeps_no_daemon() {
    if workspace::native_only() {
        return;
    }
    let _pass = gate::enter();
    let script = "mkfifo nobody; (exec 3<nobody) & exec 4>nobody; wait; \
        $(echo $RUN | sed 's/ run / run --stats /') echo hello 2>&4";
    for nodes in 1..=NODES {
        let running = Running::start(&Case::script(script), How::Banyan(nodes)).unwrap();
        let outcome = running.finish(Duration::from_secs(30)).unwrap();
        assert_eq!((outcome.end, outcome.stdout.as_slice()), (End::Status(0), b"hello\n".as_slice()));
    }
}
