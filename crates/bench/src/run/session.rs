//! What the benches of one call share: a directory for their files, marks for their processes, their rounds.

use super::guard::Guard;
use super::processes;
use anyhow::Context;
use rustix::thread::CpuSet;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Rounds unless told otherwise.
const ROUNDS: u32 = 5;

/// The benches of one call.
pub(crate) struct Session {
    rounds: Option<u32>,
    directory: PathBuf,
    mark: String,
    runs: u32,
    /// Cleans up after the bench however it ends. Dropped last.
    _guard: Guard,
}

impl Session {
    /// Makes the directory, and has everything removed when the bench ends, however it ends.
    pub(crate) fn new(rounds: Option<u32>) -> anyhow::Result<Self> {
        let mark = format!("bench-{}", std::process::id());
        let directory = std::env::temp_dir().join(format!("banyan-{mark}"));
        processes::adopt_orphans()?;
        let guard = Guard::start(&mark, &directory)?;
        std::fs::create_dir(&directory).with_context(|| format!("making {}", directory.display()))?;
        Ok(Self { rounds, directory, mark, runs: 0, _guard: guard })
    }

    /// How many rounds, if no other number makes more sense for this measure.
    pub(crate) fn rounds(&self) -> u32 {
        self.rounds.unwrap_or(ROUNDS)
    }

    /// How many rounds of a measure that takes long.
    pub(crate) fn rounds_of_long(&self) -> u32 {
        self.rounds.unwrap_or(3)
    }

    /// A mark for one run.
    pub(crate) fn next_run(&mut self) -> String {
        self.runs += 1;
        format!("{}-{}", self.mark, self.runs)
    }

    /// A program in C, compiled with this option beside the usual: once for all benches that want it.
    pub(crate) fn compiled(&self, name: &str, source: &str, option: &str) -> anyhow::Result<PathBuf> {
        let program = self.directory.join(name);
        if !program.is_file() {
            let file = program.with_extension("c");
            std::fs::write(&file, source)?;
            let status = Command::new("gcc").args(["-O2", option, "-o"]).arg(&program).arg(&file).status();
            let is_compiled = status.context("running gcc")?.success();
            anyhow::ensure!(is_compiled, "gcc does not compile {}", file.display());
        }
        Ok(program)
    }

    /// The directory for files; it goes with the bench.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }
}

/// The processors that the bench may use.
pub(crate) fn processors() -> Vec<usize> {
    let allowed = rustix::thread::sched_getaffinity(None).unwrap_or_default();
    (0..CpuSet::MAX_CPU).filter(|processor| allowed.is_set(*processor)).collect()
}

/// A set of one processor.
pub(crate) fn only(processor: usize) -> CpuSet {
    let mut set = CpuSet::new();
    set.set(processor);
    set
}
