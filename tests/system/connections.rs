//! Coherence connections that break, or bring bytes that are no message, in the middle of a run: they are
//! made again, a line says why, and the program notices nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::SocketAddr;
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
    own_port: u16,
    peer_port: u16,
    copy: OwnedFd,
}

/// The connections of `daemon`.
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
            let own: SocketAddr = rustix::net::getsockname(&copy).ok()?.try_into().ok()?;
            let peer: SocketAddr = rustix::net::getpeername(&copy).ok()??.try_into().ok()?;
            Some(Connection { inode, own_port: own.port(), peer_port: peer.port(), copy })
        })
        .collect()
}

/// The control connections among those of the last node, once it has dialled all others, for three
/// connections each: urgent, bulk and control. Others, such as that which asked it to join, come from ports
/// of their own. Numbers of descriptors do not tell the order, as they are used again; ports do: for one
/// destination the kernel takes ascending ones (`__inet_hash_connect`), and begins again at the lowest.
fn control_connections(connections: &[Connection]) -> Option<Vec<&Connection>> {
    let range = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").ok()?;
    let mut bounds = range.split_whitespace().map(str::parse);
    let (low, high): (u16, u16) = (bounds.next()?.ok()?, bounds.next()?.ok()?);
    let mut dialled: BTreeMap<u16, Vec<&Connection>> = BTreeMap::new();
    for connection in connections {
        dialled.entry(connection.peer_port).or_default().push(connection);
    }
    dialled.retain(|_, lanes| lanes.len() == 3);
    let controls = dialled.into_values().map(|mut lanes| {
        lanes.sort_by_key(|lane| lane.own_port);
        // The first one dialled lies behind the widest gap.
        let gap = |place: usize| match place {
            0 => (lanes[0].own_port - low) + (high - lanes[2].own_port),
            _ => lanes[place].own_port - lanes[place - 1].own_port,
        };
        let first = (0..lanes.len()).max_by_key(|place| gap(*place)).unwrap_or(0);
        lanes[(first + 2) % lanes.len()]
    });
    let controls: Vec<_> = controls.collect();
    (controls.len() == NODES - 1).then_some(controls)
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
        let daemons = processes::daemons(processes::of_run(&running.scratch.run));
        let Some(last) = daemons.get(NODES - 1) else { continue };
        let connections = connections(last);
        if control.is_none() {
            control = control_connections(&connections)
                .map(|lanes| lanes.iter().map(|lane| (lane.inode, lane.peer_port)).collect::<Vec<_>>());
        }
        // Connections of single threads are accepted, not dialled, so that their peers have other ports.
        let Some(control) = &control else { continue };
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
/// Home sees it, or is told by the two nodes that it lay between.
#[test]
fn a_control_connection_that_ends_ends_the_run() {
    let _pass = gate::enter();
    let program = compile::c("endless", Link::Dynamic).unwrap();
    if workspace::native_only() {
        return;
    }
    for which in 0..NODES - 1 {
        let mut running = Running::start(&Case::new(program.clone(), ["busy"]), How::Banyan(NODES)).unwrap();
        running.wait_for_output("ready", Duration::from_secs(30)).unwrap();
        let daemons = processes::daemons(processes::of_run(&running.scratch.run));
        let connections = connections(&daemons[NODES - 1]);
        let control = control_connections(&connections).expect("the control connections")[which];
        rustix::net::shutdown(&control.copy, Shutdown::Both).unwrap();
        let outcome = running.finish(Duration::from_secs(7)).unwrap();
        let text = String::from_utf8_lossy(&outcome.stderr);
        assert_eq!(outcome.end, End::Status(125), "{text}");
        assert_eq!(text.lines().count(), 1, "{text}");
        assert!(text.contains(" was lost: ") && text.contains("; the program ends with it"), "{text}");
    }
}
