//! What two crates need of Linux and no library covers: system calls and error numbers ([`raw`]), page faults
//! that a program serves ([`userfaultfd`]), which pages were written (`dirty_pages`), locks that end with
//! their process (`byte_locks`), what belongs to a process and not to those forked from it (`owner`),
//! processes held to a part of a processor (`control_group`), where the node is (`node_socket`).
//!
//! Descriptors are owned or borrowed, choices are enums, and a safe function cannot be misused. Not for what
//! one crate alone needs: that lies in its `src/sys`.
//!
//! Everything without the `std` feature works where there is no C library: the stub uses it inside the
//! program.
#![cfg_attr(not(feature = "std"), no_std)]

#[cfg(feature = "std")]
pub mod byte_locks;
#[cfg(feature = "std")]
pub mod control_group;
#[cfg(feature = "std")]
pub mod dirty_pages;
#[cfg(feature = "std")]
pub mod node_socket;
#[cfg(feature = "std")]
pub mod owner;
pub mod raw;
pub mod userfaultfd;
