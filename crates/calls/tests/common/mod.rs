//! What the tests share: a small C library built on the spot, and a connection to it.
#![allow(
    clippy::unwrap_used,
    dead_code,
    unreachable_pub,
    missing_docs,
    reason = "each test program uses its own part"
)]

pub mod processes;

use banyan_calls::frame::{Registers, Shape, WANT_ST0, WANT_VECTOR};
use banyan_calls::launch::open_library;
use banyan_calls::service::{Configuration, FunctionName};
use banyan_calls::{CallOptions, Connection};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

/// Directory of the test's own files.
pub fn directory() -> PathBuf {
    let directory = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("calls-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    directory
}

/// Builds the subject library once.
pub fn subject() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| {
        let path = directory().join("libsubject.so.1");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/library/subject.c");
        let status = Command::new("gcc")
            .args(["-shared", "-fPIC", "-O1", "-w", "-Wl,-soname,libsubject.so.1", "-o"])
            .arg(&path)
            .arg(source)
            .status()
            .unwrap();
        assert!(status.success());
        path
    })
}

pub const FUNCTIONS: &[&str] = &[
    "subject_version",
    "subject_add",
    "subject_scale",
    "subject_long",
    "subject_sum",
    "subject_fill",
    "subject_double",
    "subject_list",
    "subject_big",
    "subject_small",
    "subject_make",
    "subject_drop",
    "subject_count",
    "subject_counter",
    "subject_apply",
    "subject_errno",
    "subject_format",
    "subject_vformat",
    "subject_write",
    "subject_fail",
    "subject_flaky",
    "subject_touch",
    "subject_dirty_crash",
    "subject_start",
    "subject_hold",
    "subject_held",
];

pub fn number(name: &str) -> u64 {
    FUNCTIONS.iter().position(|known| *known == name).unwrap() as u64
}

pub fn configuration() -> Configuration {
    // SAFETY: names the worker program of this build, before any thread of ours reads the environment.
    unsafe { std::env::set_var("BANYAN_CALL_PROGRAM", env!("CARGO_BIN_EXE_banyan-call-worker")) };
    Configuration {
        library: Some(subject().to_owned()),
        functions: FUNCTIONS
            .iter()
            .map(|name| FunctionName { name: (*name).into(), version: None })
            .collect(),
        ..Configuration::default()
    }
}

pub fn open(change: impl FnOnce(&mut Configuration)) -> Connection {
    let mut configuration = configuration();
    change(&mut configuration);
    open_library(&configuration, None).unwrap()
}

pub fn options(deadline_ms: u64) -> CallOptions {
    CallOptions { deadline: Duration::from_millis(deadline_ms), ..CallOptions::default() }
}

/// Calls with integer arguments; the result is rax.
pub fn call(
    connection: &Connection,
    name: &str,
    arguments: &[u64],
    options: &CallOptions,
) -> Result<u64, banyan_calls::CallError> {
    let mut registers = Registers { results: WANT_VECTOR, ..Registers::default() };
    let count = arguments.len().min(6);
    registers.general[..count].copy_from_slice(&arguments[..count]);
    let shape = Shape { general: count as u8, vector: 0, stack: (arguments.len() - count) as u16 };
    // SAFETY: the tests pass arguments that suit the function.
    unsafe {
        connection.call_registers(
            number(name),
            &mut registers,
            shape,
            &arguments[count..],
            count,
            options,
        )?;
    };
    Ok(registers.rax)
}

/// Calls with any registers.
pub fn call_with(
    connection: &Connection,
    name: &str,
    registers: &mut Registers,
    words: &[u64],
) -> Result<(), banyan_calls::CallError> {
    registers.results |= WANT_VECTOR;
    // SAFETY: as above.
    unsafe { connection.call_registers(number(name), registers, Shape::unknown(0), words, 0, &options(5000)) }
}

pub const LONG_DOUBLE: u64 = WANT_ST0;
