//! Words that have no place here.

use crate::{all_files, nothing_wrong, read, with_extension};

/// Macros that are left in by mistake. They are spelt in two parts so that this file does not hold them.
const UNFINISHED: &[[&str; 2]] = &[["todo", "!("], ["unimplemented", "!("], ["dbg", "!("]];

/// Words for which English has plainer ones, in two parts, and what to write instead. A reader of another
/// language finds these in no dictionary, or asks who is meant.
const UNCLEAR: &[[&str; 3]] = &[
    ["who", "ever", "any caller that"],
    ["so mani", "eth", "every N-th"],
    ["as nat", "ively", "as in a native run"],
    ["here", "inafter", "below"],
    ["so many ti", "mes", "N times, or the given number of times"],
    ["such a o", "ne", "one, or it"],
    ["often", "er", "more often"],
    ["there", "by", "so, or name what does it"],
    ["thi", "ther", "there"],
];

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
fn prose_is_plain() {
    let mut problems = Vec::new();
    for path in all_files() {
        let text = read(&path).to_lowercase();
        for (number, line) in text.lines().enumerate() {
            for [first, rest, plain] in UNCLEAR {
                let word = [*first, *rest].concat();
                if line.contains(&word) {
                    problems.push(format!("{}:{}: {word}: write {plain}", path.display(), number + 1));
                }
            }
        }
    }
    nothing_wrong(&problems);
}

#[test]
fn nothing_names_one_machine() {
    let mut problems = Vec::new();
    for path in all_files() {
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
fn an_issue_is_seen_by_its_number() {
    let word = ["iss", "ue"].concat();
    assert!(names_an_issue(&format!("as {word} 12 says")) && names_an_issue(&format!("{word} #3")));
    assert!(!names_an_issue("an issue of 3 words"));
}
