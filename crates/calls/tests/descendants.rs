//! Processes that a library starts: they end with the call that does, and not with the program.
#![allow(clippy::unwrap_used, clippy::field_reassign_with_default, reason = "a test may fail by panicking")]

mod common;

use banyan_calls::CallError;
use common::processes::{has_ended, send};
use common::{call, directory, open, options};
use rustix::process::Signal;
use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const BUSY_MACHINE: Duration = Duration::from_secs(20);

fn until(what: &str, is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + BUSY_MACHINE;
    while !is_so() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// The file into which what is started writes its numbers, and its name for C.
fn numbers_file(name: &str) -> (PathBuf, CString) {
    let path = directory().join(name);
    let _ = std::fs::remove_file(&path);
    let text = CString::new(path.as_os_str().as_bytes()).unwrap();
    (path, text)
}

fn numbers(path: &Path) -> Vec<u32> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.lines().filter_map(|line| line.parse().ok()).collect()
}

#[test]
fn what_a_call_started_ends_when_the_call_does() {
    for (how, count) in [(0_u64, 1), (1, 2), (2, 1)] {
        let (path, name) = numbers_file(&format!("started-{how}"));
        let connection = open(|configuration| configuration.spares = 1);
        let arguments = [how, name.as_ptr() as u64];
        let error = call(&connection, "subject_start", &arguments, &options(2000)).unwrap_err();
        assert!(matches!(error, CallError::TimedOut { .. }), "{error:?}");
        let started = numbers(&path);
        assert_eq!(started.len(), count, "{how}: {started:?}");
        for process in started {
            until(&format!("{how}: process {process} is left"), || has_ended(process));
        }
        assert_eq!(call(&connection, "subject_add", &[1, 2, 0, 0, 0, 0, 0, 0], &options(20_000)), Ok(3));
    }
}

#[test]
fn what_a_call_started_ends_with_a_program_that_ends_at_once() {
    let (path, name) = numbers_file("started-and-left");
    let connection = open(|_| {});
    let arguments = [2, name.as_ptr() as u64];
    let error = call(&connection, "subject_start", &arguments, &options(2000)).unwrap_err();
    drop(connection);
    assert!(matches!(error, CallError::TimedOut { .. }), "{error:?}");
    for process in numbers(&path) {
        until(&format!("process {process} is left"), || has_ended(process));
    }
}

#[test]
fn what_was_left_running_in_order_stays() {
    let (path, name) = numbers_file("in-order");
    let connection = open(|_| {});
    let arguments = [3, name.as_ptr() as u64];
    assert_eq!(call(&connection, "subject_start", &arguments, &options(20_000)), Ok(0));
    until("nothing was started", || numbers(&path).len() == 1);
    let babysitter = connection.babysitter_process();
    drop(connection);
    until("the babysitter stays", || has_ended(babysitter));
    let started = numbers(&path)[0];
    assert!(!has_ended(started));
    send(started, Signal::KILL);
}
