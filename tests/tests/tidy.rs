//! The state of the source: file sizes, dead files, what each file opens with, edges between crates, links
//! in the documents, and words that have no place here.
#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use banyan_tests::workspace;
use serde_json::Value;

/// Lines of a file.
const LONGEST: usize = 1200;
/// Columns of a comment: `max_width` of rustfmt.toml.
const WIDEST: usize = 110;

/// Generated files: they may be long, and open with what their generator writes.
const GENERATED: &[&str] = &[];

/// Which crate may use which, by the last word of their names. Nothing points back. A crate may also use
/// what the crates that it uses may use.
const EDGES: &[(&str, &[&str])] = &[
    ("wire", &[]),
    ("core", &["wire"]),
    ("sys", &[]),
    ("stub", &["sys", "wire"]),
    // Its build script builds the stub, and its loader shares the stub's addresses.
    ("node", &["core", "sys", "stub"]),
    ("cli", &["actor-examples", "actors", "arena", "bench", "calls", "node"]),
    // Measures them all, and is what the command line prints.
    ("bench", &["actor-examples", "actors", "arena", "calls", "node"]),
    ("sim", &["core"]),
    ("heap", &["sys"]),
    ("calls", &["wire", "calls-macros"]),
    // The attribute of `calls`: a macro must be a crate of its own.
    ("calls-macros", &[]),
    ("arena", &["sys", "wire"]),
    // The decisions on sponsors are in `core`.
    ("actors", &["arena", "core", "sys"]),
    // Runs inside a sandbox, of which it knows only the documented interface.
    ("actor-guest", &[]),
    // Linked into the command line, which runs them by name.
    ("actor-examples", &["actors"]),
    // Every decoder of foreign bytes, wherever it is.
    ("fuzz", &["actors", "arena", "calls", "node", "wire"]),
    ("tests", &[]),
];

/// Crates whose every root says `forbid(unsafe_code)`.
const SAFE_CRATES: &[&str] =
    &["actor-examples", "core", "wire", "cli", "sim", "tests", "calls-macros", "node"];

/// Crates whose roots say nothing of unsafe code, since they consist of it or do not yet keep it in one
/// place. All others forbid it, or deny it and expect it where `UNSAFE_CODE` allows.
const OPEN_CRATES: &[&str] = &["sys", "stub", "actor-guest", "calls"];

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
    // Memory of guests: the engine asks for unsafe traits.
    "crates/actors/src/wasm/memory.rs",
    // Linear memory of a guest, shared with its host.
    "crates/actor-guest/src/",
    // Functions of other processes, called by their addresses.
    "crates/calls/src/",
    // Measured beside what others offer, in raw memory.
    "crates/bench/src/",
];

/// Macros that are left in by mistake. They are spelt in two parts so that this file does not hold them.
const UNFINISHED: &[[&str; 2]] = &[["todo", "!("], ["unimplemented", "!("], ["dbg", "!("]];

/// Paths of one machine, and hosts of package registries.
const FOREIGN: &[[&str; 2]] = &[
    ["/wo", "rk/"],
    ["/tmp/", "wt"],
    ["/root/", ".cargo"],
    ["/home/", "user"],
    ["index.crates", ".io"],
    ["static.crates", ".io"],
    ["registry.npmjs", ".org"],
    ["pypi", ".org"],
];

/// All files of the source, by their path from the root.
fn files() -> Vec<PathBuf> {
    let root = workspace::root();
    let mut found = Vec::new();
    let mut left = vec![root.clone()];
    while let Some(directory) = left.pop() {
        for entry in fs::read_dir(&directory).unwrap() {
            let entry = entry.unwrap();
            let name = entry.file_name().to_string_lossy().into_owned();
            let skipped = name == "target" || name == "node_modules" || name == ".git";
            if entry.file_type().unwrap().is_dir() {
                if !skipped {
                    left.push(entry.path());
                }
            } else if !skipped {
                found.push(entry.path().strip_prefix(&root).unwrap().to_path_buf());
            }
        }
    }
    found.sort();
    found
}

fn with_extension(extension: &str) -> Vec<PathBuf> {
    files().into_iter().filter(|path| path.extension().is_some_and(|found| found == extension)).collect()
}

