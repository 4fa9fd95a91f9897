//! What calls need of Linux, each file over one part of its interface.
//!
//! Not for decisions: those are their callers'. Beside Linux, what no language has words for: an allocator
//! (`allocations`), jumps and their registers (`registers`).

pub mod allocations;
pub(crate) mod channel;
pub(crate) mod maps;
pub(crate) mod memory;
pub(crate) mod process;
pub(crate) mod registers;
pub(crate) mod sandbox;
pub(crate) mod socket;
