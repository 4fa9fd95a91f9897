//! Objects by raw pointer: where the program's own data goes, and where collections and nouns get their
//! memory.
//!
//! The one part of the arena that asks promises of its caller: an object is freed once, and as it was
//! allocated.

use std::alloc::Layout;
use std::ptr::NonNull;

use super::{AllocateError, Arena};
use crate::disk::{BLOCK_SIZE, Disk};
use crate::heap::{Allocator, Fresh, Heap, Slot, Slots, class_of};
use crate::sys::scratch_stack::Shield;

/// Freed objects of at least this many bytes give their pages back at once; smaller ones with the next commit
/// that finds as many bytes in whole granules free.
const DISCARD_MIN: usize = 1 << 20;

impl<D: Disk> Arena<D> {
    /// Memory for an object, not zeroed. It is part of the next commit, and gone after a rollback. The
    /// program reads and writes it by pointer, while no method of the arena runs.
    ///
    /// # Errors
    /// [`AllocateError`] if the reservation is used up, or the alignment is above 64 KiB.
    #[inline]
    pub fn allocate(&mut self, layout: Layout) -> Result<NonNull<u8>, AllocateError> {
        self.check_allocation()?;
        let Heap { memory, allocator } = &mut self.heap;
        let address = allocator.allocate(layout, &mut |Fresh { offset, length }| {
            // What lies outside of the heap is not undone if an event is stopped here.
            let _shield = Shield::new();
            memory.populate(offset, length);
        });
        let pointer = address.and_then(|at| NonNull::new(std::ptr::with_exposed_provenance_mut(at)));
        pointer.ok_or(AllocateError::Full { size: layout.size(), alignment: layout.align() })
    }

    /// A forked process has no heap.
    #[inline]
    pub(crate) fn check_allocation(&self) -> Result<(), AllocateError> {
        if self.owner.is_here() { Ok(()) } else { Err(AllocateError::Forked) }
    }

    /// Memory for a noun, and where it lies for the collector. Nouns are never freed by hand.
    #[inline]
    pub(crate) fn allocate_noun(&mut self, size: usize) -> Result<(NonNull<u8>, Slot), AllocateError> {
        self.check_allocation()?;
        let Heap { memory, allocator } = &mut self.heap;
        let found = allocator.allocate_noun(size, &mut |Fresh { offset, length }| {
            let _shield = Shield::new();
            memory.populate(offset, length);
        });
        let (address, slot) = found.ok_or(AllocateError::Full { size, alignment: 16 })?;
        let pointer = NonNull::new(std::ptr::with_exposed_provenance_mut(address));
        Ok((pointer.ok_or(AllocateError::Full { size, alignment: 16 })?, slot))
    }

    /// Memory for one noun or more of a size, which is that of a small one; for no more than `most`, which is
    /// at least 1.
    pub(crate) fn allocate_nouns(&mut self, size: usize, most: usize) -> Result<Slots, AllocateError> {
        self.check_allocation()?;
        let Heap { memory, allocator } = &mut self.heap;
        let found = allocator.allocate_nouns(class_of(size), most, &mut |Fresh { offset, length }| {
            let _shield = Shield::new();
            memory.populate(offset, length);
        });
        found.ok_or(AllocateError::Full { size, alignment: 16 })
    }

    /// An object that no pointer frees is made: a collection that is under way counts it as in use.
    #[inline]
    pub(crate) fn noun_is_new(&mut self, slot: Slot) {
        if let Some(collector) = &mut self.collector {
            collector.object_is_new(slot);
        }
    }

    pub(crate) fn allocator(&self) -> &Allocator {
        &self.heap.allocator
    }
    pub(crate) fn allocator_mut(&mut self) -> &mut Allocator {
        &mut self.heap.allocator
    }

    /// Gives an object's memory back.
    ///
    /// # Safety
    /// The pointer came from [`Arena::allocate`] of this arena, in this or an earlier process, with this
    /// layout; it was not freed since, and is used no more.
    pub unsafe fn free(&mut self, pointer: NonNull<u8>, layout: Layout) {
        if !self.is_here() {
            return;
        }
        // SAFETY: as the caller promises.
        let freed = unsafe { self.heap.allocator.free(pointer.as_ptr() as usize, layout) };
        if let Some(freed) = freed.filter(|fresh| fresh.length >= DISCARD_MIN) {
            self.heap.allocator.is_discarded(freed);
            // SAFETY: the object is free, so no reference leads to its pages.
            unsafe { self.discard(freed) };
        }
    }

    /// Gives the pages of what small frees have left back, when they are many enough to be worth the calls.
    pub(super) fn give_back(&mut self) {
        for range in self.heap.allocator.take_emptied(DISCARD_MIN) {
            // SAFETY: the range is free, so no reference leads to its pages.
            unsafe { self.discard(range) };
        }
    }

    /// Gives the pages of free memory back; they are zero in the next commit.
    ///
    /// # Safety
    /// No reference leads into the range, which is whole pages.
    pub(crate) unsafe fn discard(&mut self, Fresh { offset, length }: Fresh) {
        let _shield = Shield::new();
        let (page, count) = ((offset / BLOCK_SIZE) as u32, length / BLOCK_SIZE);
        // SAFETY: as the caller promises.
        if unsafe { self.heap.memory.discard(page, count) }.is_ok() {
            let first = u64::from(page);
            self.discarded.insert(first..first + count as u64, 0);
        }
    }

    /// Changes the size of an object, moving it if it must.
    ///
    /// # Safety
    /// As for [`Arena::free`]; the old pointer is dead if this succeeds.
    ///
    /// # Errors
    /// [`AllocateError`]; the object is then as it was.
    pub unsafe fn reallocate(
        &mut self,
        pointer: NonNull<u8>,
        old: Layout,
        size: usize,
    ) -> Result<NonNull<u8>, AllocateError> {
        let error = AllocateError::Full { size, alignment: old.align() };
        let new = Layout::from_size_align(size, old.align()).map_err(|_| error)?;
        self.check_allocation()?;
        // The same place serves only if it would also be freed the same way.
        if Allocator::capacity(old) == Allocator::capacity(new) {
            return Ok(pointer);
        }
        let moved = self.allocate(new)?;
        // SAFETY: both objects are live, distinct, and have at least the smaller size.
        unsafe {
            std::ptr::copy_nonoverlapping(pointer.as_ptr(), moved.as_ptr(), old.size().min(size));
            self.free(pointer, old);
        }
        Ok(moved)
    }
}
