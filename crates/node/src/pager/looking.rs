//! What people see of a pager: extents and pages, a part at a time.
//!
//! Each look takes the state lock for one extent's pages, or some stretches, and lets go: a fault waits some
//! microseconds for it at most. Where memory is, the memory file says, without the lock.

use super::Pager;
use banyan_core::coherence::{Held, PageView, Stretch};
use banyan_wire::ids::{EXTENT_BYTES, EXTENT_PAGES, ExtentNumber, NodeId, PAGE_BYTES, PageNumber};
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

    /// The next pages with memory on this node at or after one: the first, and the one after the last.
    ///
    /// # Errors
    /// The system's.
    pub(crate) fn next_resident(&self, from: PageNumber) -> io::Result<Option<(PageNumber, PageNumber)>> {
        let found = self.memory.next_data(from.address())?;
        let page = |address: u64| PageNumber(address / PAGE_BYTES);
        Ok(found.map(|(start, end)| (page(start), page(end + PAGE_BYTES - 1))))
    }

    /// Which pages of an extent have memory on this node, a bit for each.
    ///
    /// # Errors
    /// The system's.
    pub(crate) fn resident_pages(
        &self,
        number: ExtentNumber,
    ) -> io::Result<[u64; EXTENT_PAGES as usize / 64]> {
        let mut bits = [0; EXTENT_PAGES as usize / 64];
        let (mut at, end) = (number.first_page(), number.first_page().plus(EXTENT_PAGES));
        while at < end {
            let Some((first, after)) = self.next_resident(at)? else { break };
            for page in first.0..after.0.min(end.0) {
                let index = PageNumber(page).index();
                bits[index / 64] |= 1 << (index % 64);
            }
            at = after;
        }
        Ok(bits)
    }

    /// How many pages in consecutive extents have memory on this node.
    ///
    /// # Errors
    /// The system's.
    pub(crate) fn resident_count(&self, first: ExtentNumber, count: u64) -> io::Result<u64> {
        let (mut at, mut pages) = (first.first_page(), 0);
        let end = PageNumber((first.0 + count) * EXTENT_BYTES / PAGE_BYTES);
        while at < end {
            let Some((found, after)) = self.next_resident(at)? else { break };
            pages += after.0.min(end.0).saturating_sub(found.0);
            at = after;
        }
        Ok(pages)
    }
}
