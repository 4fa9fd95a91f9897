//! Clocks, the same on every node.

pub mod vdso;
