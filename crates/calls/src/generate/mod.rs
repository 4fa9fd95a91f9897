//! Makes a drop-in for a C library: the same name, exports and versions, and behind each export a
//! call into another process.
//!
//! The program is not touched, nor the library. What a header says sharpens a wrapper (which
//! registers matter, what to return on failure); without it every register travels. Needs `gcc`.
//! From a library to its drop-in: `exports` reads the library, `header` and `declarations` what is
//! declared, `types` and `convention` say how that travels, `wrap` decides, `emit` writes, `check` tries
//! it. Not for statically linked programs, macros and inline functions.

mod check;
mod computing;
mod convention;
mod declarations;
mod emit;
mod exec;
mod exports;
mod groups;
mod header;
mod program;
mod types;
mod wrap;

pub use convention::{Signature, can_pass};
pub use exec::{Prepared, prepare};
pub use exports::{Export, Exports, Pointer};
pub use groups::derive_groups;
pub use header::{Header, parse};
pub use program::check_program;
pub use wrap::{Coverage, Outcome, Proof, wrap};

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
    /// No library of the program can be isolated.
    #[error("{path}: {reason}")]
    Program {
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
    /// Processor time of a call in milliseconds, at which its worker is ended; unlimited if not given.
    pub cpu_ms: Option<u32>,
    /// Calls made again after a failure.
    pub retries: Option<u8>,
    /// Bytes of heap.
    pub heap_bytes: Option<u64>,
    /// Bytes of a thread's stack.
    pub stack_bytes: Option<u64>,
    /// Groups of system calls: `files-read`, `files-write`, `network`, `processes`, `everything`.
    pub allow: Option<Vec<String>>,
    /// Whether the library leaves the network, unless it may use that, and the machine's shared objects; it
    /// does if not given.
    pub namespaces: Option<bool>,
}

/// What a failed call returns.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(untagged)]
pub enum FailureValue {
    /// From a function that returns an integer or a pointer.
    Integer(i64),
    /// From a function that returns a `float` or `double`.
    Real(f64),
}

/// The policy of a function.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FunctionPolicy {
    /// Deadline in milliseconds.
    pub deadline_ms: Option<u64>,
    /// Processor time in milliseconds.
    pub cpu_ms: Option<u32>,
    /// Calls made again after a failure; only for functions that may run twice.
    pub retries: Option<u8>,
    /// What the program sees on failure.
    pub failure: Option<FailureValue>,
    /// `errno` on failure.
    pub errno: Option<u32>,
    /// End the program on failure.
    pub abort: bool,
    /// Do not call the function; the program gets the failure value, and `ENOSYS`.
    pub refuse: bool,
}
