//! Linux, made safe: the kernel interfaces that Banyan needs and no library covers.
//!
//! Everything without the `std` feature works where there is no C library: the stub uses it inside the
//! program.
#![cfg_attr(not(feature = "std"), no_std)]

#[cfg(feature = "std")]
pub mod call_channel;
#[cfg(feature = "std")]
pub mod call_memory;
#[cfg(feature = "std")]
pub mod call_process;
#[cfg(feature = "std")]
pub mod call_socket;
#[cfg(feature = "std")]
pub mod descriptors;
#[cfg(feature = "std")]
pub mod dirty_pages;
pub mod raw;
#[cfg(feature = "std")]
pub mod sandbox;
#[cfg(feature = "std")]
pub mod scheduling;
pub mod signal_frame;
pub mod userfaultfd;
