//! The heap's address range: one reservation at a recorded base, its tracker and, if pages come lazily,
//! its pager. For one thread at a time; what is shared with the pager is behind the pager's lock.

use std::io;
use std::sync::Arc;

use crate::sys::demand_paging::DemandPaging;
use crate::sys::mapping::Mapping;

use super::chunks::{CHUNK, Chunks, Run};
use super::pager::{Pager, PagerStatistics};
use super::tracker::{Compare, Holes, Tracker, Tracking, track};
use crate::disk::{BLOCK_SIZE, Disk};
use crate::store::{Committed, ReadError};

/// One in this many of the chunks that may have holes is looked at in each commit.
const LOOKS: usize = 32;

/// The heap's memory. Fields are dropped in order: the mapping goes last.
pub(crate) struct HeapMemory<D> {
    pager: Option<Pager<D>>,
    tracker: Box<dyn Tracker>,
    kernel: Option<Arc<DemandPaging>>,
    /// What is compared where the program says the rest.
    compared: Compare,
    chunks: Arc<Chunks>,
    /// Pages that were reported, and whose commit then failed: dirty still.
    kept: Vec<u32>,
    /// The chunk from which on chunks are looked at for holes next.
    look_from: usize,
    mapping: Mapping,
}

impl<D: Disk> HeapMemory<D> {
    pub(crate) fn reserve(base: u64, reservation: u64, tracking: Tracking) -> io::Result<Self> {
        let mapping = Mapping::reserve(base as usize, reservation as usize)?;
        // A huge page would be split at the first write after each commit.
        mapping.avoid_huge_pages().or_else(|error| match error.kind() {
            io::ErrorKind::InvalidInput => Ok(()),
            _ => Err(error),
        })?;
        mapping.keep_from_children()?;
        let (tracker, kernel) = track(&mapping, tracking)?;
        let chunks = Arc::new(Chunks::new(mapping.length()));
        let compared = Compare::default();
        Ok(Self { pager: None, tracker, kernel, compared, chunks, kept: Vec::new(), look_from: 0, mapping })
    }

    pub(crate) fn base(&self) -> usize {
        self.mapping.base()
    }

    pub(crate) fn length(&self) -> usize {
        self.mapping.length()
    }

    pub(crate) fn tracking(&self) -> Tracking {
        self.tracker.tracking()
    }

    /// Whether pages can come lazily here.
    pub(crate) fn can_page(&self) -> bool {
        self.kernel.is_some()
    }

    pub(crate) fn is_paged(&self) -> bool {
        self.pager.is_some()
    }

    /// From now on a write to the heap ends in SIGSEGV.
    pub(crate) fn forbid_writes(&self) -> io::Result<()> {
        self.mapping.forbid_writes()
    }

    /// From now on the first `served` bytes come from the store when they are touched.
    pub(crate) fn page_from(
        &mut self,
        committed: Arc<Committed<D>>,
        served: usize,
        budget: Option<usize>,
    ) -> io::Result<()> {
        let Some(kernel) = &self.kernel else { return Err(io::ErrorKind::Unsupported.into()) };
        let chunks = Arc::clone(&self.chunks);
        self.pager =
            Some(Pager::start(committed, Arc::clone(kernel), &self.mapping, chunks, served, budget)?);
        Ok(())
    }

    /// Serves everything below an offset, if pages come lazily.
    pub(crate) fn serve_below(&self, offset: usize) -> io::Result<()> {
        self.pager.as_ref().map_or(Ok(()), |pager| pager.serve_below(offset))
    }

    pub(crate) fn pager_statistics(&self) -> PagerStatistics {
        self.pager.as_ref().map(Pager::statistics).unwrap_or_default()
    }

    /// These bytes may be written from now on.
    #[inline]
    pub(crate) fn populate(&mut self, offset: usize, length: usize) {
        self.chunks.add(offset, length);
    }

    /// Page numbers written since the last call, ascending; they are clean from then on. After an error all
    /// of them are still to be taken.
    pub(crate) fn take_dirty(&mut self) -> io::Result<Vec<u32>> {
        let mut dirty = std::mem::take(&mut self.kept);
        if let Err(error) = self.scan(&mut dirty) {
            // The tracker reports a page once.
            self.kept = dirty;
            return Err(error);
        }
        if !dirty.is_sorted() {
            dirty.sort_unstable();
        }
        dirty.dedup();
        Ok(dirty)
    }

    /// Adds the pages that the tracker reports.
    fn scan(&mut self, dirty: &mut Vec<u32>) -> io::Result<()> {
        let base = self.mapping.base();
        // A hole that counts as full would be marked as written, and the pager could not fill it any more.
        let lock = self.pager.as_ref().map(Pager::keep_pages);
        let runs = self.chunks.runs(self.mapping.length());
        for Run { start, end, is_full } in &runs {
            let holes = if *is_full { Holes::None } else { Holes::Perhaps };
            let mut found = |address: usize, bytes: usize| {
                let first = (address - base) / BLOCK_SIZE;
                dirty.extend((first..first + bytes / BLOCK_SIZE).map(|page| page as u32));
                if !is_full {
                    self.chunks.set_fuller(address - base, bytes);
                }
            };
            self.tracker.take(base + start, end - start, holes, &mut found)?;
        }
        let holed: usize = runs.iter().filter(|run| !run.is_full).map(|run| run.end - run.start).sum();
        self.look_from = self.look_for_holes(holed / CHUNK)?;
        drop(lock);
        Ok(())
    }

