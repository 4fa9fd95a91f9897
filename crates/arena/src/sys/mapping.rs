//! Memory at a fixed address: reserve it, protect it, give its pages back.
//!
//! A [`Mapping`] owns its range and unmaps it on drop. It hands out addresses, not references: what
//! lies there is the business of its owner. Not for shared memory.

use std::io;

use banyan_sys::owner::Owner;
use rustix::mm::{Advice, MapFlags, MprotectFlags, ProtFlags, madvise, mmap_anonymous, mprotect, munmap};

/// A private, anonymous range of memory at the address that was asked for.
#[derive(Debug)]
pub(crate) struct Mapping {
    base: usize,
    length: usize,
    owner: Owner,
}

impl Mapping {
    /// Reserves `length` bytes at `base`, readable and writable; memory is used only where it is touched.
    ///
    /// # Errors
    /// `AlreadyExists` if something else is mapped there, which is left alone; otherwise what the kernel
    /// says.
    pub(crate) fn reserve(base: usize, length: usize) -> io::Result<Self> {
        // Before there is something to unmap.
        let owner = Owner::this_process()?;
        let flags = MapFlags::PRIVATE | MapFlags::NORESERVE | MapFlags::FIXED_NOREPLACE;
        let address = std::ptr::without_provenance_mut(base);
        // SAFETY: FIXED_NOREPLACE makes the kernel refuse a range in which anything is mapped, so no memory
        // that someone else uses changes.
        let got = unsafe { mmap_anonymous(address, length, ProtFlags::READ | ProtFlags::WRITE, flags) }?;
        let mapping = Self { base: got as usize, length, owner };
        if mapping.base != base {
            // A kernel older than the flag takes the address for a hint.
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        Ok(mapping)
    }

    /// First address.
    #[must_use]
    pub(crate) fn base(&self) -> usize {
        self.base
    }

    /// Bytes in the range.
    #[must_use]
    pub(crate) fn length(&self) -> usize {
        self.length
    }

    /// Drops the pages of a range, which read as zero from then on.
    ///
    /// # Safety
    /// No reference leads into the range, and nothing relies on its content.
    ///
    /// # Errors
    /// What the kernel says; `InvalidInput` for a range that is not inside.
    pub(crate) unsafe fn discard(&self, offset: usize, length: usize) -> io::Result<()> {
        self.check(offset, length)?;
        let address = std::ptr::with_exposed_provenance_mut(self.base + offset);
        // SAFETY: the range is inside this mapping, and the caller gives up its content.
        unsafe { madvise(address, length, Advice::LinuxDontNeed) }.map_err(Into::into)
    }

    /// Makes every write to the range end in SIGSEGV.
    ///
    /// # Errors
    /// What the kernel says.
    pub(crate) fn forbid_writes(&self) -> io::Result<()> {
        let address = std::ptr::with_exposed_provenance_mut(self.base);
        // SAFETY: the range is ours and stays readable; no writable reference into it was promised.
        unsafe { mprotect(address, self.length, MprotectFlags::READ) }.map_err(Into::into)
    }

    /// Leaves the range out of a child made by fork(2): it would see zeroes where a page is provided on
    /// demand.
    ///
    /// # Errors
    /// What the kernel says.
    pub(crate) fn keep_from_children(&self) -> io::Result<()> {
        let address = std::ptr::with_exposed_provenance_mut(self.base);
        // SAFETY: the advice changes nothing in this process.
        unsafe { madvise(address, self.length, Advice::LinuxDontFork) }.map_err(Into::into)
    }

    /// Asks for no huge pages in the range.
    ///
    /// # Errors
    /// What the kernel says.
    pub(crate) fn avoid_huge_pages(&self) -> io::Result<()> {
        let address = std::ptr::with_exposed_provenance_mut(self.base);
        // SAFETY: advice on page size does not change what the memory holds.
        unsafe { madvise(address, self.length, Advice::LinuxNoHugepage) }.map_err(Into::into)
    }

    fn check(&self, offset: usize, length: usize) -> io::Result<()> {
        let inside = offset.checked_add(length).is_some_and(|end| end <= self.length);
        if inside { Ok(()) } else { Err(io::ErrorKind::InvalidInput.into()) }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        if !self.owner.is_here() {
            // A forked process may have no copy of it, and something else there by now.
            return;
        }
        let address = std::ptr::with_exposed_provenance_mut(self.base);
        // SAFETY: the range is ours since `reserve`, and every borrower of its addresses has ended.
        let unmapped = unsafe { munmap(address, self.length) };
        debug_assert!(unmapped.is_ok(), "a mapping of ours can be unmapped");
    }
}

#[cfg(test)]
mod tests {
    use super::Mapping;

    #[test]
    fn a_taken_base_is_refused() {
        let first = Mapping::reserve(0x6100_0000_0000, 1 << 20).unwrap();
        let error = Mapping::reserve(first.base() + 4096, 1 << 20).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::AlreadyExists);
    }
}
