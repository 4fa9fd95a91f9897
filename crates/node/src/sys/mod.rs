//! What the daemon needs of Linux and no library covers, behind safe interfaces: children that die with it,
//! descriptors of other processes, its place among the machine's threads, signals for what it starts, and
//! what the kernel allows.
//!
//! Not for what other crates need too: that is in `banyan-sys`.

pub(crate) mod children;
pub(crate) mod descriptors;
pub(crate) mod probe;
pub(crate) mod scheduling;
pub(crate) mod signals;
