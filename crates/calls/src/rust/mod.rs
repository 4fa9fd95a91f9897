//! What `#[isolated]` expands to: a Rust program's own functions, and functions of C libraries that a Rust
//! program declares.
//!
//! In the caller: [`isolated`], [`foreign`], [`discovery`] and [`parallel`]. In the worker, which is the same
//! program started again: [`registry`]. Not for programs that are not in Rust: those have
//! [`crate::generate`].

pub mod discovery;
pub mod foreign;
pub mod isolated;
pub mod parallel;
pub mod registry;
