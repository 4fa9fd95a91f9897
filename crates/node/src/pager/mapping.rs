//! Page tables of the replica: mapping, protecting and unmapping pages with userfaultfd, and which ranges are
//! mapped.
//!
//! A range may meet pages that are in a state already, because a fault and a grant crossed each other. Each
//! function brings every page to the wanted state whatever it finds.

use super::contents::{self, Segment};
use super::{Pager, PagerError};
use banyan_sys::raw::Errno;
use banyan_sys::userfaultfd::{self, Partial, Userfaultfd, Wake, WriteProtection};
use banyan_wire::ids::{Access, EXTENT_BYTES, ExtentNumber, PAGE_BYTES, PageNumber, Run};
use std::collections::BTreeMap;

/// `EAGAIN` means that the address space was changing; it does not go on changing for ever.
const TRIES: usize = 10_000;

/// Ranges of addresses, joined where they touch.
#[derive(Clone, Debug, Default)]
pub(crate) struct Mapped(BTreeMap<u64, u64>);

impl Mapped {
    /// Adds `[start, end)`.
    pub(crate) fn insert(&mut self, mut start: u64, mut end: u64) {
        while let Some((&from, &to)) = self.0.range(..=end).next_back().filter(|&(_, &to)| to >= start) {
            self.0.remove(&from);
            start = start.min(from);
            end = end.max(to);
        }
        self.0.insert(start, end);
    }

    /// Takes `[start, end)` away.
    pub(crate) fn remove(&mut self, start: u64, end: u64) {
        while let Some((&from, &to)) = self.0.range(..end).next_back().filter(|&(_, &to)| to > start) {
            self.0.remove(&from);
            if to > end {
                self.0.insert(end, to);
            }
            if from < start {
                self.0.insert(from, start);
            }
        }
    }

    /// The end of the range that holds `address`.
    #[must_use]
    pub(crate) fn end_of(&self, address: u64) -> Option<u64> {
        self.0.range(..=address).next_back().map(|(_, &end)| end).filter(|&end| end > address)
    }

    /// The pieces within `[start, end)`.
    #[must_use]
    pub(crate) fn within(&self, start: u64, end: u64) -> Vec<(u64, u64)> {
        let first = self.0.range(..=start).next_back().map_or(start, |(&from, _)| from);
        let pieces = self.0.range(first..end).filter(|&(_, &to)| to > start);
        pieces.map(|(&from, &to)| (from.max(start), to.min(end))).collect()
    }

    /// The gap around `address` within `[start, end)`; `None` if the address is in a range.
    #[must_use]
    pub(crate) fn gap_around(&self, address: u64, start: u64, end: u64) -> Option<(u64, u64)> {
        if self.end_of(address).is_some() {
            return None;
        }
        let before = self.0.range(..=address).next_back().map_or(start, |(_, &to)| to);
        let after = self.0.range(address..).next().map_or(end, |(&from, _)| from);
        Some((before.max(start), after.min(end)))
    }
}

/// What the program may do to a page, for the kernel.
fn rights(access: Access) -> userfaultfd::Access {
    match access {
        Access::Read => userfaultfd::Access::Read,
        Access::Write => userfaultfd::Access::Write,
    }
}

impl Pager {
    fn descriptor(&self) -> Result<&Userfaultfd, PagerError> {
        self.faults.get().ok_or_else(|| PagerError::Fatal("no replica yet".into()))
    }

