//! What explicit heaps need of Linux and of memory that other processes write, behind interfaces for the rest
//! of the crate.
//!
//! Not for what other crates need too: that is in `banyan-sys`.

pub(crate) mod clock;
pub(crate) mod copies;
pub(crate) mod forks;
pub(crate) mod futex;
pub(crate) mod memory;
pub(crate) mod registry;
