//! `banyan heap` from outside.
#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use banyan_heap::{Heap, Lease, Options};
use serde_json::Value;

fn banyan(directory: &Path, words: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_banyan"));
    command.arg("heap").args(words).arg("--directory").arg(directory).env("NO_COLOR", "1").output().unwrap()
}

#[track_caller]
fn text(output: Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[track_caller]
fn json(output: Output) -> Vec<Value> {
    text(output).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn heaps_are_listed_shown_dumped_and_unlinked() {
    let place = tempfile::tempdir_in("/dev/shm").unwrap();
    let directory = place.path();
    assert_eq!(text(banyan(directory, &["list"])), "");
    let heap = Heap::open("grid", &Options::new().size(8 << 20).directory(directory)).unwrap();
    let field = heap.slice::<f64>("field", 1000).unwrap();
    assert!(field.set(1, 0.5));
    heap.mutex("total", 7_u64).unwrap();

    let listed = text(banyan(directory, &["list"]));
    assert!(listed.lines().nth(1).unwrap().starts_with("grid "), "{listed}");
    let listed = json(banyan(directory, &["list", "--json"]));
    assert_eq!((&listed[0]["name"], &listed[0]["processes"]), (&"grid".into(), &1.into()));
    assert_eq!(listed[0]["size_bytes"], 8 << 20);

    let shown = text(banyan(directory, &["show", "grid"]));
    assert!(
        shown.contains("field") && shown.contains("mutex of u64") && shown.contains("7.8 KiB"),
        "{shown}"
    );
    let shown = json(banyan(directory, &["show", "grid", "--json"]));
    assert_eq!(shown[0]["roots"][0]["type"], "[]f64");
    assert_eq!(shown[0]["participants"][0]["process"], std::process::id());

    let stat = json(banyan(directory, &["stat", "grid", "--json"]));
    assert_eq!((&stat[0]["deaths"], &stat[0]["waits"]), (&0.into(), &Value::Array(Vec::new())));
    assert!(text(banyan(directory, &["stat", "grid"])).contains("1 process, 2 roots"));

    assert_eq!(text(banyan(directory, &["dump", "grid", "field", "--limit", "3"])), "0.0\n0.5\n0.0\n");
    let dumped = json(banyan(directory, &["dump", "grid", "field", "--json", "--limit", "2"]));
    assert_eq!((&dumped[0]["values"][1], &dumped[0]["whole"]), (&0.5.into(), &false.into()));
    let bytes = text(banyan(directory, &["dump", "grid", "total"]));
    assert!(bytes.lines().next_back().unwrap().starts_with("00000040  07 00"), "{bytes}");

    let none = banyan(directory, &["dump", "grid", "nothing"]);
    assert_eq!(none.status.code(), Some(125));
    assert!(String::from_utf8_lossy(&none.stderr).contains("no root nothing"));
    assert!(banyan(directory, &["unlink", "grid"]).status.success());
    assert_eq!(banyan(directory, &["unlink", "grid"]).status.code(), Some(125));
    assert_eq!(banyan(directory, &["show", "grid"]).status.code(), Some(125));
}

#[test]
fn a_thread_that_waits_is_shown_with_what_it_waits_for() {
    let place = tempfile::tempdir_in("/dev/shm").unwrap();
    let heap = Heap::open("grid", &Options::new().size(8 << 20).directory(place.path())).unwrap();
    let mutex = heap.mutex("total", 0_u64).unwrap();
    let held = mutex.lock().unwrap();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| drop(mutex.lock().unwrap()));
        let deadline = std::time::Instant::now() + Duration::from_secs(60);
        loop {
            let stat = json(banyan(place.path(), &["stat", "grid", "--json"]));
            if let Some(wait) = stat[0]["waits"].get(0) {
                assert_eq!(wait["holder"]["process"], std::process::id());
                break;
            }
            assert!(std::time::Instant::now() < deadline, "the wait is shown");
        }
        assert!(text(banyan(place.path(), &["stat", "grid"])).contains("waits for the lock at 0x"));
        drop(held);
        waiting.join().unwrap();
    });
}

#[test]
fn listing_removes_what_is_over_and_keeps_nothing_alive() {
    let place = tempfile::tempdir_in("/dev/shm").unwrap();
    let lease = Lease::Unused(Duration::from_millis(300));
    drop(Heap::open("short", &Options::new().lease(lease).directory(place.path())).unwrap());
    let deadline = std::time::Instant::now() + Duration::from_secs(60);
    while !json(banyan(place.path(), &["list", "--json"])).is_empty() {
        assert!(std::time::Instant::now() < deadline, "it ends although it is listed");
    }
}
