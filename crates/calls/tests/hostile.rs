//! Workers that lie, die without notice, or are in trouble before and after a call: the caller gets
//! an error within its deadline and goes on, and nothing is left.
#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

mod common;

use banyan_calls::frame::{Registers, Shape};
use banyan_calls::launch::open_library;
use banyan_calls::service::{Configuration, FunctionName};
use banyan_calls::{CallError, CallOptions, Connection};
use common::processes::{has_ended, send};
use rustix::process::Signal;
use std::path::Path;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

const FUNCTIONS: [&str; 9] = [
    "liar_fine",
    "liar_reply",
    "liar_word",
    "liar_silent_death",
    "liar_crash",
    "liar_crash_later",
    "liar_crash_in_call_back",
    "liar_stop_in_call_back",
    "pause",
];

fn open() -> Connection {
    static PATH: OnceLock<std::path::PathBuf> = OnceLock::new();
    let path = PATH.get_or_init(|| {
        let path = common::directory().join("libliar.so");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/library/liar.c");
        let mut gcc = std::process::Command::new("gcc");
        gcc.args(["-shared", "-fPIC", "-O1", "-w", "-pthread", "-o"]).arg(&path).arg(source);
        assert!(gcc.status().unwrap().success());
        path
    });
    let _ = common::configuration();
    let functions = FUNCTIONS.iter().map(|name| FunctionName { name: (*name).into(), version: None });
    let configuration = Configuration {
        library: Some(path.clone()),
        functions: functions.collect(),
        crash_loop: 1000,
        ..Configuration::default()
    };
    open_library(&configuration, None).unwrap()
}

fn call(connection: &Connection, name: &str, arguments: &[u64], deadline_ms: u64) -> Result<u64, CallError> {
    let number = FUNCTIONS.iter().position(|known| *known == name).unwrap() as u64;
    let mut registers = Registers::default();
    registers.general[..arguments.len()].copy_from_slice(arguments);
    let shape = Shape { general: arguments.len() as u8, vector: 0, stack: 0 };
    let options = CallOptions { deadline: Duration::from_millis(deadline_ms), ..CallOptions::default() };
    // SAFETY: the arguments suit the functions above.
    unsafe { connection.call_registers(number, &mut registers, shape, &[], 0, &options)? };
    Ok(registers.rax)
}

fn fine(connection: &Connection) {
    assert_eq!(call(connection, "liar_fine", &[], 5000), Ok(7));
}

