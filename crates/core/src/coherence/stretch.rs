//! Many extents at once: consecutive extents of which a node knows the same.
//!
//! Memory is mapped and freed by the terabyte, and nearly all of it was never touched: what goes through all
//! of a range goes from stretch to stretch, not from extent to extent.

use banyan_wire::ids::{ExtentNumber, NodeId};

use super::{Conduct, Extents, Machine};

/// What a node knows of an extent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Knowledge {
    /// No more than who was its first owner.
    Untouched { owner: NodeId },
    /// It has an entry.
    Known,
}

impl<C: Conduct> Machine<C> {
    /// The stretches of a range, in order. One of known extents is one extent long.
    pub(super) fn stretches(&self, range: Extents) -> impl Iterator<Item = (Extents, Knowledge)> + '_ {
        let end = ExtentNumber(range.first.0.saturating_add(range.count));
        let mut at = range.first;
        core::iter::from_fn(move || {
            let first = at;
            if first >= end {
                return None;
            }
            let known = self.extents.range(first..end).next().map(|(number, _)| *number);
            let (next, knowledge) = if known == Some(first) {
                (ExtentNumber(first.0 + 1), Knowledge::Known)
            } else {
                let (owner, _) = self.first_owner(first);
                let bound = self.same_first_owner_until(first);
                (known.unwrap_or(end).min(end).min(bound), Knowledge::Untouched { owner })
            };
            at = next;
            Some((Extents { first, count: next.0 - first.0 }, knowledge))
        })
    }

    /// The parts of a range that concern another node: it owns them, or has asked for some of their pages.
    pub fn foreign(&self, range: Extents) -> impl Iterator<Item = Extents> + '_ {
        let stretches = self.stretches(range);
        stretches.filter(|(extents, knowledge)| !self.is_native(extents.first, *knowledge)).map(|(it, _)| it)
    }

    /// Whether an extent, or a stretch that begins with it, is owned here, and no other node has ever asked.
    pub(super) fn is_native(&self, first: ExtentNumber, knowledge: Knowledge) -> bool {
        match knowledge {
            Knowledge::Untouched { owner } => owner == self.me,
            Knowledge::Known => self.extents.get(&first).is_some_and(super::extent::Extent::is_native),
        }
    }

    /// Up to which extent the first owner is surely the same as of this one.
    fn same_first_owner_until(&self, number: ExtentNumber) -> ExtentNumber {
        match self.assigned.range(..=number).next_back() {
            Some((_, (end, _))) if number < *end => *end,
            _ => {
                let next = self.assigned.range(number..).next();
                next.map_or(ExtentNumber(u64::MAX), |(first, _)| *first)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Input, Policy, ThreadNumber};
    use super::*;
    use alloc::vec::Vec;
    use banyan_wire::ids::{Access, Microseconds};

    #[test]
    fn a_terabyte_is_a_few_stretches() {
        let node = |number| NodeId::new(number).unwrap();
        let extents = |first, count| Extents { first: ExtentNumber(first), count };
        let mut machine = Machine::new(node(0), Policy::default());
        let mut outputs = Vec::new();
        let mut step = |input| machine.step(Microseconds(1), input, &mut outputs);
        step(Input::Claim(extents(0, 1 << 18)));
        step(Input::Assign { extents: extents(1 << 18, 1 << 18), owner: node(1) });
        let page = ExtentNumber((1 << 18) + 5).first_page();
        step(Input::Fault { thread: ThreadNumber(1), page, access: Access::Read, limit: page.plus(1) });
        let untouched = |number| Knowledge::Untouched { owner: node(number) };
        assert_eq!(
            machine.stretches(extents(7, 1 << 19)).collect::<Vec<_>>(),
            [
                (extents(7, (1 << 18) - 7), untouched(0)),
                (extents(1 << 18, 5), untouched(1)),
                (extents((1 << 18) + 5, 1), Knowledge::Known),
                (extents((1 << 18) + 6, (1 << 18) - 6), untouched(1)),
                (extents(1 << 19, 7), untouched(0)),
            ]
        );
        let foreign: u64 = machine.foreign(extents(7, 1 << 19)).map(|extents| extents.count).sum();
        assert_eq!(foreign, 1 << 18);
    }
}
