//! What calls need of Linux, each file over one part of its interface.
//!
//! Not for decisions: those are their callers'.

pub(crate) mod channel;
pub(crate) mod memory;
pub(crate) mod process;
pub(crate) mod sandbox;
pub(crate) mod socket;
