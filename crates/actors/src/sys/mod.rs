//! The unsafe code of this crate, behind safe interfaces: memory of guests, the gate that cuts them off, and
//! three structures whose own code the compiler cannot vouch for.
//!
//! Not here: what other crates need of Linux too (`banyan_sys`).
#![expect(unsafe_code, reason = "the one folder of this crate that may")]

pub(crate) mod allocator;
// What the queue between threads is made of: the tests with loom have another module of this name.
mod atomic {
    pub(crate) use std::sync::atomic::{AtomicPtr, Ordering};
}
pub(crate) mod batch_queue;
pub(crate) mod cut_off;
pub(crate) mod erased;
pub(crate) mod guest_memory;
pub(crate) mod lent;
pub(crate) mod punctual;
