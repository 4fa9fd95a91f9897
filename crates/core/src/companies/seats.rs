//! Which node is a member of which company.
//!
//! A seat that moves costs its company a change of its members and a snapshot, so as few move as can: those
//! of nodes that left, and as many as make the numbers of seats of any two nodes differ by one at most. This
//! goes on from who sits where now, which the root's log says; a table made from the nodes alone would agree
//! everywhere too, and spread the seats only on average.

use super::{CompanyId, Mutation, members};
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use banyan_wire::cluster::MemberId;

/// Who sits where.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seats {
    /// Of each company its members, in ascending order.
    companies: Vec<Vec<MemberId>>,
    mutation: Option<Mutation>,
}

/// The change of one seat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SeatChange {
    /// Whose seat.
    pub company: CompanyId,
    /// Who had it; nobody, if it is new.
    pub leaves: Option<MemberId>,
    /// Who gets it; nobody, if it is gone.
    pub comes: Option<MemberId>,
}

impl Seats {
    /// Without companies. The result of [`Self::reseat`] goes on from what was.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// As [`Self::new`], but wrong.
    #[must_use]
    pub fn mutant(mutation: Mutation) -> Self {
        Self { mutation: Some(mutation), ..Self::default() }
    }

    /// The members of a company, in ascending order; none, if there is no such company.
    #[must_use]
    pub fn members(&self, company: CompanyId) -> &[MemberId] {
        self.companies.get(company.index()).map_or(&[], Vec::as_slice)
    }

    /// Seats as many companies for these nodes, each of which is named once. Gives what changed, company by
    /// company. A company that has ended must have no slots left.
    pub fn reseat(&mut self, nodes: &[MemberId], companies: u8) -> Vec<SeatChange> {
        let before = self.companies.clone();
        let size = members(nodes.len()).min(nodes.len());
        self.companies.resize(usize::from(companies), Vec::new());
        for seats in &mut self.companies {
            if self.mutation == Some(Mutation::SeatAllAnew) {
                seats.clear();
            }
            if self.mutation != Some(Mutation::KeepLeavers) {
                seats.retain(|member| nodes.contains(member));
            }
        }
        let mut load: BTreeMap<MemberId, usize> = nodes.iter().map(|&node| (node, 0)).collect();
        for member in self.companies.iter().flatten() {
            *load.entry(*member).or_default() += 1;
        }
        self.fit(size, &mut load);
        if self.mutation != Some(Mutation::NeverBalance) {
            self.balance(&before, &mut load);
        }
        self.companies.iter_mut().for_each(|seats| seats.sort_unstable());
        changes(&before, &self.companies)
    }

    /// Gives each company the given number of members: the busiest go, the least busy come.
    fn fit(&mut self, size: usize, load: &mut BTreeMap<MemberId, usize>) {
        let may_sit_twice = self.mutation == Some(Mutation::SitTwice);
        for seats in &mut self.companies {
            while seats.len() > size {
                let busiest = (0..seats.len()).max_by_key(|&at| load.get(&seats[at]));
                let leaves = seats.swap_remove(busiest.unwrap_or(0));
                load.entry(leaves).and_modify(|seats| *seats -= 1);
            }
            while seats.len() < size {
                let free = load.iter().filter(|(node, _)| may_sit_twice || !seats.contains(node));
                let Some(comes) = free.min_by_key(|(_, load)| **load).map(|(node, _)| *node) else { break };
                seats.push(comes);
                load.entry(comes).and_modify(|seats| *seats += 1);
            }
        }
    }

    /// Moves seats from the node with most to the one with least, until they differ by one at most. A node
    /// with more seats than another sits somewhere where the other does not, so there is always one to move;
    /// one that has just been given costs nothing.
    fn balance(&mut self, before: &[Vec<MemberId>], load: &mut BTreeMap<MemberId, usize>) {
        loop {
            let most = load.iter().max_by_key(|(_, load)| **load).map(|(node, load)| (*node, *load));
            let least = load.iter().min_by_key(|(_, load)| **load).map(|(node, load)| (*node, *load));
            let (Some((from, most)), Some((to, least))) = (most, least) else { return };
            if most <= least + 1 {
                return;
            }
            let had = |index: usize| before.get(index).is_some_and(|seats| seats.contains(&from));
            let fits = |index: &usize| {
                let seats = &self.companies[*index];
                seats.contains(&from) && !seats.contains(&to)
            };
            let free = (0..self.companies.len()).filter(fits).min_by_key(|index| had(*index));
            let Some(index) = free else { return };
            let seats = &mut self.companies[index];
            seats.retain(|member| *member != from);
            seats.push(to);
            load.insert(from, most - 1);
            load.insert(to, least + 1);
        }
    }
}

fn changes(before: &[Vec<MemberId>], after: &[Vec<MemberId>]) -> Vec<SeatChange> {
    let mut changes = Vec::new();
    let none = Vec::new();
    for index in 0..before.len().max(after.len()) {
        let (old, new) = (before.get(index).unwrap_or(&none), after.get(index).unwrap_or(&none));
        let mut leave = old.iter().filter(|member| !new.contains(member)).copied();
        let mut come = new.iter().filter(|member| !old.contains(member)).copied();
        loop {
            let (leaves, comes) = (leave.next(), come.next());
            if leaves.is_none() && comes.is_none() {
                break;
            }
            changes.push(SeatChange { company: CompanyId(index as u8), leaves, comes });
        }
    }
    changes
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    fn node(number: u8) -> MemberId {
        MemberId([number; 10])
    }

    fn seated(nodes: u8, companies: u8) -> Seats {
        let mut seats = Seats::new();
        let nodes: Vec<MemberId> = (0..nodes).map(node).collect();
        let _ = seats.reseat(&nodes, companies);
        seats
    }

    #[test]
    fn a_small_cluster_has_one_company_of_its_first_nodes() {
        assert_eq!(seated(1, 1).members(CompanyId::ROOT), [node(0)]);
        assert_eq!(seated(2, 1).members(CompanyId::ROOT), [node(0)]);
        assert_eq!(seated(4, 1).members(CompanyId::ROOT), [node(0), node(1), node(2)]);
        assert_eq!(seated(4, 1).members(CompanyId(1)), []);
        assert_eq!(seated(0, 1).members(CompanyId::ROOT), []);
    }

    #[test]
    fn each_change_is_told() {
        let mut seats = seated(2, 1);
        let company = CompanyId::ROOT;
        let come = |comes| SeatChange { company, leaves: None, comes: Some(comes) };
        assert_eq!(seats.reseat(&[node(0), node(1), node(2)], 1), [come(node(1)), come(node(2))]);
        let replaced = SeatChange { company, leaves: Some(node(1)), comes: Some(node(3)) };
        assert_eq!(seats.reseat(&[node(0), node(2), node(3)], 1), [replaced]);
        assert_eq!(seats.reseat(&[node(0), node(2), node(3)], 1), []);
        let gone = vec![node(0), node(2), node(3)].into_iter();
        let gone: Vec<_> = gone.map(|node| SeatChange { company, leaves: Some(node), comes: None }).collect();
        assert_eq!(seats.reseat(&[], 0), gone);
    }
}
