//! Clocks, the same on every node, and the vDSO by which programs read them.

pub mod image;
pub mod vdso;
