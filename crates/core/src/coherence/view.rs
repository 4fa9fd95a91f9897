//! What a machine knows, for people who look at it: its extents and the pages of one.
//!
//! Reading only, and never a whole machine at once: who looks takes a part at a time. Nothing is decided by
//! what is here.

use banyan_wire::coherence::Holders;
use banyan_wire::ids::{EXTENT_PAGES, ExtentNumber, NodeId, PAGES_END, PageNumber, Transaction};

use super::extent::Held;
use super::stretch::Knowledge;
use super::{Conduct, Extents, Machine};

/// What an extent is to a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Owned here, and no other node has asked for it.
    Native,
    /// Owned here, with a directory of who holds which page.
    Owned,
    /// Owned by another node, which this node has asked or heard of.
    Known,
    /// Owned by another node, as was said at the start; nothing was heard of it since.
    Untouched,
}

/// Consecutive extents of which a node knows the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stretch {
    /// Which.
    pub extents: Extents,
    /// Their owner, as far as this node knows.
    pub owner: NodeId,
    /// What they are to this node.
    pub standing: Standing,
}

/// A page as a node knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageView {
    /// Which.
    pub page: PageNumber,
    /// What this node may do with it.
    pub held: Held,
    /// It came here, or went from here, at least once.
    pub travelled: bool,
    /// At the owner: who holds it, and how often write access went from one node to another.
    pub directory: Option<(Holders, u32)>,
}

impl<C: Conduct> Machine<C> {
    /// All extents of the address space from this one on, as stretches.
    pub fn stretches_from(&self, first: ExtentNumber) -> impl Iterator<Item = Stretch> + '_ {
        let end = PAGES_END / u64::from(EXTENT_PAGES);
        let range = Extents { first, count: end.saturating_sub(first.0) };
        self.stretches(range).map(|(extents, knowledge)| {
            let owner = self.owner(extents.first);
            let native = self.is_native(extents.first, knowledge);
            let standing = match knowledge {
                _ if native => Standing::Native,
                Knowledge::Untouched { .. } => Standing::Untouched,
                Knowledge::Known if self.owns(extents.first).is_some() => Standing::Owned,
                Knowledge::Known => Standing::Known,
            };
            Stretch { extents, owner, standing }
        })
    }

    /// The first extent at or after this one of which this node knows more than who was its first owner.
    #[must_use]
    pub fn next_known(&self, from: ExtentNumber) -> Option<ExtentNumber> {
        self.extents.range(from..).next().map(|(number, _)| *number)
    }

    /// The pages of an extent that [`Machine::next_known`] has named.
    pub fn pages(&self, number: ExtentNumber) -> impl Iterator<Item = PageView> + '_ {
        let extent = self.extents.get(&number);
        let first = number.first_page();
        extent.into_iter().flat_map(move |extent| {
            (0..EXTENT_PAGES).map(move |index| {
                let page = first.plus(index);
                let found = extent.page(page);
                let directory = extent.directory.as_ref().map(|directory| {
                    let entry = directory.entry(page);
                    (entry.holders, entry.moves)
                });
                PageView { page, held: found.held, travelled: found.version != Transaction(0), directory }
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Input, Policy, ThreadNumber};
    use super::*;
    use alloc::vec::Vec;
    use banyan_wire::ids::{Access, Microseconds};

    #[test]
    fn what_a_machine_knows_is_seen_in_order() {
        let node = |number| NodeId::new(number).unwrap();
        let mut machine = Machine::new(node(0), Policy::default());
        let mut outputs = Vec::new();
        let mut step = |input| machine.step(Microseconds(1), input, &mut outputs);
        step(Input::Claim(Extents { first: ExtentNumber(0), count: 10 }));
        step(Input::Assign { extents: Extents { first: ExtentNumber(10), count: 10 }, owner: node(1) });
        let page = ExtentNumber(15).first_page().plus(3);
        step(Input::Fault { thread: ThreadNumber(1), page, access: Access::Read, limit: page.plus(1) });
        let seen: Vec<_> = machine.stretches_from(ExtentNumber(5)).take(4).collect();
        let stretch = |first, count, owner, standing| Stretch {
            extents: Extents { first: ExtentNumber(first), count },
            owner: node(owner),
            standing,
        };
        assert_eq!(
            seen,
            [
                stretch(5, 5, 0, Standing::Native),
                stretch(10, 5, 1, Standing::Untouched),
                stretch(15, 1, 1, Standing::Known),
                stretch(16, 4, 1, Standing::Untouched),
            ]
        );
        let end = machine.stretches_from(ExtentNumber(5)).last().unwrap().extents;
        assert_eq!((end.first.0 + end.count) * u64::from(EXTENT_PAGES), PAGES_END);
        assert_eq!(machine.next_known(ExtentNumber(0)), Some(ExtentNumber(15)));
        assert_eq!(machine.next_known(ExtentNumber(16)), None);
        let pages: Vec<PageView> = machine.pages(ExtentNumber(15)).collect();
        assert_eq!((pages.len(), pages[3].page), (EXTENT_PAGES as usize, page));
        assert!(pages.iter().all(|page| page.held == Held::Absent && page.directory.is_none()));
        assert_eq!(machine.pages(ExtentNumber(14)).count(), 0);
    }
}
