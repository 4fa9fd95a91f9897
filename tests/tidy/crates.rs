//! What a crate may do: which others it uses, and where it has unsafe code.

use crate::{nothing_wrong, read, with_extension};
use banyan_tests::workspace;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::process::Command;

/// Which crate may use which, by the last word of their names. Nothing points back. A crate may also use
/// what the crates that it uses may use.
const EDGES: &[(&str, &[&str])] = &[
    ("wire", &[]),
    ("core", &["wire"]),
    ("sys", &[]),
    ("stub", &["sys", "wire"]),
    // Its build script builds the stub, and its loader shares the stub's addresses.
    ("node", &["core", "sys", "stub", "tables", "view"]),
    // SQL over what any crate has to show.
    ("tables", &["wire"]),
    // What the terminal, the page and its API show: one meaning of every figure.
    ("view", &[]),
    ("cli", &["actor-examples", "actors", "arena", "bench", "calls", "heap", "node", "view"]),
    // Measures them all, and is what the command line prints.
    ("bench", &["actor-examples", "actors", "arena", "calls", "node", "sys", "wire"]),
    ("sim", &["core"]),
    ("heap", &["sys", "wire"]),
    // The library for C: an archive must be a crate of its own.
    ("heap-c", &["heap"]),
    ("calls", &["sys", "wire", "calls-macros"]),
    // The attribute of `calls`: a macro must be a crate of its own.
    ("calls-macros", &[]),
    // Durable pages, for the arena and for records.
    ("pages", &["sys"]),
    ("arena", &["pages", "sys", "wire"]),
    // The decisions on sponsors are in `core`.
    ("actors", &["core", "pages", "sys", "wire"]),
    // Runs inside a sandbox, of which it knows only the documented interface.
    ("actor-guest", &[]),
    // Linked into the command line, which runs them by name.
    ("actor-examples", &["actors"]),
    // Every decoder of foreign bytes, wherever it is.
    ("fuzz", &["actors", "arena", "calls", "core", "heap", "node", "pages", "view", "wire"]),
    // Their nodes are held to a part of a processor.
    ("tests", &["sys"]),
];

/// Crates whose every root says `forbid(unsafe_code)`.
const SAFE_CRATES: &[&str] = &["actor-examples", "core", "wire", "cli", "sim", "tests", "calls-macros"];

/// Crates whose roots say nothing of unsafe code, since they consist of it. All others forbid it, or
/// deny it and expect it where `UNSAFE_CODE` allows.
const OPEN_CRATES: &[&str] = &["sys", "stub"];

/// Where unsafe code may be, by the start of the path; everywhere below `crates`, a folder `src/sys` may have
/// it too. A crate that has such a place denies it at its root and expects it there.
const UNSAFE_CODE: &[&str] = &[
    "crates/sys/src/",
    "crates/stub/src/",
    // Views of objects at addresses of a heap, and the freeing of them by pointer.
    "crates/arena/src/heap/",
    "crates/arena/src/collections/",
    "crates/arena/src/noun/",
    "crates/arena/src/arena/objects.rs",
    // Declares what its callers answer for.
    "crates/arena/src/events.rs",
    "crates/heap/src/heap/objects.rs",
    // Functions that C calls.
    "crates/heap-c/src/",
    // References to what a lock of theirs protects.
    "crates/heap/src/typed/guards.rs",
    // Memory of guests: the engine asks for unsafe traits.
    "crates/actors/src/wasm/memory.rs",
    // A callee's processes: they load code, fork, and run it on memory of its caller.
    "crates/calls/src/babysitter/",
    "crates/calls/src/worker/",
    "crates/calls/src/bin/",
    // A caller's end: memory that it shares with its callee, its own memory by the callee's addresses, and
    // code in C that calls it.
    "crates/calls/src/caller/",
    // The linker's table of isolated functions, C functions as declared, and services that fork.
    "crates/calls/src/rust/",
    // Measured beside what others offer, in raw memory.
    "crates/bench/src/",
];

