//! `banyan bench` as scripts use it: what it refuses, the keys of its rows, its plot, its status.
#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::fs;
use std::process::{Command, Output};

use serde_json::Value;

fn bench(directory: &tempfile::TempDir, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_banyan"));
    command.arg("bench").args(arguments).current_dir(directory.path()).output().unwrap()
}

#[track_caller]
fn refused(directory: &tempfile::TempDir, arguments: &[&str]) -> String {
    let output = bench(directory, arguments);
    assert_eq!(output.status.code(), Some(125), "{arguments:?}");
    String::from_utf8(output.stderr).unwrap()
}

fn rows(output: &Output) -> Vec<Value> {
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[track_caller]
fn names_are(rows: &[Value], expected: &[&str]) {
    let names: Vec<&str> = rows.iter().map(|row| row["name"].as_str().unwrap()).collect();
    assert_eq!(names, expected);
}

#[test]
fn what_cannot_be_measured_is_refused() {
    let room = tempfile::tempdir().unwrap();
    assert!(refused(&room, &["no-such-name"]).contains("--list"));
    // The name of a bench that has no such row.
    assert!(refused(&room, &["stub.size.none"]).contains("no measurement begins with stub.size.none"));
    assert!(refused(&room, &["arena.commit", "--directory", "/no/such/place"]).contains("--directory"));
    assert!(refused(&room, &["--quick", "--plot", "no/such/plot.svg"]).contains("cannot write"));
}

#[test]
fn the_list_names_every_family() {
    let room = tempfile::tempdir().unwrap();
    let list = String::from_utf8(bench(&room, &["--list"]).stdout).unwrap();
    for name in ["fault.read", "arena.commit.k16", "call.null.spinning", "actor.tell.same_host"] {
        assert!(list.lines().any(|line| line.starts_with(name)), "{name} is missing in:\n{list}");
    }
    let some = String::from_utf8(bench(&room, &["--list", "call.crash"]).stdout).unwrap();
    assert_eq!(some.lines().count(), 3, "{some}");
}

/// Each row of the commits once, in JSON, and drawn: the plot names every contestant.
#[test]
fn commits_are_measured_and_drawn() {
    let room = tempfile::tempdir().unwrap();
    let output = bench(&room, &["--quick", "--json", "--plot", "commits.svg"]);
    let rows = rows(&output);
    names_are(&rows, &["arena.commit.k1", "arena.commit.k16", "arena.commit.k256"]);
    for row in &rows {
        let keys: Vec<&String> = row.as_object().unwrap().keys().collect();
        assert_eq!(keys, ["bar", "detail", "name", "ok", "ratio", "rival", "unit", "value"]);
        assert!(row["value"].as_f64().unwrap() > 0.0, "{row}");
    }
    // Whether a bar is held says nothing here; that it was said does.
    let missed = rows.iter().any(|row| row["ok"] == false);
    assert_eq!(output.status.code(), Some(i32::from(missed)), "{}", String::from_utf8_lossy(&output.stderr));
    let svg = fs::read_to_string(room.path().join("commits.svg")).unwrap();
    for contestant in ["banyan", "bare", "jam"] {
        assert!(svg.contains(&format!(">{contestant}</text>")), "{contestant} is not in the plot");
    }
    assert!(!svg.contains("NaN"), "a contestant was not measured");
    let left: Vec<_> = fs::read_dir(room.path()).unwrap().collect();
    assert_eq!(left.len(), 1, "{left:?}");
}

/// The stub is larger than its bar of 64 KiB (`docs/measurements/2026-12-01-stub.md`), and may only shrink:
/// who makes it smaller lowers this too, until it is the bar.
const STUB_BYTES_MAX: f64 = 70_700.0;

/// Two families in one command: each is measured in a process of its own.
#[test]
fn families_are_measured_one_after_the_other() {
    let room = tempfile::tempdir().unwrap();
    let output = bench(&room, &["--quick", "--json", "stub.size", "arena.write.first"]);
    let rows = rows(&output);
    names_are(&rows, &["stub.size", "arena.write.first"]);
    let (size, found) = (&rows[0], &rows[0]["detail"]);
    assert_eq!(found["undefined_symbols"], 0, "{size}");
    assert_eq!(found["needs_a_dynamic_linker"], false, "{size}");
    assert_eq!(found["traces_of_allocation"], serde_json::json!([]), "{size}");
    assert!(size["value"].as_f64().unwrap() <= STUB_BYTES_MAX, "{size}");
    assert_eq!(size["ok"], size["ratio"].as_f64().unwrap() <= 1.0, "{size}");
}
