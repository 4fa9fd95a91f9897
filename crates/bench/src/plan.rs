//! What is to be measured.

use crate::selection::Selection;
use std::path::PathBuf;

/// What to measure, and how thoroughly.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Which measurements.
    pub selection: Selection,
    /// Rounds of each side, if not as many as suit the bench.
    pub rounds: Option<u32>,
    /// Little of each, to see that it works: the figures mean nothing.
    pub quick: bool,
    /// Where the files of the arena's benches go; they need 6 GiB.
    pub directory: PathBuf,
    /// Where a drawing of commit times goes, as SVG.
    pub plot: Option<PathBuf>,
}

/// One bench: the name of its row, or what the names of its rows begin with, and what it measures.
#[derive(Clone, Copy, Debug)]
pub struct Bench {
    /// The name.
    pub name: &'static str,
    /// What is measured, for people.
    pub about: &'static str,
}
