//! The state of the source: the shape of files and crates, circles of modules, public items that have no
//! use, links in the documents, and words that have no place here. Each check lists all it finds.
#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod circles;
mod crates;
mod documents;
mod files;
mod items;
mod source;
mod words;

use banyan_tests::workspace;
use std::fs;
use std::path::{Path, PathBuf};

/// All files of the source, by their path from the root.
fn all_files() -> Vec<PathBuf> {
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
    all_files().into_iter().filter(|path| path.extension().is_some_and(|found| found == extension)).collect()
}

fn read(path: &Path) -> String {
    fs::read_to_string(workspace::root().join(path)).unwrap_or_default()
}

#[track_caller]
fn nothing_wrong(problems: &[String]) {
    assert!(problems.is_empty(), "\n{}\n", problems.join("\n"));
}
