//! Fuzz targets: one for each decoder of bytes that come from elsewhere, whether from another node, a worker,
//! a guest, a peer, a file or a program.
//!
//! None may panic, overflow, run without bound or take memory without bound; where a format has one spelling
//! only, what decodes must encode to the same bytes. `tests/targets.rs` runs each of them for a moment in
//! every test run; `BANYAN_FUZZ_SECONDS=600` there, or the program `mutate`, for longer; `cargo fuzz` with a
//! nightly compiler sees coverage, too. Not for what a decoder's caller does with a message: tests of each
//! crate are for that.
#![forbid(unsafe_code)]

pub mod actor;
pub mod arena;
pub mod call;
pub mod heap;
pub mod image;
pub mod kept;
pub mod local;
pub mod mutate;
pub mod nodes;
pub mod stream;

/// Changes an input.
pub type Mutate = fn(&mut fastrand::Rng, &[u8]) -> Vec<u8>;

/// A decoder.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name, also that of its program for cargo-fuzz.
    pub name: &'static str,
    /// Decodes any bytes, and panics if that goes wrong.
    pub run: fn(&[u8]),
    /// Inputs to begin from: from nothing, mutation hardly ever finds what is right.
    pub inputs: fn() -> Vec<Vec<u8>>,
    /// What is put into inputs as it is.
    pub words: &'static [&'static str],
    /// Longer inputs are not mutated again.
    pub kept_bytes_max: usize,
    /// Changes the first input in a way of the format's own, with checksums made right; in place of the
    /// mutator.
    pub mutate: Option<Mutate>,
    /// Inputs in a test run.
    pub inputs_in_test: u64,
}

impl Target {
    /// A target that begins from nothing, and is run on many inputs.
    #[must_use]
    pub const fn new(name: &'static str, run: fn(&[u8])) -> Self {
        Self {
            name,
            run,
            inputs: Vec::new,
            words: &[],
            kept_bytes_max: 32 << 10,
            mutate: None,
            inputs_in_test: 20_000,
        }
    }
}

/// All targets.
#[must_use]
pub fn targets() -> Vec<Target> {
    [
        nodes::TARGETS,
        local::TARGETS,
        call::TARGETS,
        stream::TARGETS,
        actor::TARGETS,
        kept::TARGETS,
        arena::TARGETS,
        image::TARGETS,
        heap::TARGETS,
    ]
    .concat()
}

/// Runs the target of that name on one input.
///
/// # Panics
/// If there is no such target, or decoding went wrong.
pub fn run(name: &str, bytes: &[u8]) {
    let all = targets();
    let target = all.iter().find(|target| target.name == name);
    (target.expect("a target of that name").run)(bytes);
}
