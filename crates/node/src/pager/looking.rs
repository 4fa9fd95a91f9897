//! What people see of a pager: extents and pages, a part at a time.
//!
//! Each look takes the state lock for one extent's pages, or some stretches, and lets go: a fault waits some
//! microseconds for it at most. Where memory is, the memory file says, without the lock.

use super::Pager;
use super::memory_file::MemoryFile;
use banyan_core::coherence::{Held, PageView, Stretch};
use banyan_wire::ids::{EXTENT_PAGES, ExtentNumber, NodeId, PAGE_BYTES, PageNumber};
use std::io;

/// An extent of which this node knows more than who was its first owner.
#[derive(Debug)]
pub(crate) struct KnownExtent {
    pub(crate) number: ExtentNumber,
    /// Its owner, as far as this node knows.
    pub(crate) owner: NodeId,
    /// Its pages, by number.
    pub(crate) pages: Vec<PageView>,
}

impl Pager {
    /// The stretches of extents from one on, `most` at most.
    pub(crate) fn stretches_from(&self, first: ExtentNumber, most: usize) -> Vec<Stretch> {
        self.lock().machine.stretches_from(first).take(most).collect()
    }

    /// The next extent, at or after this one, of which this node knows more than who was its first owner.
    pub(crate) fn next_known(&self, from: ExtentNumber) -> Option<KnownExtent> {
        let state = self.lock();
        let number = state.machine.next_known(from)?;
        let owner = state.machine.owner(number);
        Some(KnownExtent { number, owner, pages: state.machine.pages(number).collect() })
    }

    /// How many pages of an extent this node may read, and how many of these it may write.
    pub(crate) fn held(&self, number: ExtentNumber) -> (u64, u64) {
        let state = self.lock();
        state.machine.pages(number).fold((0, 0), |(read, written), page| match page.held {
            Held::Absent => (read, written),
            Held::Shared => (read + 1, written),
            Held::Exclusive => (read + 1, written + 1),
        })
    }
}

/// Where memory is on this node, for who asks in ascending order.
///
/// The kernel finds the end of a stretch of memory by walking all of it, so what it found is kept; memory
/// that went meanwhile may still seem to be there. A few pages are looked at one by one.
#[derive(Debug, Default)]
pub(crate) struct Residency(Option<Found>);

/// What was found from a page on: the next stretch of memory, or none.
#[derive(Clone, Copy, Debug)]
struct Found {
    from: PageNumber,
    stretch: Option<(PageNumber, PageNumber)>,
}

/// Fewer pages are looked at one by one.
const FEW_PAGES: u64 = 64;

impl Residency {
    /// The next pages with memory in `[from, end)`: the first, and the one after the last.
    ///
    /// # Errors
    /// The system's.
    pub(crate) fn next(
        &mut self,
        memory: &MemoryFile,
        from: PageNumber,
        end: PageNumber,
    ) -> io::Result<Option<(PageNumber, PageNumber)>> {
        if from >= end {
            return Ok(None);
        }
        let known =
            self.0.filter(|found| found.from <= from && found.stretch.is_none_or(|(_, after)| from < after));
        let found = match known {
            Some(found) => found,
            None if end.0 - from.0 <= FEW_PAGES => return one_by_one(memory, from, end),
            None => {
                let page = |address: u64| PageNumber(address / PAGE_BYTES);
                let stretch = memory.next_data(from.address())?;
                let stretch = stretch.map(|(start, end)| (page(start), page(end + PAGE_BYTES - 1)));
                *self.0.insert(Found { from, stretch })
            }
        };
        let stretch = found.stretch.map(|(first, after)| (first.max(from), after.min(end)));
        Ok(stretch.filter(|(first, after)| first < after))
    }

    /// Which pages of an extent have memory, a bit for each; only those in `[from, end)`.
    ///
    /// # Errors
    /// The system's.
    pub(crate) fn of_extent(
        &mut self,
        memory: &MemoryFile,
        from: PageNumber,
        end: PageNumber,
    ) -> io::Result<[u64; EXTENT_PAGES as usize / 64]> {
        let mut bits = [0; EXTENT_PAGES as usize / 64];
        let mut at = from;
        while let Some((first, after)) = self.next(memory, at, end)? {
            for page in first.0..after.0 {
                let index = PageNumber(page).index();
                bits[index / 64] |= 1 << (index % 64);
            }
            at = after;
        }
        Ok(bits)
    }

    /// How many pages of consecutive extents have memory.
    ///
    /// # Errors
    /// The system's.
    pub(crate) fn count(&mut self, memory: &MemoryFile, first: ExtentNumber, count: u64) -> io::Result<u64> {
        let (mut at, mut pages) = (first.first_page(), 0);
        let end = ExtentNumber(first.0 + count).first_page();
        while let Some((found, after)) = self.next(memory, at, end)? {
            pages += after.0 - found.0;
            at = after;
        }
        Ok(pages)
    }
}

/// The next pages with memory, without walking a stretch to its end.
fn one_by_one(
    memory: &MemoryFile,
    from: PageNumber,
    end: PageNumber,
) -> io::Result<Option<(PageNumber, PageNumber)>> {
    let is_hole = |page: PageNumber| memory.is_empty(page.address(), PAGE_BYTES);
    let mut first = from;
    while first < end && is_hole(first)? {
        first = first.plus(1);
    }
    let mut after = first;
    while after < end && !is_hole(after)? {
        after = after.plus(1);
    }
    Ok((first < after).then_some((first, after)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_found_as_it_is_however_it_is_asked_for() {
        let memory = MemoryFile::create().unwrap();
        let base = ExtentNumber(9000).first_page();
        let has = |page: u64| page % 7 < 3 || (600..900).contains(&page);
        for page in (0..1100).filter(|&page| has(page)) {
            memory.write(PageNumber(base.0 + page).address(), b"x").unwrap();
        }
        for (from, end) in
            [(0, 1100), (5, 6), (3, 4), (0, 60), (590, 910), (650, 651), (0, 5000), (900, 1100)]
        {
            let (mut residency, mut found) = (Residency::default(), Vec::new());
            let (mut at, end) = (PageNumber(base.0 + from), PageNumber(base.0 + end));
            while let Some((first, after)) = residency.next(&memory, at, end).unwrap() {
                found.extend(first.0 - base.0..after.0 - base.0);
                at = after;
            }
            let expected: Vec<u64> = (from..(end.0 - base.0).min(1100)).filter(|&page| has(page)).collect();
            assert_eq!(found, expected, "{from}");
        }
        let mut residency = Residency::default();
        let counted = residency.count(&memory, ExtentNumber(9000), 3).unwrap();
        assert_eq!(counted, (0..1100).filter(|&page| has(page)).count() as u64);
        let second = ExtentNumber(9001).first_page();
        let bits = Residency::default().of_extent(&memory, second, second.plus(EXTENT_PAGES)).unwrap();
        for index in 0..u64::from(EXTENT_PAGES) {
            let page = index + 512;
            assert_eq!(
                bits[index as usize / 64] >> (index % 64) & 1 == 1,
                page < 1100 && has(page),
                "{page}"
            );
        }
    }
}
