//! The heap's address range: one reservation at a recorded base, and which of its pages are dirty.
//!
//! Trackers, by a probe: the kernel's asynchronous write protection; where it is missing, every
//! populated page counts as dirty, which is slow and never wrong. One thread at a time; no locks.

use std::collections::BTreeSet;
use std::io;

use banyan_sys::dirty_pages::DirtyPages;
use banyan_sys::mapping::Mapping;

use crate::disk::BLOCK_SIZE;

/// The unit in which populated memory is remembered, and scanned.
const CHUNK: usize = 2 << 20;

/// How written pages are found.
#[derive(Debug)]
enum Tracker {
    /// By the kernel.
    WriteProtection(DirtyPages),
    /// Every populated page counts as written: slow, always right; the oracle of the tests.
    Everything,
}

/// The heap's memory.
#[derive(Debug)]
pub(crate) struct HeapMemory {
    mapping: Mapping,
    tracker: Tracker,
    /// Chunks that may hold anything, by number: what the scan is kept to.
    populated: BTreeSet<usize>,
    /// Pages that were reported, and whose commit then failed: dirty still.
    kept: Vec<u32>,
}

impl HeapMemory {
    pub(crate) fn reserve(base: u64, reservation: u64, everything: bool) -> io::Result<Self> {
        let mapping = Mapping::reserve(base as usize, reservation as usize)?;
        // A huge page would be split at the first write after each commit.
        mapping.advise_huge_pages(0, mapping.length(), false).or_else(|error| match error.kind() {
            io::ErrorKind::InvalidInput => Ok(()),
            _ => Err(error),
        })?;
        let tracker = match DirtyPages::track(&mapping) {
            Ok(tracker) if !everything => Tracker::WriteProtection(tracker),
            _ => Tracker::Everything,
        };
        Ok(Self { mapping, tracker, populated: BTreeSet::new(), kept: Vec::new() })
    }

    pub(crate) fn base(&self) -> usize {
        self.mapping.base()
    }

    pub(crate) fn length(&self) -> usize {
        self.mapping.length()
    }

    /// These bytes may be written from now on.
    pub(crate) fn populate(&mut self, offset: usize, length: usize) {
        self.populated.extend(offset / CHUNK..(offset + length).div_ceil(CHUNK));
    }

    /// Page numbers written since the last call, ascending; they are clean from then on.
    pub(crate) fn take_dirty(&mut self) -> io::Result<Vec<u32>> {
        let mut dirty = std::mem::take(&mut self.kept);
        let kept = dirty.len();
        let (base, length) = (self.mapping.base(), self.mapping.length());
        let mut runs: Vec<(usize, usize)> = Vec::new();
        for chunk in &self.populated {
            let (start, end) = (chunk * CHUNK, ((chunk + 1) * CHUNK).min(length));
            match runs.last_mut() {
                Some((_, last)) if *last == start => *last = end,
                _ => runs.push((start, end)),
            }
        }
        for (start, end) in runs {
            let mut found = |address: usize, bytes: usize| {
                let first = (address - base) / BLOCK_SIZE;
                dirty.extend((first..first + bytes / BLOCK_SIZE).map(|page| page as u32));
            };
            match &self.tracker {
                Tracker::WriteProtection(tracker) => tracker.take(base + start, end - start, &mut found)?,
                Tracker::Everything => found(base + start, end - start),
            }
        }
        if kept > 0 {
            dirty.sort_unstable();
            dirty.dedup();
        }
        Ok(dirty)
    }

    /// These pages are dirty, whatever the tracker says.
    pub(crate) fn mark_dirty(&mut self, pages: &[u32]) {
        self.kept.extend_from_slice(pages);
    }

    /// The bytes of a page.
    ///
    /// # Safety
    /// Nobody may write to the page while the slice lives.
    pub(crate) unsafe fn page(&self, page: u32) -> &[u8] {
        let address = self.mapping.base() + page as usize * BLOCK_SIZE;
        assert!(
            address + BLOCK_SIZE <= self.mapping.base() + self.mapping.length(),
            "the page is in the heap"
        );
        // SAFETY: the page is inside the mapping, which is readable, and the caller keeps writers away.
        unsafe { std::slice::from_raw_parts(std::ptr::with_exposed_provenance(address), BLOCK_SIZE) }
    }

    /// The bytes of a run of pages, to be filled.
    ///
    /// # Safety
    /// Nobody else may refer to the pages while the slice lives.
    pub(crate) unsafe fn pages_mut(&mut self, page: u32, count: usize) -> &mut [u8] {
        let address = self.mapping.base() + page as usize * BLOCK_SIZE;
        let length = count * BLOCK_SIZE;
        assert!(address + length <= self.mapping.base() + self.mapping.length(), "the pages are in the heap");
        self.populate(page as usize * BLOCK_SIZE, length);
        // SAFETY: the pages are inside the mapping, which is writable, and the caller keeps others away.
        unsafe { std::slice::from_raw_parts_mut(std::ptr::with_exposed_provenance_mut(address), length) }
    }

    /// Makes pages read as zero.
    ///
    /// # Safety
    /// Nobody may refer to the pages.
    pub(crate) unsafe fn discard(&mut self, page: u32, count: usize) -> io::Result<()> {
        // SAFETY: as the caller promises.
        unsafe { self.mapping.discard(page as usize * BLOCK_SIZE, count * BLOCK_SIZE) }
    }
}
