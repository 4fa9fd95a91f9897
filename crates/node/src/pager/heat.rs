//! Which pages moved most between nodes, found a part at a time: to read all pages of a large program for
//! every look would cost more than a look is worth.
//!
//! The owner of a page counts its moves (`banyan_core`). Each look reads the extents of the pages that are
//! known to be hot, so that their counts are of now, and a bounded number of others in turn.

use super::Pager;
use banyan_wire::coherence::Holders;
use banyan_wire::ids::{ExtentNumber, NodeId, PageNumber};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

/// Pages that are kept, and told.
pub(crate) const HOT_MAX: usize = 32;
/// Extents that one look reads in turn: 256 MiB that other nodes have asked for.
const TURN_EXTENTS: usize = 128;

/// A page that moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct HotPage {
    pub(crate) page: PageNumber,
    /// How often the right to write it went to another node.
    pub(crate) moves: u32,
    /// Who may write it, if it is not being read.
    pub(crate) writer: Option<NodeId>,
}

/// What earlier looks have found.
#[derive(Debug, Default)]
pub(super) struct Heat {
    /// Where the next look goes on.
    next: ExtentNumber,
    /// The hottest first.
    hottest: Vec<HotPage>,
}

impl Heat {
    /// Looks once. `extent_from` is the first extent to look at from a number on, `read` the pages of one
    /// that moved.
    fn look(
        &mut self,
        extent_from: impl Fn(ExtentNumber) -> Option<ExtentNumber>,
        read: impl Fn(ExtentNumber) -> Vec<HotPage>,
    ) {
        let mut wanted: BTreeSet<ExtentNumber> = self.hottest.iter().map(|hot| hot.page.extent()).collect();
        let mut from = self.next;
        for _ in 0..TURN_EXTENTS {
            let Some(number) = extent_from(from) else {
                // The next look begins anew.
                from = ExtentNumber(0);
                break;
            };
            wanted.insert(number);
            from = ExtentNumber(number.0 + 1);
        }
        self.next = from;
        // What is not found again belongs to another node now, or is gone.
        let found = wanted.into_iter().flat_map(read).map(|hot| (hot.page, hot));
        self.hottest = found.collect::<BTreeMap<_, _>>().into_values().collect();
        self.hottest.sort_by_key(|hot| Reverse(hot.moves));
        self.hottest.truncate(HOT_MAX);
    }
}

impl Pager {
    /// The pages owned here that moved most, the hottest first, [`HOT_MAX`] at most. In a program with more
    /// shared memory than one look reads, it takes some looks until all of them are found.
    pub(crate) fn hot_pages(&self) -> Vec<HotPage> {
        let mut heat = self.heat.lock();
        heat.look(|from| self.lock().machine.next_known(from), |number| self.moved(number));
        heat.hottest.clone()
    }

    /// The pages of an extent that moved.
    fn moved(&self, number: ExtentNumber) -> Vec<HotPage> {
        let state = self.lock();
        let pages = state.machine.pages(number);
        let hot = pages.filter_map(|page| {
            let (holders, moves) = page.directory.filter(|(_, moves)| *moves > 0)?;
            let writer = match holders {
                Holders::Writer(node) => Some(node),
                Holders::Readers { .. } => None,
            };
            Some(HotPage { page: page.page, moves, writer })
        });
        hot.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use banyan_wire::ids::EXTENT_PAGES;

    fn page(extent: u64, index: u64) -> PageNumber {
        PageNumber(extent * u64::from(EXTENT_PAGES) + index)
    }

    #[test]
    fn the_hottest_pages_are_found_in_turn_and_counted_anew_in_every_look() {
        const EXTENTS: u64 = 300;
        let mut heat = Heat::default();
        let mut counts: BTreeMap<PageNumber, u32> = BTreeMap::new();
        for extent in 0..EXTENTS {
            counts.insert(page(extent, 7), extent as u32 + 1);
        }
        let look = |heat: &mut Heat, counts: &BTreeMap<PageNumber, u32>| {
            heat.look(
                |from| (from.0 < EXTENTS).then_some(from),
                |number| {
                    let pages = counts.range(page(number.0, 0)..page(number.0 + 1, 0));
                    pages.map(|(&page, &moves)| HotPage { page, moves, writer: None }).collect()
                },
            );
        };
        look(&mut heat, &counts);
        assert_eq!(heat.hottest[0].page, page(TURN_EXTENTS as u64 - 1, 7));
        look(&mut heat, &counts);
        look(&mut heat, &counts);
        let expected: Vec<u64> = (EXTENTS - HOT_MAX as u64..EXTENTS).rev().collect();
        let found: Vec<u64> = heat.hottest.iter().map(|hot| hot.page.extent().0).collect();
        assert_eq!(found, expected);
        // Only a part is read, but what is known to be hot always.
        counts.insert(page(EXTENTS - 20, 7), 9999);
        look(&mut heat, &counts);
        assert_eq!((heat.hottest[0].page, heat.hottest[0].moves), (page(EXTENTS - 20, 7), 9999));
        counts.remove(&page(EXTENTS - 20, 7));
        look(&mut heat, &counts);
        assert_eq!(heat.hottest[0].page, page(EXTENTS - 1, 7));
        assert_eq!(heat.hottest.len(), HOT_MAX);
    }
}
