//! Makes a drop-in for a C library: the same name, exports and versions, and behind each export a
//! call into another process.
//!
//! The program is not touched, nor the library. What a header says sharpens a wrapper (which
//! registers matter, what to return on failure); without it every register travels. Needs `gcc`.
//! Not for statically linked programs, macros and inline functions, or exported variables that
//! the library changes: the report names those.

mod emit;
mod exports;
mod header;

pub use emit::{Outcome, wrap};
pub use exports::{Export, Exports, derive_groups};
pub use header::{HeaderProblem, Signature};

use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::PathBuf;
use thiserror::Error;

/// Why a drop-in could not be made at all.
#[derive(Debug, Error)]
pub enum WrapError {
    /// A file could not be read or written.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The library is not one that can be wrapped.
    #[error("{path}: {reason}")]
    Library {
        /// The file.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// The policy is not valid.
    #[error("{path}: {reason}")]
    Policy {
        /// The file.
        path: PathBuf,
        /// Where and why.
        reason: String,
    },
    /// The compiler refused.
    #[error("gcc failed: {0}")]
    Compiler(String),
    /// A part of this crate is not where it is looked for.
    #[error("{0} is not beside this program, nor named by BANYAN_CALL_PROGRAM")]
    Missing(String),
}

/// What to do for functions, beyond what is inferred: the policy file.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Policy {
    /// For the whole library.
    pub library: LibraryPolicy,
    /// For single functions, by name.
    pub function: BTreeMap<String, FunctionPolicy>,
}

/// The policy of a library.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LibraryPolicy {
    /// Deadline of a call in milliseconds.
    pub deadline_ms: Option<u64>,
    /// Calls made again after a failure.
    pub retries: Option<u8>,
    /// Bytes of heap.
    pub heap_bytes: Option<u64>,
    /// Bytes of a thread's stack.
    pub stack_bytes: Option<u64>,
    /// Groups of system calls: `files-read`, `files-write`, `network`, `processes`, `everything`.
    pub allow: Option<Vec<String>>,
}

/// The policy of a function.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FunctionPolicy {
    /// Deadline in milliseconds.
    pub deadline_ms: Option<u64>,
    /// Calls made again after a failure; only for functions that may run twice.
    pub retries: Option<u8>,
    /// What the program sees on failure.
    pub failure: Option<i64>,
    /// `errno` on failure.
    pub errno: Option<u32>,
    /// End the program on failure.
    pub abort: bool,
    /// Do not wrap the function; the program gets the failure value.
    pub refuse: bool,
}
