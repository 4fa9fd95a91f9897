//! The heap: an address range whose pages are loaded, tracked and dropped, and in it the allocator, which
//! decides where an object goes.
//!
//! `memory` is the range; `tracker` finds written pages, one of several ways behind one trait; `pager` brings
//! pages in when they are touched and drops clean ones under a budget; `chunks` remembers what to scan;
//! `allocator` places objects, `spans` those that a collector frees.
//!
//! The rules of access: the program's objects are read and written by raw pointers, while no method of the
//! arena runs; views of them (collections, nouns) borrow the arena; the allocator's own words are written by
//! its `&mut` methods. The pager brings a page and takes it away without changing what is seen there. So a
//! page may be lent as a slice for as long as the [`Heap`] is borrowed.
//!
//! Not for durability: that is the store's. Not for deciding when: that is the arena's.

mod allocator;
mod chunks;
mod memory;
mod page_runs;
mod pager;
mod spans;
mod tracker;

use std::io;
use std::sync::Arc;

pub(crate) use self::allocator::{Allocator, Fresh, GRANULE, class_of};
pub(crate) use self::memory::HeapMemory;
pub(crate) use self::page_runs::PageRuns;
pub use self::pager::PagerStatistics;
pub(crate) use self::spans::{Bitmap, Slot, Slots, Swept, WORDS};
pub use self::tracker::Tracking;
use crate::disk::{BLOCK_SIZE, Disk};
use crate::store::{Committed, ReadError};

/// When the committed pages come into memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Arrival {
    /// All of them now.
    Now,
    /// Each when it is touched; of those no more than this many bytes stay.
    WhenTouched(Option<usize>),
}

/// Why the pages of a commit are not a heap now. What is in memory is undefined.
#[derive(Debug)]
pub(crate) enum LoadError {
    /// Memory, or the tracking of writes, failed.
    Memory(io::Error),
    /// A page could not be read.
    Read(ReadError),
    /// The pages are those of another version, or no heap.
    ForeignHeap,
}

impl From<ReadError> for LoadError {
    fn from(error: ReadError) -> Self {
        Self::Read(error)
    }
}

impl From<io::Error> for LoadError {
    fn from(error: io::Error) -> Self {
        Self::Memory(error)
    }
}

/// Pages of a commit, with what was changed since.
pub(crate) struct Heap<D> {
    /// The address range.
    pub(crate) memory: HeapMemory<D>,
    /// What lies where in it.
    pub(crate) allocator: Allocator,
}

impl<D: Disk> Heap<D> {
    /// The heap of a commit in fresh memory.
    pub(crate) fn load(
        mut memory: HeapMemory<D>,
        committed: Arc<Committed<D>>,
        arrival: Arrival,
    ) -> Result<Self, LoadError> {
        match arrival {
            Arrival::WhenTouched(budget) => {
                let served = committed.page_bound()? as usize * BLOCK_SIZE;
                memory.page_from(committed, served, budget)?;
            }
            Arrival::Now => {
                committed.read_pages(committed.pages()?, &mut |page, bytes| {
                    // SAFETY: the mapping is fresh and nothing refers to it yet.
                    unsafe { memory.pages_mut(page, 1) }.copy_from_slice(bytes?);
                    Ok::<(), ReadError>(())
                })?;
                // What was loaded is clean; what `attach` writes below is dirty again.
                memory.take_dirty()?;
            }
        }
        memory.populate(0, 1);
        let allocator = attach(&memory)?;
        for Fresh { offset, length } in allocator.extent() {
            match arrival {
                Arrival::WhenTouched(_) => memory.serve_below(offset + length)?,
                Arrival::Now => memory.populate(offset, length),
            }
        }
        Ok(Self { memory, allocator })
    }

    /// The bytes of a page.
    pub(crate) fn page(&self, page: u32) -> &[u8] {
        // SAFETY: the heap is borrowed, so nothing writes there; see the head of this module.
        unsafe { self.memory.page(page) }
    }

    /// Pages that were written since this was last asked, ascending; clean from then on.
    pub(crate) fn take_dirty(&mut self) -> io::Result<Vec<u32>> {
        if self.memory.tracking() == Tracking::Explicit {
            let mut own = Vec::new();
            self.allocator.own_ranges(&mut |range| own.push(range));
            for Fresh { offset, length } in own {
                self.memory.compare(offset, length)?;
            }
        }
        self.memory.take_dirty()
    }

    /// Brings the pages that were written since a commit back to what they were then. Views of objects cannot
    /// be alive, since the arena is borrowed; raw pointers are the program's business.
    pub(crate) fn roll_back(&mut self, dirty: &[u32], committed: &Committed<D>) -> Result<(), LoadError> {
        if self.memory.is_paged() {
            // SAFETY: as above.
            unsafe { self.memory.restore(dirty) }?;
        } else {
            self.reload(dirty, committed)?;
        }
        // What was just restored is clean.
        self.take_dirty()?;
        self.allocator = attach(&self.memory)?;
        Ok(())
    }

    /// Reads pages back as they were committed.
    fn reload(&mut self, pages: &[u32], committed: &Committed<D>) -> Result<(), LoadError> {
        let mut entries = Vec::with_capacity(pages.len());
        for page in pages {
            match committed.locate(*page)? {
                Some(entry) => entries.push((*page, entry)),
                // SAFETY: as in `roll_back`.
                None => unsafe { self.memory.discard(*page, 1) }?,
            }
        }
        committed.read_pages(entries, &mut |page, bytes| {
            // SAFETY: as in `roll_back`.
            unsafe { self.memory.pages_mut(page, 1) }.copy_from_slice(bytes?);
            Ok::<(), LoadError>(())
        })
    }
}

/// The allocator whose state is in the pages.
fn attach<D: Disk>(memory: &HeapMemory<D>) -> Result<Allocator, LoadError> {
    // SAFETY: the memory is this heap's alone, lives as long as it, and is zero or was committed by an
    // allocator.
    let allocator = unsafe { Allocator::attach(memory.base(), memory.length()) };
    allocator.map_err(|allocator::ForeignHeap| LoadError::ForeignHeap)
}
