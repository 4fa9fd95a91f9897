//! The process that calls: a program, or a drop-in library inside one.
//!
//! A call comes in through [`shim`] (a wrapped C library) or through [`connection`] itself, takes a worker
//! from `pool`, and is carried out by `exchange`. Not for where a program's own functions run: that is
//! [`crate::rust`].

pub mod blob;
pub mod connection;
pub(crate) mod exchange;
pub(crate) mod pool;
pub mod shim;
pub(crate) mod variables;
