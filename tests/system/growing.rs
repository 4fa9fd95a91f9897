//! Machines that join a cluster while a program runs on all of it: they get threads and memory, and the
//! program does as in a native run.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use banyan_sys::control_group::{self, ControlGroup};
use banyan_tests::case::Place;
use banyan_tests::launch::{End, How, excerpt};
use banyan_tests::{Case, Running, compare, gate, processes};
use rustix::process::Signal;
use serde_json::Value;

use crate::c;
use crate::cluster::{Cluster, succeed};
use crate::placing::ended;

/// A program has this long to be spread, on a machine that may be busy.
const PATIENCE: Duration = Duration::from_secs(60);
/// A run has this long to end when it must.
const NOTICE: Duration = Duration::from_secs(7);

pub(crate) fn begin(cluster: &Cluster, case: &Case, how: How) -> Running {
    let mut running = Running::start(&cluster.on(0, case), how).unwrap();
    running.wait_for_output("ready", Duration::from_secs(30)).unwrap();
    running
}

/// Has a program end that runs until it finds a file, and compares what it did with a native run.
pub(crate) fn end(running: Running, case: &Case) {
    std::fs::write(running.scratch.work().join("enough"), "").unwrap();
    let outcome = running.finish(PATIENCE).unwrap();
    let native = compare::once(&case.clone().file("enough", Vec::new()), How::Native).unwrap();
    assert_eq!(outcome.end, native.end, "{}", excerpt(&outcome.stderr));
    assert!(outcome.stdout == native.stdout, "the output differs: {}", excerpt(&outcome.stdout));
    assert!(outcome.stderr == native.stderr, "{}", excerpt(&outcome.stderr));
}

/// A machine has died. Whatever home knew of it by then, the program is over soon, or goes on.
pub(crate) fn is_over_or_goes_on(mut running: Running, case: &Case) {
    std::thread::sleep(NOTICE);
    if running.has_ended().unwrap() {
        let outcome = running.finish(NOTICE).unwrap();
        assert_eq!(outcome.end, End::Status(125), "{}", excerpt(&outcome.stderr));
    } else {
        end(running, case);
    }
}

/// The nodes that have threads of the program.
pub(crate) fn nodes(cluster: &Cluster, running: &Running) -> BTreeSet<u64> {
    let output = cluster.command(0, &["job", "threads", &running.pid().to_string(), "--json"]);
    succeed(&output);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["node"].as_u64().unwrap()).collect()
}

pub(crate) fn wait_for_nodes(cluster: &Cluster, running: &Running, wanted: usize) {
    let until = Instant::now() + PATIENCE;
    loop {
        let found = nodes(cluster, running);
        if found.len() == wanted {
            return;
        }
        assert!(Instant::now() < until, "threads on {found:?}, not on {wanted} nodes");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Waits until a query gives one row with a number above zero.
fn wait_until(cluster: &Cluster, query: &str) {
    let until = Instant::now() + PATIENCE;
    loop {
        let output = cluster.command(0, &["sql", "--csv", query]);
        succeed(&output);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        if text.lines().nth(1).is_some_and(|count| count.trim() != "0") {
            return;
        }
        assert!(Instant::now() < until, "{query}: {text}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Two machines join, one after the other, and get threads of the program.
fn join_two(cluster: &Cluster, running: &Running) {
    for joined in 1..3 {
        cluster.add(joined);
        wait_for_nodes(cluster, running, joined + 1);
    }
}

#[test]
fn machines_that_join_get_threads_and_memory() {
    let _pass = gate::enter();
    let Some(cluster) = Cluster::start(1) else { return };
    let case = c("grows", [""]).place(Place::Spread);
    let running = begin(&cluster, &case, How::BanyanOnAll);
    join_two(&cluster, &running);
    for joined in ["n2", "n3"] {
        wait_until(
            &cluster,
            &format!(
                "SELECT count(*) FROM extents WHERE node = '{joined}' AND owner = '{joined}' AND resident_pages > 0"
            ),
        );
    }
    end(running, &case);
}

#[test]
fn copies_are_of_one_moment_while_machines_join() {
    let _pass = gate::enter();
    let Some(cluster) = Cluster::start(1) else { return };
    let case = c("grows", ["copies"]).place(Place::Spread);
    let running = begin(&cluster, &case, How::BanyanOnAll);
    join_two(&cluster, &running);
    end(running, &case);
}

#[test]
fn a_program_that_waits_for_processors_goes_to_a_machine_that_joins() {
    let _pass = gate::enter();
    let Some(cluster) = Cluster::start(1) else { return };
    let case = c("computes", []).place(Place::Auto);
    let running = begin(&cluster, &case, How::BanyanOnAll);
    if let Some(reason) = control_group::missing() {
        eprintln!("nothing is held to a part of a processor: {reason}");
        return ended(running);
    }
    let group = ControlGroup::new(&running.scratch.run, 1000, 10_000).unwrap();
    group.add(running.pid()).unwrap();
    join_two(&cluster, &running);
    ended(running);
}

#[test]
fn a_program_on_a_number_of_nodes_stays_on_them() {
    let _pass = gate::enter();
    let Some(cluster) = Cluster::start(2) else { return };
    let case = c("grows", [""]).place(Place::Spread);
    let running = begin(&cluster, &case, How::Banyan(2));
    cluster.add(2);
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(nodes(&cluster, &running), BTreeSet::from([0, 1]));
    end(running, &case);
}

/// A machine that dies around the moment at which it joins: before, the program goes on; after, it ends.
#[test]
fn a_machine_that_dies_as_it_joins_leaves_no_run_hanging() {
    const ROUNDS: u64 = 8;
    let _pass = gate::enter();
    let Some(cluster) = Cluster::start(2) else { return };
    let case = c("grows", [""]).place(Place::Spread);
    for round in 0..ROUNDS {
        let running = begin(&cluster, &case, How::BanyanOnAll);
        cluster.add(2);
        let process = cluster.process(2);
        std::thread::sleep(Duration::from_millis(round * 60));
        processes::send(process, Signal::KILL);
        is_over_or_goes_on(running, &case);
        succeed(&cluster.command(0, &["node", "remove", "n3"]));
        std::fs::remove_dir_all(cluster.state(2)).unwrap();
    }
}

/// One that could not take part is tried again.
#[test]
fn a_member_that_comes_back_takes_part() {
    let _pass = gate::enter();
    let Some(cluster) = Cluster::start(2) else { return };
    succeed(&cluster.command(1, &["down"]));
    let case = c("grows", [""]).place(Place::Spread);
    let running = begin(&cluster, &case, How::BanyanOnAll);
    assert_eq!(nodes(&cluster, &running), BTreeSet::from([0]));
    cluster.up(1);
    wait_for_nodes(&cluster, &running, 2);
    end(running, &case);
}
