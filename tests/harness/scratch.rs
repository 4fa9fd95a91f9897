//! A directory of its own for each run: the program's working directory, and one for temporary files and
//! sockets, which must be empty again at the end.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, Result};

static NEXT: AtomicU64 = AtomicU64::new(0);

/// The directories of one run. They are removed when this is dropped.
#[derive(Debug)]
pub struct Scratch {
    root: PathBuf,
    /// What marks every process of the run, in the variable `BANYAN_RUN_ID`.
    pub run: String,
}

impl Scratch {
    /// Makes the directories of a new run.
    pub fn new() -> Result<Self> {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let run = format!("test-{}-{number}", std::process::id());
        // Short, since a socket's path may have 107 bytes only.
        let root = std::env::temp_dir().join(format!("banyan-{run}"));
        let scratch = Self { root, run };
        for directory in [scratch.work(), scratch.temporary()] {
            fs::create_dir_all(&directory).with_context(|| format!("making {}", directory.display()))?;
        }
        Ok(scratch)
    }

    /// The program's working directory.
    #[must_use]
    pub fn work(&self) -> PathBuf {
        self.root.join("work")
    }

    /// The directory for temporary files and sockets.
    #[must_use]
    pub fn temporary(&self) -> PathBuf {
        self.root.join("temporary")
    }

    /// Every file under the working directory, with its contents.
    pub fn files(&self) -> Result<BTreeMap<String, Vec<u8>>> {
        let mut files = BTreeMap::new();
        collect(&self.work(), "", &mut files)?;
        Ok(files)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // A left-over directory in the temporary directory hurts nobody.
        let _ = fs::remove_dir_all(&self.root);
    }
}

fn collect(directory: &Path, prefix: &str, files: &mut BTreeMap<String, Vec<u8>>) -> Result<()> {
    let entries = fs::read_dir(directory).with_context(|| format!("listing {}", directory.display()))?;
    for entry in entries {
        let entry = entry?;
        let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
        let kind = entry.file_type()?;
        if kind.is_dir() {
            collect(&entry.path(), &format!("{name}/"), files)?;
        } else if kind.is_file() {
            let contents = fs::read(entry.path()).with_context(|| format!("reading {name}"))?;
            files.insert(name, contents);
        } else {
            files.insert(name, format!("{kind:?}").into_bytes());
        }
    }
    Ok(())
}
