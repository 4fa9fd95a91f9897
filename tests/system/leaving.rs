//! Machines that leave while a program runs on them: its threads and its memory go to the others, and it does
//! as in a native run.

use std::collections::BTreeSet;
use std::process::Output;
use std::time::Duration;

use banyan_tests::case::Place;
use banyan_tests::launch::How;
use banyan_tests::{Case, Running, gate, processes};
use rustix::process::Signal;

use crate::c;
use crate::cluster::{Cluster, succeed};
use crate::growing::{begin, end, is_over_or_goes_on, nodes, wait_for_nodes};

/// Has all programs leave a machine.
fn drain(cluster: &Cluster, machine: usize) {
    let output = cluster.command(machine, &["node", "drain", "--timeout", "60"]);
    succeed(&output);
    assert!(text(&output).contains("No program is on this node"), "{}", text(&output));
}

/// A program with threads on three machines.
fn spread(cluster: &Cluster, word: &str) -> (Case, Running) {
    let case = c("grows", [word]).place(Place::Spread);
    let running = begin(cluster, &case, How::BanyanOnAll);
    wait_for_nodes(cluster, &running, 3);
    (case, running)
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_machine_that_is_drained_takes_nothing_with_it() {
    let _pass = gate::enter();
    let Some(cluster) = Cluster::start(3) else { return };
    let (case, running) = spread(&cluster, "");
    for (machine, left) in [(1, 2), (2, 1)] {
        drain(&cluster, machine);
        assert_eq!(nodes(&cluster, &running).len(), left);
        succeed(&cluster.command(machine, &["down"]));
    }
    end(running, &case);
}

#[test]
fn a_machine_comes_back_as_another_node() {
    let _pass = gate::enter();
    let Some(cluster) = Cluster::start(3) else { return };
    let (case, running) = spread(&cluster, "");
    drain(&cluster, 1);
    // Machines that joined within a second are numbered by their ids.
    let gone = if nodes(&cluster, &running).contains(&1) { 2 } else { 1 };
    let main = running.pid().to_string();
    let moved = cluster.command(0, &["job", "move", &main, &main, &gone.to_string()]);
    assert!(text(&moved).contains("leaving the run, or has left it"), "{}", text(&moved));
    succeed(&cluster.command(1, &["node", "resume"]));
    wait_for_nodes(&cluster, &running, 3);
    assert_eq!(nodes(&cluster, &running), BTreeSet::from([0, 3 - gone, 3]));
    drain(&cluster, 1);
    drain(&cluster, 2);
    assert_eq!(nodes(&cluster, &running), BTreeSet::from([0]));
    end(running, &case);
}

#[test]
fn copies_are_of_one_moment_while_machines_leave() {
    let _pass = gate::enter();
    let Some(cluster) = Cluster::start(3) else { return };
    let (case, running) = spread(&cluster, "copies");
    for _ in 0..3 {
        drain(&cluster, 2);
        succeed(&cluster.command(2, &["node", "resume"]));
        wait_for_nodes(&cluster, &running, 3);
    }
    end(running, &case);
}

/// New machines come as the old ones go, until the program is where none of its threads began.
#[test]
fn a_program_outlasts_the_machines_that_it_began_on() {
    let _pass = gate::enter();
    let Some(cluster) = Cluster::start(2) else { return };
    let case = c("grows", [""]).place(Place::Spread);
    let running = begin(&cluster, &case, How::BanyanOnAll);
    for machine in 2..5 {
        cluster.add(machine);
        wait_for_nodes(&cluster, &running, 3);
        drain(&cluster, machine - 1);
        succeed(&cluster.command(machine - 1, &["leave"]));
        wait_for_nodes(&cluster, &running, 2);
    }
    end(running, &case);
}

#[test]
fn no_program_begins_on_a_machine_that_is_drained() {
    let _pass = gate::enter();
    let Some(cluster) = Cluster::start(2) else { return };
    drain(&cluster, 1);
    let case = c("grows", [""]).place(Place::Spread);
    let running = begin(&cluster, &case, How::BanyanOnAll);
    assert_eq!(nodes(&cluster, &running), BTreeSet::from([0]));
    let home = cluster.command(0, &["node", "drain", "--timeout", "1"]);
    assert!(!home.status.success() && text(&home).contains("stays until it ends"), "{}", text(&home));
    end(running, &case);
}

/// A machine that dies while it leaves: what it still had is lost with it, or it had nothing.
#[test]
fn a_machine_that_dies_as_it_leaves_leaves_no_run_hanging() {
    const ROUNDS: u64 = 8;
    let _pass = gate::enter();
    let Some(cluster) = Cluster::start(3) else { return };
    for round in 0..ROUNDS {
        let (case, running) = spread(&cluster, "");
        let process = cluster.process(2);
        // It need not have gone.
        std::thread::scope(|scope| {
            scope.spawn(|| cluster.command(2, &["node", "drain", "--timeout", "5"]));
            std::thread::sleep(Duration::from_millis(20 + round * 25));
            processes::send(process, Signal::KILL);
        });
        is_over_or_goes_on(running, &case);
        cluster.up(2);
    }
}
