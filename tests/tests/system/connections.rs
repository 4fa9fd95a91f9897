//! Coherence connections that break, or bring bytes that are no message, in the middle of a run: they are
//! made again, a line says why, and the program notices nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::fd::OwnedFd;
use std::time::Duration;

use banyan_tests::compile::{self, Link};
use banyan_tests::launch::{End, How, excerpt};
use banyan_tests::processes::{self, Process};
use banyan_tests::{Case, Running, compare, gate, input, workspace};
use rustix::net::{SendFlags, Shutdown};
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags};

const NODES: usize = 3;

/// A copy of a connection of a daemon.
struct Connection {
    inode: u64,
    peer_port: u16,
    copy: OwnedFd,
}

/// The connections of `daemon`, in the order in which it opened them.
fn connections(daemon: &Process) -> Vec<Connection> {
    let Some(pid) = Pid::from_raw(daemon.pid) else { return Vec::new() };
    let Ok(handle) = rustix::process::pidfd_open(pid, PidfdFlags::empty()) else { return Vec::new() };
    let Ok(entries) = fs::read_dir(format!("/proc/{}/fd", daemon.pid)) else { return Vec::new() };
    let sockets: BTreeMap<i32, u64> = entries
        .flatten()
        .filter_map(|entry| {
            let target = fs::read_link(entry.path()).ok()?;
            let inode = target.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()?;
            Some((entry.file_name().to_str()?.parse().ok()?, inode))
        })
        .collect();
    let mut seen = BTreeSet::new();
    sockets
        .into_iter()
        .filter(|(_, inode)| seen.insert(*inode))
        .filter_map(|(descriptor, inode)| {
            let copy = rustix::process::pidfd_getfd(&handle, descriptor, PidfdGetfdFlags::empty()).ok()?;
            let address: std::net::SocketAddr = rustix::net::getpeername(&copy).ok()??.try_into().ok()?;
            Some(Connection { inode, peer_port: address.port(), copy })
        })
        .collect()
}

/// Runs pigz on some text while `harm` is done to one coherence connection after another.
fn run_while(harm: impl Fn(&OwnedFd)) {
    let _pass = gate::enter();
    if workspace::native_only() {
        return;
    }
    let case = Case::new("/usr/bin/pigz", ["-p6", "-n", "-c", "data"])
        .file("data", input::text(12 << 20, 3))
        .any_stderr();
    let native = compare::once(&case, How::Native).unwrap();
    let running = Running::start(&case, How::Banyan(NODES)).unwrap();
    let mut harmed = 0;
    let mut control = None;
    for _ in 0..60 {
        std::thread::sleep(Duration::from_millis(25));
        let processes = processes::of_run(&running.scratch.run);
        // The last node dials all others, for three connections each: urgent, bulk and control.
        let Some(daemon) = processes.iter().filter(|process| process.is_daemon()).nth(NODES - 1) else {
            continue;
        };
        let connections = connections(daemon);
        if control.is_none() && connections.len() == 3 * (NODES - 1) {
            control = Some([&connections[2], &connections[5]].map(|lane| (lane.inode, lane.peer_port)));
        }
        // Connections of single threads are accepted, not dialled, so that their peers have other ports.
        let Some(control) = control else { continue };
        let is_lane = |connection: &&Connection| {
            control.iter().any(|(_, port)| connection.peer_port == *port)
                && control.iter().all(|(inode, _)| connection.inode != *inode)
        };
        let lanes: Vec<_> = connections.iter().filter(is_lane).collect();
        if !lanes.is_empty() {
            harm(&lanes[harmed % lanes.len()].copy);
            harmed += 1;
        }
    }
    let outcome = running.finish(Duration::from_secs(60)).unwrap();
    let text = String::from_utf8_lossy(&outcome.stderr);
    assert_eq!(outcome.end, native.end, "{text}");
    assert!(outcome.stdout == native.stdout, "the output differs: {}", excerpt(&outcome.stdout));
    assert!(harmed > 0, "no connection was found: {text}");
    for line in text.lines() {
        assert!(line.starts_with("banyan: ") && line.contains(" was made again: "), "{text}");
    }
}

#[test]
fn bytes_that_are_no_message_close_one_connection_and_harm_nothing() {
    run_while(|lane| {
        let _ = rustix::net::send(lane, &[0xa5; 100], SendFlags::DONTWAIT | SendFlags::NOSIGNAL);
    });
}

#[test]
fn a_connection_that_ends_is_made_again() {
    run_while(|lane| {
        let _ = rustix::net::shutdown(lane, Shutdown::Both);
    });
}

/// What is lost in a thread's own connection cannot be had again: the run says so, and does not hang.
#[test]
fn a_broken_connection_of_one_thread_ends_the_run() {
    let _pass = gate::enter();
    let program = compile::c("endless", Link::Dynamic).unwrap();
    if workspace::native_only() {
        return;
    }
    let mut running = Running::start(&Case::new(program, ["busy"]), How::Banyan(NODES)).unwrap();
    running.wait_for_output("ready", Duration::from_secs(30)).unwrap();
    let processes = processes::of_run(&running.scratch.run);
    let replica = processes.iter().find(|process| !process.is_daemon() && process.pid != running.pid());
    let connection = connections(replica.unwrap()).into_iter().next().expect("a carrier's connection");
    rustix::net::shutdown(&connection.copy, Shutdown::Both).unwrap();
    let outcome = running.finish(Duration::from_secs(7)).unwrap();
    let text = String::from_utf8_lossy(&outcome.stderr);
    assert_eq!(outcome.end, End::Status(125), "{text}");
    assert_eq!(text.lines().count(), 1, "{text}");
}

/// On a control connection every message counts: its end is the end of the run, with one line that says so.
#[test]
fn a_control_connection_that_ends_ends_the_run() {
    let _pass = gate::enter();
    let program = compile::c("endless", Link::Dynamic).unwrap();
    if workspace::native_only() {
        return;
    }
    let mut running = Running::start(&Case::new(program, ["busy"]), How::Banyan(NODES)).unwrap();
    running.wait_for_output("ready", Duration::from_secs(30)).unwrap();
    let processes = processes::of_run(&running.scratch.run);
    let daemon = processes.iter().filter(|process| process.is_daemon()).nth(NODES - 1);
    // The last node dials: urgent, bulk and control with the home node, then with the other.
    let control = connections(daemon.unwrap()).into_iter().nth(2).expect("a control connection");
    rustix::net::shutdown(&control.copy, Shutdown::Both).unwrap();
    let outcome = running.finish(Duration::from_secs(7)).unwrap();
    let text = String::from_utf8_lossy(&outcome.stderr);
    assert_eq!(outcome.end, End::Status(125), "{text}");
    assert_eq!(text.lines().count(), 1, "{text}");
    assert!(text.contains("node 2 was lost"), "{text}");
}
