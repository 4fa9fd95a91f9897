//! The mapping of a heap's file: the same address in every process.
//!
//! The first part is the heap's own (its *metadata*), which all processes read and write as atomic words; the
//! rest belongs to the users, and no reference leads into it from here except to words of locks.
//!
//! Invariant: nothing but atomics refers to metadata, and an index outside of it is refused. What another
//! process has written there is never believed.

use std::io;
use std::os::fd::AsFd;
use std::sync::atomic::AtomicU64;

use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

/// A heap's file in memory. Unmapped on drop.
#[derive(Debug)]
pub(crate) struct Memory {
    base: usize,
    bytes: usize,
    metadata: usize,
}

impl Memory {
    /// Maps the first `bytes` of `file` at `base`, of which the first `metadata` are the heap's own.
    ///
    /// # Errors
    /// `AlreadyExists` if something else is mapped there, which is left alone; else what the kernel says.
    pub(crate) fn map(file: &impl AsFd, base: usize, bytes: usize, metadata: usize) -> io::Result<Self> {
        assert!(metadata.is_multiple_of(8) && metadata <= bytes && base.is_multiple_of(4096));
        let address = std::ptr::without_provenance_mut(base);
        let flags = MapFlags::SHARED | MapFlags::NORESERVE | MapFlags::FIXED_NOREPLACE;
        // SAFETY: FIXED_NOREPLACE makes the kernel refuse a range in which anything is mapped, so no memory
        // that someone else uses changes.
        let got = unsafe { mmap(address, bytes, ProtFlags::READ | ProtFlags::WRITE, flags, file, 0) }?;
        let memory = Self { base: got.expose_provenance(), bytes, metadata };
        if memory.base != base {
            // A kernel older than the flag, or an emulator, takes the address for a hint.
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        Ok(memory)
    }

    /// First address.
    pub(crate) fn base(&self) -> usize {
        self.base
    }

    /// First address of all, and the one after the last.
    pub(crate) fn range(&self) -> (usize, usize) {
        (self.base, self.base + self.bytes)
    }

    /// First address of the users' part, and the one after it.
    pub(crate) fn data(&self) -> (usize, usize) {
        (self.base + self.metadata, self.base + self.bytes)
    }

    /// Whether `[address, address + length)` lies in the users' part.
    pub(crate) fn holds(&self, address: usize, length: usize) -> bool {
        let (start, end) = self.data();
        address >= start && address.checked_add(length).is_some_and(|last| last <= end)
    }

    /// The heap's own part.
    pub(crate) fn metadata(&self) -> &[AtomicU64] {
        let words: *const AtomicU64 = std::ptr::with_exposed_provenance(self.base);
        // SAFETY: the range is mapped as long as this lives, aligned, and accessed through atomics only, in
        // every process. The file has this length and its owner does not cut it: a process that may cut it
        // may also write anything into it.
        unsafe { std::slice::from_raw_parts(words, self.metadata / 8) }
    }

    /// A word of the users' part that is used as an atomic; `None` unless it is aligned and inside.
    pub(crate) fn word(&self, address: usize) -> Option<&AtomicU64> {
        if !address.is_multiple_of(8) || !self.holds(address, 8) {
            return None;
        }
        let word: *const AtomicU64 = std::ptr::with_exposed_provenance(address);
        // SAFETY: mapped as long as this lives, and aligned. Its users access it as an atomic: it is part of
        // an object that was made as a lock or as an atomic, or they were told the wrong address.
        Some(unsafe { &*word })
    }
}

impl Memory {
    /// Unmaps it before it is dropped. Nothing may ask for what was there afterwards: the range holds
    /// nothing.
    pub(crate) fn unmap(&mut self) {
        if self.bytes == 0 {
            return;
        }
        let address = std::ptr::with_exposed_provenance_mut(self.base);
        // SAFETY: the range is ours since `map`; handles into it keep this alive, and this is exclusive.
        let unmapped = unsafe { munmap(address, self.bytes) };
        debug_assert!(unmapped.is_ok(), "a mapping of ours can be unmapped");
        (self.bytes, self.metadata) = (0, 0);
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        self.unmap();
    }
}
