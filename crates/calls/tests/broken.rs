//! Inputs that crash a library: contained, and the next call is right.
//!
//! Libraries of Debian's get a fault each, in ten ways, from `tests/library/broken.c`. In place the bad input
//! ends the program; isolated it costs one call.

#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

mod common;

use banyan_calls::generate::wrap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// What `broken.c` calls a library, and its file.
const LIBRARIES: &[(&str, &str)] = &[
    ("z", "libz.so.1"),
    ("bz2", "libbz2.so.1.0"),
    ("lzma", "liblzma.so.5"),
    ("zstd", "libzstd.so.1"),
    ("lz4", "liblz4.so.1"),
    ("png16", "libpng16.so.16"),
    ("sqlite3", "libsqlite3.so.0"),
    ("xml2", "libxml2.so.2"),
    ("uuid", "libuuid.so.1"),
    ("expat", "libexpat.so.1"),
];

fn compile(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn run(program: &Path, libraries: &Path, is_bad: bool) -> Output {
    let mut command = Command::new("timeout");
    // In place one of them never ends.
    command.args(["-s", "KILL", "20"]).arg(program).args(is_bad.then_some("bad"));
    command.env("LD_LIBRARY_PATH", libraries).stdin(Stdio::null()).output().unwrap()
}

fn real(file: &str) -> Option<PathBuf> {
    let places = ["/usr/lib/x86_64-linux-gnu", "/lib/x86_64-linux-gnu"];
    places.iter().map(|place| Path::new(place).join(file)).find(|path| path.exists())
}

/// The lines of the good inputs, before and after the bad one.
fn good(output: &Output) -> Vec<String> {
    let lines: Vec<_> = String::from_utf8_lossy(&output.stdout).lines().map(String::from).collect();
    if lines.len() == 4 { [&lines[..1], &lines[2..]].concat() } else { lines }
}

fn is_contained(name: &str, file: &str) {
    let Some(real) = real(file) else {
        eprintln!("left out: {file} is not installed");
        return;
    };
    let directory = common::directory().join(format!("broken-{name}"));
    std::fs::create_dir_all(&directory).unwrap();
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/library/broken.c");
    let (library, program) = (directory.join(file), directory.join("program"));
    let chosen = format!("-DBROKEN_{name}");
    let soname = format!("-Wl,-soname,{file}");
    let named = format!("-DREAL=\"{}\"", real.display());
    let built = ["-shared", "-fPIC", "-O0", "-w", &chosen, &soname, &named];
    compile(Command::new("gcc").args(built).arg(&source).arg("-o").arg(&library));
    let used = ["-DPROGRAM", "-O1", "-w", &chosen];
    compile(Command::new("gcc").args(used).arg(&source).arg(&library).arg("-o").arg(&program));
    let policy = directory.join("policy.toml");
    std::fs::write(&policy, "[library]\ndeadline_ms = 3000\n").unwrap();
    let isolated = directory.join("isolated");
    let outcome = wrap(&library, &[], Some(&policy), &isolated).unwrap();
    assert!(outcome.problems.is_empty(), "{:?}", outcome.problems);
    let expected = run(&program, &directory, false);
    assert!(expected.status.success(), "{name}: {expected:?}");
    let plain = run(&program, &directory, true);
    assert!(!plain.status.success(), "{name}: in place the bad input does nothing: {plain:?}");
    let contained = run(&program, &isolated, true);
    assert!(contained.status.success(), "{name}: {contained:?}");
    assert_eq!(good(&contained), good(&expected), "{name}: {contained:?}");
    std::fs::remove_dir_all(&directory).unwrap();
}

#[test]
fn a_bad_input_costs_one_call_and_the_next_is_right() {
    common::configuration();
    for (name, file) in LIBRARIES {
        is_contained(name, file);
    }
}
