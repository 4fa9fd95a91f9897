//! A persistent heap that survives any crash.
//!
//! An [`Arena`] is a heap in a file, mapped at the same address in every process that opens it, so it may hold
//! plain pointers into itself. [`Arena::commit`] makes all changes durable, all or none, in time
//! proportional to what changed; after a kill or a power cut at any instant the next
//! [`Arena::open`] is at the last commit. Snapshots cost nothing to retain.
//!
//! ```no_run
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use banyan_arena::{Arena, ArenaOptions};
//! let mut arena = Arena::open_or_create("counter.arena".as_ref(), ArenaOptions::default())?;
//! *arena.boxed("restarts", || 0_u64)? += 1;
//! arena.commit(0, 0)?;
//! println!("started {} times", *arena.boxed("restarts", || 0_u64)?);
//! # Ok(())
//! # }
//! ```
//!
//! Layers, each usable alone: [`disk`] (durable bytes), [`store`] (versions of numbered pages), the heap,
//! and on it [`collections`], [`mod@noun`]s, and [`events`] that are committed whole or never were.
//! The layout of the file is described to the byte in `docs/formats/arena.md`.

mod allocator;
mod arena;
pub mod collections;
mod committer;
pub mod disk;
pub mod events;
mod heap;
pub mod image;
pub mod noun;
mod reader;
pub mod store;
mod sys;
pub mod tool;
mod work_sharing;

#[cfg(test)]
mod crash_tests;

pub use arena::{
    AllocateError, Arena, ArenaError, ArenaOptions, DEFAULT_BASE, DEFAULT_RESERVATION, Loading, RollbackError,
};
pub use heap::{PagerStatistics, Tracking};
pub use reader::{ReaderError, SnapshotReader};
