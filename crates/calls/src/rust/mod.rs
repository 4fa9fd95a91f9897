//! What `#[isolated]` expands to: a Rust program's own functions, and functions of C libraries that a Rust
//! program declares.
//!
//! In the caller: [`isolated`], [`foreign`], [`discovery`], [`parallel`] and [`pending`]. In the worker,
//! which is the same program started again: [`registry`]. Not for programs that are not in Rust: those
//! have [`crate::generate`].

#[expect(unsafe_code, reason = "a service forks, and shares memory with its clients")]
pub mod discovery;
#[expect(unsafe_code, reason = "functions of C, with the arguments of its caller")]
pub mod foreign;
#[expect(unsafe_code, reason = "a thread's choice of a service is a pointer")]
pub mod isolated;
pub mod parallel;
pub mod pending;
#[expect(unsafe_code, reason = "the linker's table of the program's isolated functions")]
pub mod registry;
