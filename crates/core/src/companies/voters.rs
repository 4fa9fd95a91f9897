//! Which members of a cluster vote in its root company.
//!
//! Every member has a copy of what the company agrees on; some of them vote. A voter that is away for a
//! moment stays one, since every change of voters is an entry that a majority must take; one that is gone for
//! long makes way for a member that is there. Not here: how it is known who is there.

use super::members;
use alloc::vec::Vec;
use banyan_wire::cluster::MemberId;

/// How a member stands, for who chooses voters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// It answers, and has all that was agreed on.
    Ready,
    /// It does not, or has not yet.
    Away,
    /// It has not answered for long.
    Gone,
}

/// The voters of a cluster with these members, those first that are to stay before others: the ones that
/// vote `now`, in an order of preference, then the others in the order in which they are given. Their number
/// is odd, and never larger than can be filled with members that are ready or vote already.
#[must_use]
pub fn voters(now: &[MemberId], all: &[(MemberId, Presence)]) -> Vec<MemberId> {
    let presence = |member: &MemberId| all.iter().find(|(id, _)| id == member).map(|(_, presence)| *presence);
    let stay = now.iter().filter(|member| matches!(presence(member), Some(Presence::Ready | Presence::Away)));
    let come = all.iter().filter(|(id, presence)| *presence == Presence::Ready && !now.contains(id));
    // Better a voter that is gone than one too few: it may come back.
    let gone = now.iter().filter(|member| presence(member) == Some(Presence::Gone));
    let mut voters: Vec<MemberId> = stay.chain(come.map(|(id, _)| id)).chain(gone).copied().collect();
    voters.truncate(members(all.len()));
    if voters.len().is_multiple_of(2) {
        voters.pop();
    }
    voters
}

#[cfg(test)]
mod tests {
    use super::Presence::{Away, Gone, Ready};
    use super::*;
    use alloc::vec;

    fn id(number: u8) -> MemberId {
        MemberId([number; 10])
    }

    fn chosen(now: &[u8], all: &[(u8, Presence)]) -> Vec<u8> {
        let now: Vec<MemberId> = now.iter().map(|&number| id(number)).collect();
        let all: Vec<_> = all.iter().map(|&(number, presence)| (id(number), presence)).collect();
        voters(&now, &all).iter().map(|member| member.0[0]).collect()
    }

    #[test]
    fn a_cluster_that_grows_gets_voters_as_they_are_ready() {
        assert_eq!(chosen(&[1], &[(1, Ready)]), [1]);
        assert_eq!(chosen(&[1], &[(1, Ready), (2, Ready)]), [1]);
        assert_eq!(chosen(&[1], &[(1, Ready), (2, Ready), (3, Away)]), [1], "two are worse than one");
        assert_eq!(chosen(&[1], &[(1, Ready), (2, Ready), (3, Ready)]), [1, 2, 3]);
        let seven: Vec<(u8, Presence)> = (1..8).map(|number| (number, Ready)).collect();
        assert_eq!(chosen(&[2, 1, 3], &seven), [2, 1, 3, 4, 5]);
        assert_eq!(chosen(&[2, 1, 3, 4, 5], &seven[..6]), [2, 1, 3], "who leads stays");
    }

    #[test]
    fn a_voter_makes_way_when_it_is_gone_and_another_is_there() {
        let all = |second, fourth| [(1, Ready), (2, second), (3, Ready), (4, fourth)];
        assert_eq!(chosen(&[1, 2, 3], &all(Away, Ready)), [1, 2, 3]);
        assert_eq!(chosen(&[1, 2, 3], &all(Gone, Ready)), [1, 3, 4]);
        assert_eq!(chosen(&[1, 2, 3], &all(Gone, Away)), [1, 3, 2], "nobody is there in its place");
    }

    #[test]
    fn who_is_no_member_any_more_votes_no_more() {
        assert_eq!(chosen(&[1], &[(2, Ready)]), [2]);
        assert_eq!(chosen(&[1], &[(2, Away)]), vec![0; 0], "nobody could take its place");
        assert_eq!(chosen(&[1, 2, 3], &[(2, Ready), (3, Ready)]), [2]);
        assert_eq!(chosen(&[1, 2, 3], &[(2, Ready), (3, Ready), (4, Ready)]), [2, 3, 4]);
    }
}
