//! Linux, made safe: the kernel interfaces that Banyan needs and no library covers. And the few structures in memory whose
//! own code the compiler cannot vouch for (`batch_queue`, `erased`), behind safe interfaces.
//!
//! Everything without the `std` feature works where there is no C library: the stub uses it inside the program.
#![cfg_attr(not(feature = "std"), no_std)]

// What the queue between threads is made of: the tests with loom have another module of this name.
#[cfg(feature = "std")]
mod atomic {
    pub(crate) use std::sync::atomic::{AtomicPtr, Ordering};
}
#[cfg(feature = "std")]
pub mod batch_queue;
#[cfg(feature = "std")]
pub mod call_channel;
#[cfg(feature = "std")]
pub mod call_memory;
#[cfg(feature = "std")]
pub mod call_process;
#[cfg(feature = "std")]
pub mod call_socket;
#[cfg(feature = "std")]
pub mod cut_off;
#[cfg(feature = "std")]
pub mod demand_paging;
#[cfg(feature = "std")]
pub mod descriptors;
#[cfg(feature = "std")]
pub mod dirty_pages;
#[cfg(feature = "std")]
pub mod erased;
#[cfg(feature = "std")]
pub mod guest_memory;
#[cfg(feature = "std")]
pub mod mapping;
pub mod raw;
#[cfg(feature = "std")]
pub mod sandbox;
#[cfg(feature = "std")]
pub mod scheduling;
pub mod signal_frame;
pub mod userfaultfd;
