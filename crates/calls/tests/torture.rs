//! A library of what C libraries do, some three hundred exports: each is used by a program with the library
//! in its own process, and with it isolated, by header and without. What is printed is the same, or the
//! export was refused before the program starts.
//!
//! `library/torture` has a file for each subject, with the library's half and the program's.

#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

mod common;

use banyan_calls::generate::{Outcome, wrap};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

/// Rows that may print something else isolated, and why.
const DIFFERENT: &[(&str, &[&str])] =
    &[("masks of signals, and children, are those of the worker's process", &["p_block", "p_child"])];

/// Rows that end the program, at most, before a subject is given up.
const ENDS_MAX: usize = 20;

struct Torture {
    program: PathBuf,
    library: PathBuf,
    /// By header, and without.
    isolated: [(&'static str, Outcome); 2],
}

fn sources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/library/torture")
}

fn compile(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn torture() -> &'static Torture {
    static ALL: OnceLock<Torture> = OnceLock::new();
    ALL.get_or_init(|| {
        common::configuration();
        let directory = common::directory().join("torture");
        std::fs::create_dir_all(&directory).unwrap();
        let files = sources().read_dir().unwrap().map(|entry| entry.unwrap().path());
        let files: Vec<_> = files.filter(|path| path.extension().is_some_and(|kind| kind == "c")).collect();
        let (library, program) = (directory.join("libtorture.so.1"), directory.join("program"));
        let halves = files.iter().filter(|path| !path.ends_with("main.c"));
        let soname = "-Wl,-soname,libtorture.so.1";
        compile(
            Command::new("gcc")
                .args(["-shared", "-fPIC", "-O1", "-w", soname, "-o"])
                .arg(&library)
                .args(halves)
                .arg("-lm"),
        );
        compile(
            Command::new("gcc")
                .args(["-DPROGRAM", "-O1", "-w", "-o"])
                .arg(&program)
                .args(&files)
                .arg(&library),
        );
        let policy = directory.join("policy.toml");
        std::fs::write(&policy, "[library]\ndeadline_ms = 60000\n").unwrap();
        let isolated = |name: &'static str, headers: &[PathBuf]| {
            let outcome = wrap(&library, headers, Some(&policy), &directory.join(name)).unwrap();
            assert!(outcome.problems.is_empty(), "{:?}", outcome.problems);
            (name, outcome)
        };
        let header = sources().join("torture.h");
        let isolated = [isolated("header", &[header]), isolated("bare", &[])];
        Torture { program, library: directory, isolated }
    })
}

/// What rows print, by their names.
type Rows = BTreeMap<String, String>;

/// What the program prints over the libraries in a directory, by row; refused exports are left out. A row
/// that ends the program has that for its text, and the next ones are run by another.
fn rows(libraries: &Path, subject: &str, refused: &[&str]) -> Rows {
    let mut rows = Rows::new();
    let mut from = subject.to_owned();
    let mut left_out: Vec<String> = refused.iter().map(|name| format!("-{name}")).collect();
    for _ in 0..ENDS_MAX {
        let mut command = Command::new("timeout");
        command.args(["-s", "KILL", "300"]).arg(&torture().program).arg(&from).args(&left_out);
        command.env("LD_LIBRARY_PATH", libraries).env("TORTURE_WORD", "a word").env("TZ", "UTC-3");
        let output = command.stdin(Stdio::null()).output().unwrap();
        let mut last = None;
        for line in String::from_utf8_lossy(&output.stdout).lines() {
            let name = line
                .split_once(": ")
                .map(|(name, _)| name)
                .filter(|name| name.as_bytes().get(1) == Some(&b'_'));
            if let Some(name) = name {
                last = Some(name.to_owned());
            }
            let text: &mut String = rows.entry(last.clone().unwrap_or_default()).or_default();
            text.push_str(line);
        }
        if output.status.success() {
            return rows;
        }
        let last = last.unwrap_or_default();
        let end = format!("{}: {}", output.status, String::from_utf8_lossy(&output.stderr));
        rows.insert(last.clone(), end);
        from = format!("{subject}/{last}");
        left_out.push(format!("-{last}"));
    }
    panic!("{subject}: the program ends at too many rows: {rows:?}");
}

fn refused(outcome: &Outcome) -> Vec<&str> {
    let refused = outcome.coverage.iter().filter(|one| one.status == "refused");
    refused.map(|one| one.name.as_str()).collect()
}

/// Compares all rows of a subject but those that may differ.
fn is_the_same(subject: &str) {
    let torture = torture();
    let mut wrong = Vec::new();
    for (name, outcome) in &torture.isolated {
        let refused = refused(outcome);
        let plain = rows(&torture.library, subject, &refused);
        let isolated = rows(outcome.library.parent().unwrap(), subject, &refused);
        for row in plain.keys().chain(isolated.keys()).collect::<BTreeSet<_>>() {
            let (plain, isolated) = (plain.get(row), isolated.get(row));
            let may_differ = DIFFERENT.iter().any(|(_, known)| known.contains(&row.as_str()));
            if plain != isolated && !may_differ {
                wrong.push(format!("{name}: {plain:?} in place, {isolated:?} isolated"));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

macro_rules! subjects {
    ($($name:ident),+ $(,)?) => {$(
        #[test]
        fn $name() {
            is_the_same(stringify!($name));
        }
    )+};
}

subjects!(scalars, structures, buffers, ownership, callbacks, variables, files, jumps, threads, processes);