fn read(path: &Path) -> String {
    fs::read_to_string(workspace::root().join(path)).unwrap_or_default()
}

fn is_generated(path: &Path) -> bool {
    GENERATED.iter().any(|generated| path == Path::new(generated))
}

#[track_caller]
fn nothing_wrong(problems: &[String]) {
    assert!(problems.is_empty(), "\n{}\n", problems.join("\n"));
}

#[test]
fn files_are_short_enough_to_read() {
    let problems: Vec<String> = with_extension("rs")
        .iter()
        .filter(|path| !is_generated(path))
        .map(|path| (path, read(path).lines().count()))
        .filter(|(_, lines)| *lines > LONGEST)
        .map(|(path, lines)| format!("{}: {lines} lines, more than {LONGEST}: split it", path.display()))
        .collect();
    nothing_wrong(&problems);
}

#[test]
fn comments_are_narrow_enough_to_read() {
    let problems: Vec<String> = with_extension("rs")
        .iter()
        .filter(|path| !is_generated(path))
        .flat_map(|path| {
            let lines = read(path);
            let wide = lines.lines().enumerate().filter(|(_, line)| is_wide_comment(line));
            wide.map(|(number, _)| format!("{}:{}: wider than {WIDEST}", path.display(), number + 1))
                .collect::<Vec<_>>()
        })
        .collect();
    nothing_wrong(&problems);
}

/// rustfmt keeps code within [`WIDEST`], and leaves comments as they are. A word that cannot be broken may be
/// wider.
fn is_wide_comment(line: &str) -> bool {
    let text = line.trim_start();
    let words = text.trim_start_matches(['/', '!', ' ']);
    text.starts_with("//") && line.chars().count() > WIDEST && words.contains(' ')
}

#[test]
fn files_open_with_what_they_are_for() {
    let problems: Vec<String> = with_extension("rs")
        .iter()
        .filter(|path| !is_generated(path))
        .filter(|path| !read(path).trim_start().starts_with("//!"))
        .map(|path| format!("{}: does not open with `//!` and what it is for", path.display()))
        .collect();
    nothing_wrong(&problems);
}

/// What Cargo knows of the workspace.
fn metadata() -> Value {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--offline", "--format-version", "1"])
        .current_dir(workspace::root())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn list<'a>(value: &'a Value, field: &str) -> &'a [Value] {
    value[field].as_array().map_or(&[], Vec::as_slice)
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_default()
}

#[test]
fn every_source_file_is_part_of_a_crate() {
    let mut reached = BTreeSet::new();
    for package in list(&metadata(), "packages") {
        for target in list(package, "targets") {
            reach(Path::new(text(target, "src_path")), true, &mut reached);
        }
    }
    let root = workspace::root().canonicalize().unwrap();
    let problems: Vec<String> = with_extension("rs")
        .into_iter()
        // Programs under test are compiled one by one.
        .filter(|path| !path.starts_with("tests/programs"))
        // Guests are built for another target, outside of the workspace.
        .filter(|path| !path.starts_with("examples/guests"))
        .filter(|path| !reached.contains(&root.join(path)))
        .map(|path| format!("{}: no `mod` leads to it", path.display()))
        .collect();
    nothing_wrong(&problems);
}

/// Follows the `mod` lines of a file. A root, and a `mod.rs`, have their modules beside them; any other file
/// has them in the directory of its own name.
fn reach(path: &Path, is_root: bool, reached: &mut BTreeSet<PathBuf>) {
    let Ok(path) = path.canonicalize() else { return };
    if !reached.insert(path.clone()) {
        return;
    }
    let beside = path.parent().unwrap();
    let own = beside.join(path.file_stem().unwrap());
    let is_beside = is_root || path.file_name().is_some_and(|name| name == "mod.rs");
    let directory = if is_beside { beside } else { &own };
    let source = fs::read_to_string(&path).unwrap();
    let mut named_path = None;
    for line in source.lines().map(str::trim) {
        if let Some(quoted) = line.strip_prefix("#[path = \"") {
            named_path = quoted.split('"').next().map(|name| beside.join(name));
        } else if let Some(quoted) = line.split("include!(\"").nth(1) {
            reach(&beside.join(quoted.split('"').next().unwrap()), true, reached);
        } else if let Some(name) = declared_module(line) {
            match named_path.take() {
                Some(path) => reach(&path, false, reached),
                None => {
                    reach(&directory.join(format!("{name}.rs")), false, reached);
                    reach(&directory.join(name).join("mod.rs"), false, reached);
                }
            }
        }
    }
}

