//! Explicit heaps for programs in C and C++: what `include/banyan_heap.h` declares, over the crate
//! `banyan-heap`.
//!
//! Every function gives 0, or a negative error number and a text for [`bn_message`](errors::bn_message). The
//! linker makes a shared library of this archive, with a version for its symbols (`install.sh`).
//!
//! Not for Rust programs: they use `banyan-heap`.
#![expect(unsafe_code, reason = "functions that C calls, with C's pointers")]
// What a caller must keep to is in the header, which is what callers read.
#![allow(clippy::missing_safety_doc)]
#![allow(unreachable_pub, reason = "the linker sees them")]

mod atomics;
mod errors;
mod heaps;
mod locks;
mod memory;
mod threads;
