//! Threads that move while they run: a program does not notice, however often and wherever its threads are
//! moved, and a person can move one.

use std::time::{Duration, Instant};

use banyan_tests::launch::{self, End, How};
use banyan_tests::{Case, Running, check_on, compare, gate, workspace};
use serde_json::Value;

use crate::c;

/// The program does as in a native run while its threads move, a minimum number of times in a run.
#[track_caller]
fn moved(case: &Case, times: u64) {
    check_on(&case.clone().moving("1ms", times), &[2, 3]);
}

#[test]
fn every_register_holds_its_value() {
    moved(&c("registers_moved", []), 20);
}

#[test]
fn counts_under_every_kind_of_lock_are_exact() {
    for program in ["mutex", "spin", "rwlock", "robust", "barrier"] {
        moved(&c(program, []), 2);
    }
}

#[test]
fn waiting_threads_are_woken() {
    moved(&c("cond", []), 2);
    moved(&c("shared_mutex", []), 0);
    moved(&c("futex_writes", []), 0);
}

#[test]
fn the_allocator_and_the_threads_own_memory_stay_whole() {
    moved(&c("malloc_stress", []), 2);
    moved(&c("many_threads", []), 20);
    moved(&c("tls", []), 0);
}

#[test]
fn memory_is_ordered_as_the_processor_orders_it() {
    for order in ["store-buffering", "dekker", "peterson"] {
        moved(&c("litmus", [order]), 2);
    }
}

/// Signals that a deputy has taken, and its carrier has not, when the thread moves.
#[test]
fn no_signal_is_lost() {
    moved(&c("signals_elsewhere", ["running"]), 20);
    moved(&c("signals_elsewhere", ["waits"]), 0);
}

/// The vDSO of each node's kernel lies elsewhere: a thread whose handler interrupted it stays until then.
#[test]
fn handlers_may_interrupt_the_reading_of_clocks() {
    moved(&c("signals", ["clock"]), 0);
}

#[test]
fn processor_time_goes_along() {
    moved(&c("processor_time", []), 10);
    moved(&c("kernel_view", ["files"]), 5);
}

/// What `banyan job` with these arguments says: its status, its lines of JSON, and standard error.
fn job(arguments: &[&str]) -> (End, Vec<Value>, String) {
    let words = ["job"].into_iter().chain(arguments.iter().copied());
    let case = Case::new(workspace::banyan().unwrap(), words).deadline(30);
    let outcome =
        compare::once(&case, How::Native).unwrap_or_else(|error| panic!("{arguments:?}: {error:#}"));
    let stdout = String::from_utf8_lossy(&outcome.stdout).into_owned();
    let lines = stdout.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    (outcome.end, lines, String::from_utf8_lossy(&outcome.stderr).into_owned())
}

/// Starts a program that does not end by itself on three nodes.
fn endless(mode: &str) -> Running {
    let mut running = Running::start(&c("endless", [mode]), How::Banyan(3)).unwrap();
    running.wait_for_output("ready", Duration::from_secs(30)).unwrap();
    running
}

/// Ends it.
fn ended(running: Running) {
    launch::signal(&running, 15).unwrap();
    assert_eq!(running.finish(Duration::from_secs(30)).unwrap().end, End::Signal(15));
}

/// The threads of a program and their nodes.
pub(crate) fn threads(process: &str) -> Vec<(u64, u64)> {
    let (end, lines, stderr) = job(&["threads", process, "--json"]);
    assert_eq!(end, End::Status(0), "{stderr}");
    let number = |line: &Value, name: &str| line[name].as_u64().unwrap();
    lines.iter().map(|line| (number(line, "thread"), number(line, "node"))).collect()
}

/// Moves all threads of a program but the first, which waits for another one, from node to node, and to node
/// 2 in the end.
fn move_all(process: &str) {
    for (thread, _) in threads(process).iter().filter(|(thread, _)| thread.to_string() != process) {
        for node in ["1", "2", "0", "2"] {
            // One that waits for the lock of all, on a busy machine, goes there later.
            let until = Instant::now() + Duration::from_secs(30);
            loop {
                let (end, _, stderr) = job(&["move", process, &thread.to_string(), node]);
                assert_eq!(end, End::Status(0), "{stderr}");
                if stderr.contains(&format!("Thread {thread} is on node {node}")) {
                    break;
                }
                let waits = stderr.contains("waits in a call") && Instant::now() < until;
                assert!(waits, "{stderr}");
            }
        }
    }
    let after = threads(process);
    assert!(after.iter().all(|(thread, node)| *node == 2 || thread.to_string() == process), "{after:?}");
}

#[test]
fn a_thread_that_only_reads_clocks_moves() {
    if workspace::native_only() {
        return;
    }
    let _pass = gate::enter();
    let running = endless("clock");
    move_all(&running.pid().to_string());
    ended(running);
}

#[test]
fn a_person_moves_any_thread_to_any_node() {
    if workspace::native_only() {
        return;
    }
    let _pass = gate::enter();
    let running = endless("busy");
    let process = running.pid().to_string();
    let (_, jobs, _) = job(&["list", "--json"]);
    let own = jobs.iter().find(|job| job["process"] == running.pid()).expect("the program in the list");
    assert_eq!((&own["program"], &own["nodes"]), (&Value::from("endless"), &Value::from(3)));
    let before = threads(&process);
    assert!(
        before.len() > 3 && (0..3).all(|node| before.iter().any(|thread| thread.1 == node)),
        "{before:?}"
    );
    move_all(&process);
    for (arguments, wanted) in [
        (["move", &process, "1", "2"], "the program has no thread 1"),
        (["move", &process, &process, "3"], "the run has no node 3; its nodes are 0 to 2"),
        (["move", "1", "1", "1"], "no program of this user with process id 1 runs from this machine"),
    ] {
        let (end, _, stderr) = job(&arguments);
        assert_eq!(end, End::Status(125), "{stderr}");
        assert!(stderr.contains(wanted), "{stderr}");
    }
    ended(running);
}

#[test]
fn a_thread_that_waits_is_said_to_wait() {
    if workspace::native_only() {
        return;
    }
    let _pass = gate::enter();
    let running = endless("wait");
    let process = running.pid().to_string();
    let (end, _, stderr) = job(&["move", &process, &process, "1"]);
    assert_eq!(end, End::Status(0), "{stderr}");
    assert!(stderr.contains("waits in a call"), "{stderr}");
    ended(running);
}