/// What Cargo knows of the workspace.
pub(crate) fn metadata() -> Value {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--offline", "--format-version", "1"])
        .current_dir(workspace::root())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The roots of the libraries.
pub(crate) fn libraries(metadata: &Value) -> Vec<String> {
    let targets = list(metadata, "packages").iter().flat_map(|package| list(package, "targets"));
    let is_library = |target: &&Value| {
        list(target, "kind").iter().any(|kind| kind == "lib" || kind == "rlib" || kind == "proc-macro")
    };
    targets.filter(is_library).map(|target| text(target, "src_path").to_owned()).collect()
}

pub(crate) fn list<'a>(value: &'a Value, field: &str) -> &'a [Value] {
    value[field].as_array().map_or(&[], Vec::as_slice)
}

pub(crate) fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_default()
}

fn short(name: &str) -> &str {
    name.strip_prefix("banyan-").unwrap_or(name)
}

#[test]
fn crates_use_only_what_they_may() {
    let edges: BTreeMap<&str, &[&str]> = EDGES.iter().copied().collect();
    let mut problems = Vec::new();
    for package in list(&metadata(), "packages") {
        let name = short(text(package, "name"));
        if !edges.contains_key(name) {
            problems.push(format!("{name}: this crate is not in the table of edges"));
            continue;
        }
        let mut allowed = BTreeSet::new();
        let mut left = vec![name];
        while let Some(next) = left.pop() {
            for used in edges.get(next).copied().unwrap_or_default() {
                if allowed.insert(*used) {
                    left.push(used);
                }
            }
        }
        for dependency in list(package, "dependencies") {
            // What only tests use may point anywhere, and only our own crates count.
            let is_ours = dependency["path"].is_string();
            let used = short(text(dependency, "name"));
            if is_ours && text(dependency, "kind") != "dev" && !allowed.contains(used) {
                problems.push(format!("{name} may not use {used}"));
            }
        }
    }
    nothing_wrong(&problems);
}

#[test]
fn safe_crates_forbid_unsafe_code() {
    let mut problems = Vec::new();
    for package in list(&metadata(), "packages") {
        if !SAFE_CRATES.contains(&short(text(package, "name"))) {
            continue;
        }
        for target in list(package, "targets") {
            let kinds = list(target, "kind");
            // Examples and build scripts are programs of their own.
            if kinds.iter().any(|kind| kind == "example" || kind == "custom-build" || kind == "bench") {
                continue;
            }
            let path = text(target, "src_path");
            if !fs::read_to_string(path).unwrap().contains("#![forbid(unsafe_code)]") {
                problems.push(format!("{path}: lacks #![forbid(unsafe_code)]"));
            }
        }
    }
    nothing_wrong(&problems);
}

/// Whether a line of code opens, declares or implements something unsafe.
fn is_unsafe(line: &str) -> bool {
    let code = line.split("//").next().unwrap_or_default();
    ["{", "fn", "impl", "trait", "extern"].iter().any(|what| code.contains(&format!("{} {what}", "unsafe")))
}

#[test]
fn crates_say_at_their_root_what_they_are() {
    let mut problems = Vec::new();
    for package in list(&metadata(), "packages") {
        let libraries = list(package, "targets").iter().filter(|target| {
            list(target, "kind").iter().any(|kind| kind == "lib" || kind == "rlib" || kind == "proc-macro")
        });
        for path in libraries.map(|target| text(target, "src_path")) {
            let root = fs::read_to_string(path).unwrap();
            let says = root.contains("#![forbid(unsafe_code)]") || root.contains("#![deny(unsafe_code)]");
            if !says && !OPEN_CRATES.contains(&short(text(package, "name"))) {
                problems.push(format!("{path}: neither forbids nor denies unsafe code"));
            }
        }
    }
    nothing_wrong(&problems);
}

#[test]
fn unsafe_code_is_where_it_may_be() {
    let mut problems = Vec::new();
    for path in with_extension("rs") {
        let name = path.to_string_lossy();
        let parts: Vec<&str> = name.split('/').collect();
        let ["crates", _, "src", inner @ ..] = parts.as_slice() else { continue };
        // The macros' own code is safe; what they write out is not.
        if name.starts_with("crates/calls-macros/")
            || inner.first() == Some(&"sys")
            || UNSAFE_CODE.iter().any(|start| name.starts_with(start))
        {
            continue;
        }
        // What is in a text is not code of this file: macros and generators write some.
        let lines = read(&path);
        let found = lines.lines().position(|line| is_unsafe(line) && !line.contains('"'));
        if let Some(line) = found {
            problems.push(format!("{name}:{}: unsafe code has no place here; see UNSAFE_CODE", line + 1));
        }
    }
    nothing_wrong(&problems);
}
