//! Durable pages.
//!
#![doc = include_str!("../README.md")]
//!
//! ## Layers
//!
//! [`disk`] is durable bytes, [`store`] versions of numbered pages on it. The layout of the file is described
//! to the byte in `docs/formats/arena.md`.
//!
//! Not here: what is in a page (`banyan-arena`'s heap, the records of durable actors).
#![deny(unsafe_code)]

pub mod disk;
pub mod store;
#[expect(unsafe_code, reason = "memory that the kernel writes")]
mod sys;

#[cfg(test)]
mod crash_tests;