    /// Stores the pages of `run` that a frame carries, maps them but for the marker, and wakes who waits for
    /// them.
    pub(super) fn install(
        &self,
        whole: Run,
        payload: &[u8],
        run: Run,
        access: Access,
        marker: Option<PageNumber>,
    ) -> Result<(), PagerError> {
        let failed = |error: &dyn std::fmt::Display| PagerError::Fatal(format!("storing pages: {error}"));
        let (before, after) = match marker.filter(|marker| run.contains(*marker)) {
            Some(marker) => {
                for segment in contents::segments(whole, payload, Run::one(marker)).map_err(|e| failed(&e))? {
                    contents::write(&self.memory, &segment).map_err(|e| failed(&e))?;
                }
                let before = Run { first: run.first, count: (marker.0 - run.first.0) as u32 };
                (before, Run { first: marker.plus(1), count: run.count - before.count - 1 })
            }
            None => (run, Run { first: run.end(), count: 0 }),
        };
        for part in [before, after] {
            for segment in contents::segments(whole, payload, part).map_err(|e| failed(&e))? {
                self.install_segment(segment, access)?;
            }
        }
        Ok(())
    }

    /// One call stores and maps a page that is not there, which is nearly always so. The rest is written
    /// through the memory file and then mapped.
    fn install_segment(&self, mut segment: Segment<'_>, access: Access) -> Result<(), PagerError> {
        if let Some(bytes) = segment.bytes {
            let run = segment.run;
            let Err(Partial { done, .. }) =
                self.descriptor()?.copy(run.first.address(), bytes, rights(access))
            else {
                return Ok(());
            };
            let pages = (done / PAGE_BYTES) as u32;
            let left = Run { first: run.first.plus(pages), count: run.count - pages };
            segment = Segment { run: left, bytes: Some(&bytes[(u64::from(pages) * PAGE_BYTES) as usize..]) };
        }
        contents::write(&self.memory, &segment)
            .map_err(|error| PagerError::Fatal(format!("storing pages: {error}")))?;
        self.map_pages(segment.run, access)
    }

    pub(super) fn map_pages(&self, run: Run, access: Access) -> Result<(), PagerError> {
        let descriptor = self.descriptor()?;
        let (mut at, end) = (run.first.address(), run.end().address());
        // A call covers one mapping only; after `ENOENT` on a longer run its pages are mapped one by one.
        let mut step = end.saturating_sub(at);
        let mut tries = 0;
        while at < end {
            let length = step.min(end - at);
            let Partial { error, done } = match descriptor.map_present(at, length, rights(access), Wake::Now)
            {
                Ok(()) => {
                    at += length;
                    continue;
                }
                Err(partial) => partial,
            };
            at += done;
            match error {
                Errno::EEXIST => {
                    // Mapped already, perhaps with fewer rights.
                    if access == Access::Write {
                        self.change_protection(at, PAGE_BYTES, WriteProtection::Lifted)?;
                    }
                    let _ = descriptor.wake(at, PAGE_BYTES);
                    at += PAGE_BYTES;
                }
                Errno::EFAULT => self
                    .memory
                    .populate(at, PAGE_BYTES)
                    .map_err(|error| PagerError::Fatal(format!("no memory for a page: {error}")))?,
                // Not mapped in this replica, or not registered: the page is there when it is.
                Errno::ENOENT if length > PAGE_BYTES => step = PAGE_BYTES,
                Errno::ENOENT => {
                    let _ = descriptor.wake(at, PAGE_BYTES);
                    at += PAGE_BYTES;
                }
                Errno::EAGAIN => {}
                // The replica has ended.
                Errno::ESRCH => return Ok(()),
                error => return Err(PagerError::Fatal(format!("mapping the page at {at:#x}: {error}"))),
            }
            tries += 1;
            if tries > TRIES + run.count as usize * 2 {
                return Err(PagerError::Fatal(format!(
                    "mapping the page at {at:#x} never succeeds: {error}"
                )));
            }
        }
        Ok(())
    }

    /// Takes write access to the pages away.
    pub(super) fn protect(&self, run: Run) -> Result<(), PagerError> {
        self.change_protection(run.first.address(), u64::from(run.count) * PAGE_BYTES, WriteProtection::Set)
    }

