//! The process that calls: a program, or a drop-in library inside one.
//!
//! A call comes in through [`shim`] (a wrapped C library) or through [`connection`] itself, takes a worker
//! from `pool`, and is carried out by `exchange`. Not for where a program's own functions run: that is
//! [`crate::rust`].

#[expect(unsafe_code, reason = "objects in memory that the callee sees too")]
pub mod blob;
#[expect(unsafe_code, reason = "a window's parts, which it maps, and unmaps when no call can reach them")]
pub mod connection;
#[expect(unsafe_code, reason = "pages of the program that a callee touches; code that it calls back")]
pub(crate) mod exchange;
pub(crate) mod functions;
mod keeping;
pub mod launch;
#[expect(unsafe_code, reason = "called by code in C; asks the C library")]
pub(crate) mod locale;
#[expect(
    unsafe_code,
    reason = "a library's data, shown at its address from the slot of the worker that serves"
)]
pub(crate) mod pool;
pub(crate) mod renewed;
#[expect(unsafe_code, reason = "called by code in C, with its tables and its registers")]
pub mod shim;
#[expect(unsafe_code, reason = "variables of the program and of the library, by their addresses")]
pub(crate) mod variables;
