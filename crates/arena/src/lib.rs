//! A persistent heap that survives any crash.
//!
#![doc = include_str!("../README.md")]
//!
//! ## Layers
//!
//! Each is usable alone: [`disk`] (durable bytes), [`store`] (versions of numbered pages), the heap, and on
//! it [`collections`], [`mod@noun`]s, and [`events`] that are committed whole or never were. The layout of
//! the file is described to the byte in `docs/formats/arena.md`.
//!
//! Unsafe code is in `sys` (the kernel, memory between threads), `heap` (what lies at an address), and the
//! typed views of the heap: `collections`, `noun` and `arena::objects`. The rest, the store above all, is
//! checked by the compiler.
#![deny(unsafe_code)]

mod arena;
#[expect(unsafe_code, reason = "typed views of objects in the heap")]
pub mod collections;
mod committer;
pub mod events;
#[expect(unsafe_code, reason = "what lies at an address of the heap, and whether it is there")]
mod heap;
pub mod image;
pub mod inspect;
#[expect(unsafe_code, reason = "views of cells and atoms in the heap")]
pub mod noun;
mod reader;
#[expect(unsafe_code, reason = "the kernel, and memory that is shared between threads")]
mod sys;

pub use banyan_pages::{disk, store};

pub use arena::{
    AllocateError, Arena, ArenaError, ArenaOptions, DEFAULT_BASE, DEFAULT_RESERVATION, Loading, RollbackError,
};
pub use heap::{PagerStatistics, Tracking};
pub use reader::{ReaderError, SnapshotReader};