    /// Looks at a few of the chunks in which pages have come: some have no hole any more. A look costs as
    /// much as the scan of a chunk, so there are few of them in each commit. Gives the chunk to go on from.
    fn look_for_holes(&self, holed: usize) -> io::Result<usize> {
        let Some(kernel) = self.kernel.as_ref().filter(|_| holed > 0) else { return Ok(0) };
        let mut next = self.look_from;
        for chunk in self.chunks.take_fuller(self.look_from, 1 + holed / LOOKS) {
            let length = CHUNK.min(self.mapping.length() - chunk * CHUNK);
            let mut there = 0;
            kernel
                .written()
                .resident(self.mapping.base() + chunk * CHUNK, length, &mut |_, bytes| there += bytes)?;
            if there == length {
                self.chunks.set_full(chunk);
            }
            next = chunk + 1;
        }
        Ok(next)
    }

    /// These pages are dirty, whatever the tracker says.
    pub(crate) fn mark_dirty(&mut self, pages: &[u32]) {
        self.kept.extend_from_slice(pages);
    }

    /// Pages of the range that changed since this last looked are dirty, whatever the tracker says.
    pub(crate) fn compare(&mut self, offset: usize, length: usize) -> io::Result<()> {
        let base = self.mapping.base();
        let (first, end) = (offset / BLOCK_SIZE * BLOCK_SIZE, (offset + length).next_multiple_of(BLOCK_SIZE));
        let kept = &mut self.kept;
        self.compared.take(base + first, end - first, Holes::Perhaps, &mut |address, _| {
            kept.push(((address - base) / BLOCK_SIZE) as u32);
        })
    }

    /// The program says that it writes these bytes.
    pub(crate) fn note(&mut self, offset: usize, length: usize) -> io::Result<()> {
        self.populate(offset, length);
        let first = offset / BLOCK_SIZE * BLOCK_SIZE;
        let end = (offset + length).next_multiple_of(BLOCK_SIZE);
        self.tracker.note(self.mapping.base() + first, end - first)
    }

    /// The bytes of a page.
    ///
    /// # Safety
    /// Nothing writes to the page while the slice lives.
    pub(crate) unsafe fn page(&self, page: u32) -> &[u8] {
        // SAFETY: as the caller promises.
        unsafe { self.pages(page, 1) }
    }

    /// The bytes of a run of pages.
    ///
    /// # Safety
    /// Nothing writes to the pages while the slice lives.
    pub(crate) unsafe fn pages(&self, page: u32, count: usize) -> &[u8] {
        let (address, length) = self.range(page, count);
        // SAFETY: the pages are inside the mapping, which is readable, and the caller keeps writers away.
        unsafe { std::slice::from_raw_parts(std::ptr::with_exposed_provenance(address), length) }
    }

    /// The bytes of a run of pages, to be filled.
    ///
    /// # Safety
    /// No other reference leads to the pages while the slice lives.
    pub(crate) unsafe fn pages_mut(&mut self, page: u32, count: usize) -> &mut [u8] {
        let (address, length) = self.range(page, count);
        self.populate(page as usize * BLOCK_SIZE, length);
        // SAFETY: the pages are inside the mapping, which is writable, and the caller keeps others away.
        unsafe { std::slice::from_raw_parts_mut(std::ptr::with_exposed_provenance_mut(address), length) }
    }

    fn range(&self, page: u32, count: usize) -> (usize, usize) {
        let (offset, length) = (page as usize * BLOCK_SIZE, count * BLOCK_SIZE);
        assert!(offset + length <= self.mapping.length(), "the pages are in the heap");
        (self.mapping.base() + offset, length)
    }

    /// Makes pages read as zero.
    ///
    /// # Safety
    /// No reference leads to the pages.
    pub(crate) unsafe fn discard(&mut self, page: u32, count: usize) -> io::Result<()> {
        let (offset, length) = (page as usize * BLOCK_SIZE, count * BLOCK_SIZE);
        self.tracker.forget(self.mapping.base() + offset, length);
        self.chunks.set_holed(offset, length);
        // SAFETY: as the caller promises.
        let mut apply = || unsafe { self.mapping.discard(offset, length) };
        match &self.pager {
            Some(pager) => pager.discard(u64::from(page)..u64::from(page) + count as u64, &mut apply),
            None => apply(),
        }
    }

    /// Drops pages, which come back as they were committed. Only where pages come lazily.
    ///
    /// # Safety
    /// No reference leads to the pages.
    pub(crate) unsafe fn restore(&mut self, pages: &[u32]) -> io::Result<()> {
        let Some(pager) = &self.pager else { return Err(io::ErrorKind::Unsupported.into()) };
        let (mapping, chunks) = (&self.mapping, &self.chunks);
        pager.restore(pages, &mut || {
            for run in pages.chunk_by(|a, b| a + 1 == *b) {
                chunks.set_holed(run[0] as usize * BLOCK_SIZE, run.len() * BLOCK_SIZE);
                // SAFETY: as the caller promises.
                unsafe { mapping.discard(run[0] as usize * BLOCK_SIZE, run.len() * BLOCK_SIZE)? };
            }
            Ok(())
        })
    }

    /// The dirty pages so far are captured; gives the capture's number.
    pub(crate) fn captured(&self) -> u64 {
        self.pager.as_ref().map_or(0, Pager::captured)
    }

    /// A capture with this many pages is committed; the program is in a call of the arena.
    pub(crate) fn accepted(&self, capture: u64, pages: usize) -> io::Result<()> {
        let Some(pager) = &self.pager else { return Ok(()) };
        pager.accepted(capture);
        pager.enforce(pages)
    }

    /// Reads a run of pages into memory and checks them.
    pub(crate) fn load(&self, first: u32, count: u64) -> Result<(), ReadError> {
        self.pager.as_ref().map_or(Ok(()), |pager| pager.load(first, count))
    }
}
