//! What a file looks like: its length, its comments, what it opens with, and that a crate has it.

use crate::crates::{list, metadata, text};
use crate::{nothing_wrong, read, with_extension};
use banyan_tests::workspace;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Lines of a file.
const LONGEST: usize = 900;
/// Columns of a comment: `max_width` of rustfmt.toml.
const WIDEST: usize = 110;

#[test]
fn files_are_short_enough_to_read() {
    let problems: Vec<String> = with_extension("rs")
        .iter()
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
        .filter(|path| !read(path).trim_start().starts_with("//!"))
        .map(|path| format!("{}: does not open with `//!` and what it is for", path.display()))
        .collect();
    nothing_wrong(&problems);
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

#[test]
fn the_checks_see_what_they_look_for() {
    assert!(is_wide_comment(&format!("    // {}", "word ".repeat(22))));
    assert!(!is_wide_comment(&format!("// {}", "x".repeat(120))));
    assert_eq!(declared_module("pub(crate) mod name;"), Some("name"));
    assert_eq!(declared_module("mod name;"), Some("name"));
    assert_eq!(declared_module("pub mod name {"), None);
    assert_eq!(declared_module("// the mod name;"), None);
}