fn ends(process: u32) {
    let deadline = Instant::now() + Duration::from_secs(3);
    while !has_ended(process) {
        assert!(Instant::now() < deadline, "process {process} is left");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// A stop takes effect a little after the signal.
fn stops(process: u32) {
    let deadline = Instant::now() + Duration::from_secs(3);
    while std::fs::read_to_string(format!("/proc/{process}/stat")).is_ok_and(|text| !text.contains(") T ")) {
        assert!(Instant::now() < deadline, "process {process} does not stop");
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn number(to: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        to.push(value as u8 | 0x80);
        value >>= 7;
    }
    to.push(value as u8);
}

/// Every kind of reply, every field of it at its edges and at random, and lengths that are wrong.
#[test]
fn lies_in_every_field_of_a_reply() {
    let connection = open();
    let mut seed = 1_u64;
    let mut random = move || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        seed >> 33
    };
    let edges = [
        0,
        1,
        63,
        64,
        65,
        127,
        128,
        256,
        257,
        4095,
        4096,
        16384,
        16385,
        1 << 26,
        (1 << 26) + 1,
        1 << 35,
        u64::MAX,
    ];
    let started = Instant::now();
    for round in 0..400_u64 {
        let mut bytes = vec![(round % 13) as u8];
        for _ in 0..random() % 7 {
            let value = if random() % 3 == 0 { random() } else { edges[random() as usize % edges.len()] };
            number(&mut bytes, value);
        }
        for _ in 0..random() % 3 * 20 {
            bytes.push(random() as u8);
        }
        let length = match random() % 5 {
            0 => edges[random() as usize % edges.len()] as u32,
            _ => bytes.len() as u32,
        };
        let liar = connection.worker_process();
        let start = Instant::now();
        let result =
            call(&connection, "liar_reply", &[bytes.as_ptr() as u64, bytes.len() as u64, length.into()], 200);
        assert!(start.elapsed() < Duration::from_secs(2), "{bytes:?}: {:?}", start.elapsed());
        if matches!(result, Ok(_) | Err(CallError::NoFunction)) {
            // A lie that decodes is an answer like another; but the liar does not serve any more.
            assert!(call(&connection, "liar_fine", &[], 30).is_err());
        }
        fine(&connection);
        // One that said that it crashed may take a moment to end itself; a later call sees to it.
        let deadline = Instant::now() + Duration::from_secs(3);
        while round > 0 && liar != 0 && !has_ended(liar) {
            assert!(Instant::now() < deadline, "{bytes:?}: process {liar} is left");
            std::thread::sleep(Duration::from_millis(2));
            fine(&connection);
        }
        if started.elapsed() > Duration::from_secs(60) {
            eprintln!("{round} rounds in a minute");
            break;
        }
    }
}

#[test]
fn words_that_are_no_reply() {
    let connection = open();
    for word in [0x1234_5678, 0x8000_0000, 0x2000_0000, u32::MAX, 1 << 29] {
        let error = call(&connection, "liar_word", &[word.into()], 300).unwrap_err();
        assert!(error.is_system(), "{word:#x}: {error:?}");
        fine(&connection);
    }
}

#[test]
fn a_worker_that_says_it_crashed_and_lives_on_is_ended() {
    let connection = open();
    fine(&connection);
    let liar = connection.worker_process();
    let bytes = [8_u8, 11, 8, 9];
    let error = call(&connection, "liar_reply", &[bytes.as_ptr() as u64, 4, 4], 5000).unwrap_err();
    assert!(matches!(error, CallError::Crashed { signal: 11, address: 8, instruction: 9, .. }), "{error:?}");
    // It has a few milliseconds to end itself; a call after that sees to it.
    std::thread::sleep(Duration::from_millis(10));
    fine(&connection);
    ends(liar);
}

#[test]
fn a_death_without_notice_is_seen_all_the_same() {
    let connection = open();
    for _ in 0..5 {
        let start = Instant::now();
        let error = call(&connection, "liar_silent_death", &[], 20_000).unwrap_err();
        assert!(matches!(error, CallError::Crashed { signal: libc::SIGKILL, .. }), "{error:?}");
        assert!(
            start.elapsed() < Duration::from_secs(2),
            "by the process, not by the deadline: {:?}",
            start.elapsed()
        );
        fine(&connection);
    }
}

#[test]
fn trouble_after_a_call_does_not_reach_the_call() {
    let connection = open();
    for round in 0..30 {
        // Without a delay it may be quicker than the return.
        let first = call(&connection, "liar_crash_later", &[round * 20], 5000);
        assert!(
            first == Ok(7) || matches!(first, Err(CallError::Crashed { signal: libc::SIGSEGV, .. })),
            "{first:?}"
        );
        if round % 2 == 0 {
            std::thread::sleep(Duration::from_millis(3));
        }
        // The next call may meet the crash, or come after it.
        let next = call(&connection, "liar_fine", &[], 5000);
        assert!(next == Ok(7) || matches!(next, Err(CallError::Crashed { .. })), "{next:?}");
        let start = Instant::now();
        while call(&connection, "liar_fine", &[], 5000) != Ok(7) {
            assert!(start.elapsed() < Duration::from_secs(5));
        }
    }
}

extern "C" fn slow(value: i64) -> i64 {
    std::thread::sleep(Duration::from_millis(20));
    value
}

#[test]
fn trouble_during_and_after_a_call_back() {
    let connection = open();
    for microseconds in [0, 500, 5000] {
        let arguments = [slow as *const () as u64, microseconds];
        let error = call(&connection, "liar_crash_in_call_back", &arguments, 5000).unwrap_err();
        assert!(matches!(error, CallError::Crashed { .. }), "{error:?}");
        fine(&connection);
    }
    let error = call(&connection, "liar_stop_in_call_back", &[slow as *const () as u64], 300).unwrap_err();
    assert!(matches!(error, CallError::TimedOut { .. }), "{error:?}");
    fine(&connection);
}

#[test]
fn a_babysitter_that_is_stopped_delays_no_call_past_the_deadline() {
    let connection = open();
    fine(&connection);
    // Let the spares get ready first.
    std::thread::sleep(Duration::from_millis(100));
    let babysitter = connection.babysitter_process();
    send(babysitter, Signal::STOP);
    let start = Instant::now();
    let mut refused = 0;
    for _ in 0..6 {
        refused +=
            u32::from(matches!(call(&connection, "liar_crash", &[], 300), Err(CallError::TimedOut { .. })));
    }
    let elapsed = start.elapsed();
    send(babysitter, Signal::CONT);
    assert!(refused >= 3, "there were two workers");
    assert!(elapsed < Duration::from_secs(4), "{elapsed:?}");
    fine(&connection);
}

#[test]
fn a_worker_stopped_between_calls_and_one_stopped_while_it_is_spare() {
    let connection = open();
    for _ in 0..3 {
        fine(&connection);
        for process in connection.worker_processes() {
            send(process, Signal::STOP);
            stops(process);
        }
        let start = Instant::now();
        let mut tries = 0;
        while let Err(error) = call(&connection, "liar_fine", &[], 200) {
            tries += 1;
            assert!(tries < 60 && start.elapsed() < Duration::from_secs(10), "{tries} tries: {error:?}");
        }
    }
    let processes = connection.worker_processes();
    let babysitter = connection.babysitter_process();
    drop(connection);
    for process in processes.into_iter().chain([babysitter]) {
        ends(process);
    }
}
