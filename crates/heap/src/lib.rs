//! Memory that processes share by name: the same bytes at the same address in each of them, with locks that
//! survive their holders.
//!
//! ```
//! use banyan_heap::{Heap, Options};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let directory = tempfile::tempdir_in("/dev/shm")?;
//! let options = Options::new().size(1 << 20);
//! # let options = options.directory(directory.path());
//! let heap = Heap::open("grid", &options)?;
//! let field = heap.slice::<f64>("field", 1000)?;
//! assert!(field.set(7, 0.5));
//! let total = heap.mutex("total", 0_u64)?;
//! *total.lock()?.repaired(|total| **total = 0)? += 1;
//! # Ok(())
//! # }
//! ```
//!
//! A heap is a file of a memory file system that every process maps at the heap's own address, so plain
//! pointers into it are good everywhere, and loads and stores are the machine's. What this crate adds is its
//! beginning and end ([`Heap::open`], leases, [`Heap::unlink`]), an allocator, names ([`Heap::root`]), and
//! locks ([`sync`]). All of it stays whole if any process is killed at any instruction.
//!
//! On one machine, for now: a heap is not yet shared between nodes, and what the models permit beyond
//! sequential consistency is not made use of.
//!
//! Not for data that outlives the machine: that is `banyan-arena`.
#![deny(unsafe_code)]

mod allocator;
mod attachment;
mod death;
mod directory;
mod error;
#[doc(hidden)]
pub mod fuzz;
mod heap;
mod identity;
mod layout;
mod options;
mod participants;
mod roots;
pub mod sync;
#[expect(unsafe_code, reason = "what this crate needs of Linux, and of memory that others write")]
mod sys;
mod typed;

pub use attachment::Attachment;
pub use error::{AllocateError, Damaged, FreeError, OpenError, RootError};
pub use heap::{Heap, HeapInfo};
pub use layout::{Model, Room};
pub use options::{Existing, Lease, Options};
pub use participants::ParticipantInfo;
pub use roots::{Root, TypeOf};
pub use sys::registry::attachment_of;
pub use typed::{
    Barrier, Condition, HeapSafe, Held, Mutex, MutexGuard, Once, ReadGuard, Repairable, RwLock, SharedU64,
    Slice, WriteGuard,
};