/// The name in a line such as `pub(crate) mod name;`.
fn declared_module(line: &str) -> Option<&str> {
    let (before, rest) = line.split_once("mod ")?;
    let is_visibility = before.is_empty() || (before.starts_with("pub") && before.ends_with(' '));
    let name = rest.strip_suffix(';')?;
    (is_visibility && name.chars().all(|letter| letter.is_alphanumeric() || letter == '_')).then_some(name)
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

#[test]
fn links_in_documents_lead_somewhere() {
    let mut problems = Vec::new();
    for path in with_extension("md") {
        let document = read(&path);
        let directory = workspace::root().join(path.parent().unwrap());
        for link in links(&document) {
            let target = link.split('#').next().unwrap_or_default();
            let is_elsewhere = target.contains("://") || target.starts_with("mailto:");
            if !target.is_empty() && !is_elsewhere && !directory.join(target).exists() {
                problems.push(format!("{}: the link {link} leads nowhere", path.display()));
            }
        }
    }
    nothing_wrong(&problems);
}

/// The targets of `[text](target)`, outside of code.
fn links(document: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut in_code = false;
    for line in document.lines() {
        if line.trim_start().starts_with("```") {
            in_code = !in_code;
        }
        if in_code {
            continue;
        }
        // Every other part between backticks is code.
        let prose: Vec<&str> = line.split('`').step_by(2).collect();
        for rest in prose.join("`").split("](").skip(1) {
            if let Some((target, _)) = rest.split_once(')') {
                found.push(target.split_whitespace().next().unwrap_or_default().to_owned());
            }
        }
    }
    found
}

#[test]
fn nothing_is_left_unfinished() {
    let mut problems = Vec::new();
    for path in with_extension("rs") {
        for (number, line) in read(&path).lines().enumerate() {
            for parts in UNFINISHED {
                if line.contains(&parts.concat()) {
                    problems.push(format!("{}:{}: {}", path.display(), number + 1, line.trim()));
                }
            }
        }
    }
    nothing_wrong(&problems);
}

#[test]
fn nothing_names_one_machine() {
    let mut problems = Vec::new();
    for path in files() {
        // Cargo writes the registry's name into the lock file.
        if path.file_name().is_some_and(|name| name == "Cargo.lock") {
            continue;
        }
        for (number, line) in read(&path).lines().enumerate() {
            for parts in FOREIGN {
                if line.contains(&parts.concat()) {
                    problems.push(format!("{}:{}: {}", path.display(), number + 1, line.trim()));
                }
            }
            if names_an_issue(line) {
                problems.push(format!(
                    "{}:{}: {}: say what it is about",
                    path.display(),
                    number + 1,
                    line.trim()
                ));
            }
        }
    }
    nothing_wrong(&problems);
}

/// Whether a line speaks of an issue by its number, which means nothing to most readers.
fn names_an_issue(line: &str) -> bool {
    let lower = line.to_lowercase();
    lower.match_indices("issue").any(|(place, word)| {
        let rest = lower[place + word.len()..].trim_start_matches('s').trim_start_matches([' ', '#']);
        rest.starts_with(|first: char| first.is_ascii_digit())
    })
}

#[test]
fn the_checks_see_what_they_look_for() {
    assert!(is_wide_comment(&format!("    // {}", "word ".repeat(22))));
    assert!(!is_wide_comment(&format!("// {}", "x".repeat(120))));
    assert_eq!(declared_module("pub(crate) mod name;"), Some("name"));
    assert_eq!(declared_module("mod name;"), Some("name"));
    assert_eq!(declared_module("pub mod name {"), None);
    assert_eq!(declared_module("// the mod name;"), None);
    assert_eq!(links("see [a](b.md#c) and `[x](y)`\n```\n[z](w)\n```\n"), ["b.md#c"]);
    let word = ["iss", "ue"].concat();
    assert!(names_an_issue(&format!("as {word} 12 says")) && names_an_issue(&format!("{word} #3")));
    assert!(!names_an_issue("an issue of 3 words"));
}
