//! `--place auto`: a program is at home until more nodes pay, which other nodes learn of only then, and it
//! does as in a native run wherever it is.

use std::time::{Duration, Instant};

use banyan_sys::control_group::{self, ControlGroup};
use banyan_tests::case::Place;
use banyan_tests::launch::{self, End, How};
use banyan_tests::{Case, Running, check_on, gate, input, processes, workspace};

use crate::c;
use crate::jobs::Daemons;
use crate::moves::threads;

/// A program has this long to be spread, on a machine that may be busy.
const PATIENCE: Duration = Duration::from_secs(60);

fn auto(case: Case) -> Case {
    case.place(Place::Auto)
}

#[test]
fn programs_do_as_natively() {
    for program in ["mutex", "cond", "malloc_stress", "openmp", "many_threads"] {
        check_on(&auto(c(program, [])), &[2, 3]);
    }
    check_on(&auto(c("signals_elsewhere", ["running"])), &[2, 3]);
    let pigz = Case::new("/usr/bin/pigz", ["-p6", "-n", "-c", "data"]);
    check_on(&auto(pigz.file("data", input::text(4 << 20, 5))), &[3]);
}

#[test]
fn processes_are_copied_and_executed_without_other_nodes() {
    check_on(&auto(c("forks", ["written"])), &[2]);
    check_on(&auto(c("execs", ["alone"])), &[2]);
}

/// The replicas of other nodes, of a run.
fn other_replicas(running: &Running) -> usize {
    let all = processes::of_run(&running.scratch.run);
    all.iter()
        .filter(|process| process.arguments.first().is_some_and(|name| name.starts_with("banyan: node")))
        .count()
}

fn computes(mode: Place) -> Running {
    let mut running = Running::start(&c("computes", []).place(mode), How::Banyan(3)).unwrap();
    running.wait_for_output("ready", Duration::from_secs(30)).unwrap();
    running
}

/// A group for a run that gets a tenth of a processor, where there can be one.
fn held(running: &Running) -> Option<ControlGroup> {
    if let Some(reason) = control_group::missing() {
        eprintln!("nothing is held to a part of a processor: {reason}");
        return None;
    }
    Some(ControlGroup::new(&running.scratch.run, 1000, 10_000).unwrap())
}

pub(crate) fn ended(running: Running) {
    launch::signal(&running, 15).unwrap();
    let outcome = running.finish(Duration::from_secs(30)).unwrap();
    assert_eq!(outcome.end, End::Signal(15), "{}", String::from_utf8_lossy(&outcome.stderr));
}

/// Waits until the program's threads are on this many nodes.
fn wait_for_nodes(running: &Running, wanted: usize) {
    let until = Instant::now() + PATIENCE;
    loop {
        let threads = threads(&running.pid().to_string());
        let nodes: std::collections::BTreeSet<u64> = threads.iter().map(|(_, node)| *node).collect();
        if nodes.len() == wanted {
            return;
        }
        assert!(Instant::now() < until, "not on {wanted} nodes: {threads:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_program_that_sleeps_has_no_other_replica_and_one_that_waits_for_processors_has() {
    if workspace::native_only() {
        return;
    }
    let _pass = gate::enter();
    let mut running = Running::start(&auto(c("endless", ["wait"])), How::Banyan(3)).unwrap();
    running.wait_for_output("ready", Duration::from_secs(30)).unwrap();
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(other_replicas(&running), 0);
    ended(running);

    let running = computes(Place::Auto);
    let Some(group) = held(&running) else { return ended(running) };
    group.add(running.pid()).unwrap();
    wait_for_nodes(&running, 3);
    assert_eq!(other_replicas(&running), 2);
    ended(running);
}

/// What the program has mapped where another node would have its memory stays where it is.
#[test]
fn a_program_with_memory_at_addresses_of_other_nodes_is_spread_as_others_are() {
    if workspace::native_only() {
        return;
    }
    let _pass = gate::enter();
    // In the second pool of 512 GiB, which begin at 16 TiB.
    let address = format!("{:#x}", (16_u64 << 40) + (513 << 30));
    let mut running = Running::start(&auto(c("computes", [&address])), How::Banyan(3)).unwrap();
    running.wait_for_output("ready", Duration::from_secs(30)).unwrap();
    let Some(group) = held(&running) else { return ended(running) };
    group.add(running.pid()).unwrap();
    wait_for_nodes(&running, 3);
    // The group's end gives it its processors back: each thread looks at the memory of others several times.
    drop(group);
    std::thread::sleep(Duration::from_secs(1));
    ended(running);
}

/// A node that is gone when it is needed: the program stays where it is, and that is said.
#[test]
fn a_node_that_does_not_come_is_told_of_and_the_program_goes_on() {
    if workspace::native_only() {
        return;
    }
    let _pass = gate::enter();
    let mut daemons = Daemons::start();
    let mut running = daemons.begin(&auto(c("computes", [])));
    running.wait_for_output("ready", Duration::from_secs(30)).unwrap();
    let Some(group) = held(&running) else { return ended(running) };
    daemons.kill_other();
    group.add(running.pid()).unwrap();
    running.wait_for_message("the program stays on node 0: node 1", PATIENCE).unwrap();
    ended(running);
}