    /// Gives write access to the pages and wakes who waits for it.
    pub(super) fn unprotect(&self, run: Run) -> Result<(), PagerError> {
        let (start, length) = (run.first.address(), u64::from(run.count) * PAGE_BYTES);
        self.change_protection(start, length, WriteProtection::Lifted)?;
        let _ = self.descriptor()?.wake(start, length);
        Ok(())
    }

    fn change_protection(&self, start: u64, length: u64, to: WriteProtection) -> Result<(), PagerError> {
        // Only what is mapped can be protected; what is not mapped cannot be written either.
        let pieces = self.mapped.read().within(start, start + length);
        let descriptor = self.descriptor()?;
        for (from, end) in pieces {
            let mut at = from;
            // One call for the piece; page by page where a part of it is being mapped anew just now.
            let mut step = end - from;
            let mut tries = 0;
            while at < end {
                match descriptor.write_protect(at, step.min(end - at), to) {
                    Ok(()) => at += step,
                    Err(Errno::ESRCH) => return Ok(()),
                    Err(Errno::EAGAIN) if tries < TRIES => tries += 1,
                    // Unmapped in the replica, or mapped and not yet registered: no thread can access it.
                    Err(Errno::ENOENT) if step == PAGE_BYTES => at += PAGE_BYTES,
                    Err(Errno::ENOENT) => step = PAGE_BYTES,
                    Err(error) => {
                        let what = match to {
                            WriteProtection::Set => "protecting",
                            WriteProtection::Lifted => "unprotecting",
                        };
                        return Err(PagerError::Fatal(format!("{what} {from:#x}..{end:#x}: {error}")));
                    }
                }
            }
        }
        Ok(())
    }

    /// Whether the replica's address space is gone. (`UFFDIO_REGISTER` reports that as `ENOMEM`.)
    pub(super) fn replica_ended(&self) -> bool {
        let Some(faults) = self.faults.get() else { return false };
        let mapped = faults.map_present(0, PAGE_BYTES, userfaultfd::Access::Read, Wake::Later);
        matches!(mapped, Err(Partial { error: Errno::ESRCH, .. }))
    }

    /// Lets the extent's first touches be native again.
    pub(super) fn unregister(&self, extent: ExtentNumber) -> Result<(), PagerError> {
        let start = extent.first_page().address();
        let pieces = self.mapped.read().within(start, start + EXTENT_BYTES);
        pieces.into_iter().try_for_each(|(from, to)| self.unregister_range(from, to))
    }

    /// Threads that wait for a page of the range are woken, and its pages are no longer protected.
    pub(super) fn unregister_range(&self, from: u64, to: u64) -> Result<(), PagerError> {
        match self.descriptor()?.unregister(from, to - from) {
            Ok(()) | Err(Errno::EINVAL) => Ok(()),
            Err(_) if self.replica_ended() => Ok(()),
            Err(error) => Err(PagerError::Fatal(format!("unregistering {from:#x}..{to:#x}: {error}"))),
        }
    }

    /// Has threads look again that wait for a page.
    pub(super) fn wake(&self, page: PageNumber) -> Result<(), PagerError> {
        let _ = self.descriptor()?.wake(page.address(), PAGE_BYTES);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_join_split_and_leave_gaps() {
        let mut mapped = Mapped::default();
        mapped.insert(10, 20);
        mapped.insert(30, 40);
        mapped.insert(20, 30);
        assert_eq!(mapped.within(0, 100), [(10, 40)]);
        mapped.remove(15, 18);
        assert_eq!(mapped.within(12, 35), [(12, 15), (18, 35)]);
        assert_eq!(mapped.end_of(14), Some(15));
        assert_eq!(mapped.end_of(15), None);
        assert_eq!(mapped.gap_around(16, 0, 100), Some((15, 18)));
        assert_eq!(mapped.gap_around(50, 0, 100), Some((40, 100)));
        mapped.remove(0, 100);
        assert!(mapped.within(0, 100).is_empty());
    }
}
