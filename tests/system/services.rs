//! Services that programs find by a name of the cluster: on whichever machine they run, and on another one
//! when that machine or their process has gone.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use banyan_tests::launch::How;
use banyan_tests::{Case, Running, compare, gate, processes, workspace};
use rustix::process::Signal;

use crate::cluster::{Cluster, succeed};

/// What comes about by itself has come about within this time, on a machine that may be busy.
const PATIENCE: Duration = Duration::from_secs(40);

/// A program with isolated functions, which cargo has built beside this one.
fn program() -> PathBuf {
    let path = workspace::built().join("examples/isolated");
    assert!(path.is_file(), "{} is not built: `cargo test --workspace --no-run`", path.display());
    path
}

/// The program on a machine, serving.
fn serve(cluster: &Cluster, node: usize, name: &str) -> Running {
    let place = format!("named:{name}");
    let words = ["call", "serve", "--at", &place, "--"].map(str::to_owned);
    let words = words.into_iter().chain([program().to_string_lossy().into_owned()]);
    let case = Case::new(workspace::banyan().unwrap(), words);
    Running::start(&cluster.on(node, &case), How::Native).unwrap()
}

/// The program on a machine, which has the name.
fn serving(cluster: &Cluster, node: usize) -> Running {
    let mut serving = serve(cluster, node, "decoder");
    serving.wait_for_output("named:decoder", PATIENCE).unwrap();
    serving
}

/// What the program says of its first function, which crashes in the middle: on a machine, with calls that go
/// where `place` says.
fn calls(cluster: &Cluster, node: usize, place: &str) -> String {
    let case = Case::new(program(), [""; 0]).variable("BANYAN_CALL_SERVICE", place);
    let outcome = compare::once(&cluster.on(node, &case), How::Native).unwrap();
    let stdout = String::from_utf8_lossy(&outcome.stdout).into_owned();
    stdout.lines().take(3).map(|line| format!("{line}\n")).collect()
}

/// Waits until the calls of a machine are served, and well.
fn wait_for_service(cluster: &Cluster, node: usize, name: &str) -> Duration {
    let begun = Instant::now();
    loop {
        let said = calls(cluster, node, &format!("named:{name}"));
        if said == calls(cluster, node, "child") {
            return begun.elapsed();
        }
        assert!(begun.elapsed() < PATIENCE, "{said}");
    }
}

/// The machine that has a name.
fn holder(cluster: &Cluster, name: &str) -> String {
    let output = cluster.command(0, &["name", "list", "--json"]);
    succeed(&output);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let lines = text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let found = lines.into_iter().find(|one| one["name"] == name);
    found.map_or_else(String::new, |found| found["holder"].as_str().unwrap().to_owned())
}

#[test]
fn a_service_is_found_by_its_name_from_every_machine() {
    let _pass = gate::enter();
    let Some(cluster) = Cluster::start(3) else { return };
    let _serving = serving(&cluster, 1);
    let alone = calls(&cluster, 0, "child");
    assert_eq!(alone, "\"17 and more\" begins with 17\n\"\" crashed it: signal 6\n\"4\" begins with 4\n");
    for node in [0, 1, 2] {
        assert_eq!(calls(&cluster, node, "named:decoder"), alone, "from machine {node}");
    }
    assert_eq!(holder(&cluster, "decoder"), "n2");
}

#[test]
fn another_machine_takes_a_service_over_when_its_own_or_its_process_has_gone() {
    let _pass = gate::enter();
    let Some(cluster) = Cluster::start(3) else { return };
    let first = serving(&cluster, 1);
    let mut second = serve(&cluster, 2, "decoder");
    second.wait_for_message("n2 has the name decoder", PATIENCE).unwrap();
    let _at_once = wait_for_service(&cluster, 0, "decoder");

    cluster.kill(1);
    let pause = wait_for_service(&cluster, 0, "decoder");
    eprintln!("calls were served again {} ms after the node was killed", pause.as_millis());
    second.wait_for_output("named:decoder", PATIENCE).unwrap();
    assert_eq!(holder(&cluster, "decoder"), "n3");

    // Its node is back: now it is the one that waits.
    cluster.up(1);
    first.wait_for_message("n3 has the name decoder", PATIENCE).unwrap();
    processes::send(second.pid(), Signal::KILL);
    let pause = wait_for_service(&cluster, 0, "decoder");
    eprintln!("and {} ms after the process was killed", pause.as_millis());
    assert_eq!(holder(&cluster, "decoder"), "n2");
}

#[test]
fn what_is_no_service_is_said() {
    let _pass = gate::enter();
    let Some(cluster) = Cluster::start(2) else { return };
    succeed(&cluster.command(0, &["name", "register", "address", "10.0.0.1:80"]));
    let nowhere = Case::new(program(), [""; 0]).variable("BANYAN_CALL_SERVICE", "named:x");
    let nowhere = nowhere.variable("BANYAN_STATE", "/nowhere");
    let nowhere = compare::once(&nowhere, How::Native).unwrap();
    for (said, words) in [
        (
            calls(&cluster, 1, "named:nobody"),
            "no machine of the cluster serves nobody; start it with `banyan call",
        ),
        (calls(&cluster, 1, "named:address"), "address is the name of something else: 10.0.0.1:80"),
        (String::from_utf8_lossy(&nowhere.stdout).into_owned(), "no node answers at /nowhere/socket"),
    ] {
        assert!(said.contains(words), "{said}");
    }
    let other = serve(&cluster, 0, "address");
    other.wait_for_message("n1 has the name address", PATIENCE).unwrap();
    let one = serve(&cluster, 0, "decoder");
    wait_for_service(&cluster, 1, "decoder");
    let two = serve(&cluster, 0, "decoder");
    two.wait_for_message("another process of this machine serves decoder", PATIENCE).unwrap();
    drop((one, two));
}
