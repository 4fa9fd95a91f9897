//! How long a page stays with a node that was granted it for writing before it goes to the next one that
//! asks.
//!
//! Long enough that the writer gets something done, short enough that the others need not wait (the window Δ
//! of Fleisch and Popek, "Mirage: a coherent distributed shared memory design", SOSP 1989). No one length
//! fits: threads that take a lock in turn write its page once and go on to other things, while threads whose
//! own data happen to be in one page write it all the time, and then nearly all of the time goes into moving
//! it. So each page has its own. A thread that asks to write the page again, and has hardly run since it was
//! lost (see `pace`), was not done with it: the time doubles. One that has run for longer than the page stays
//! would not have used it meanwhile: the time halves, as it does when the page moves on twice without any of
//! its writers coming back. A thread that only reads the page again at once may well wait for another node to
//! write it: that says nothing.
//!
//! Nothing here concerns correctness: a page may always stay longer.

use banyan_wire::ids::{Access, Microseconds, NodeId, NodeSet};

use super::Policy;

/// A page with at least this many doublings is wanted back by its writers again and again.
const FOUGHT_OVER: u8 = 2;

/// Kept for each page at its owner.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Hold {
    /// How often the policy's shortest length is doubled.
    doublings: u8,
    /// The writers that had to give the page away and have not asked for it since.
    gone: NodeSet,
    /// One of them has come back since the page was last taken from its writer.
    returned: bool,
}

impl Hold {
    /// How long the next writer keeps the page.
    pub(super) fn length(self, policy: &Policy) -> Microseconds {
        Microseconds(policy.hold.0 << self.doublings)
    }

    /// Do several nodes want the page all the time?
    pub(super) fn is_fought_over(self) -> bool {
        self.doublings >= FOUGHT_OVER
    }

    /// `writer` has to give the page away, if only for others to read it.
    pub(super) fn taken(&mut self, writer: NodeId) {
        if !self.gone.is_empty() && !self.returned {
            self.doublings = self.doublings.saturating_sub(1);
        }
        self.gone = self.gone.with(writer);
        self.returned = false;
    }

    /// A node asks for the page, for a thread that has run this long without a pause since the page was lost.
    pub(super) fn asked(&mut self, node: NodeId, access: Access, ran: Microseconds, policy: &Policy) {
        if !self.gone.contains(node) {
            return;
        }
        self.gone = self.gone.without(node);
        self.returned = true;
        let length = self.length(policy);
        if ran > policy.regret.max(length) {
            self.doublings = self.doublings.saturating_sub(1);
        } else if ran <= policy.regret && access == Access::Write && length.0 > 0 && length < policy.hold_max
        {
            self.doublings += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT_ONCE: Microseconds = Microseconds(30);
    const LATER: Microseconds = Microseconds(5_000);

    fn node(number: u8) -> NodeId {
        NodeId::new(number).unwrap()
    }

    /// Nodes write a page in turn; each asks again after it has lost it.
    fn after_turns(
        nodes: u8,
        turns: u64,
        access: Access,
        ran: Microseconds,
        hold: &mut Hold,
    ) -> Microseconds {
        let policy = Policy::default();
        for turn in 0..turns {
            let writer = node((turn % u64::from(nodes)) as u8);
            hold.taken(writer);
            hold.asked(writer, access, ran, &policy);
        }
        hold.length(&policy)
    }

    #[test]
    fn a_page_that_is_wanted_back_at_once_stays_longer_and_longer_up_to_the_limit() {
        let policy = Policy::default();
        for nodes in [2, 3, 4, 7] {
            let mut hold = Hold::default();
            assert_eq!(hold.length(&policy), policy.hold);
            assert_eq!(after_turns(nodes, 2, Access::Write, AT_ONCE, &mut hold).0, policy.hold.0 * 4);
            let longest = after_turns(nodes, 50, Access::Write, AT_ONCE, &mut hold);
            assert!(longest.0 >= policy.hold_max.0 && longest.0 < policy.hold_max.0 * 2);
            // Between the two there is nothing to learn.
            let between = after_turns(nodes, 20, Access::Write, Microseconds(1_000), &mut hold);
            assert_eq!(between, longest);
            // When the threads go on to other things, so does the page.
            assert_eq!(after_turns(nodes, 20, Access::Write, LATER, &mut hold), policy.hold);
        }
    }

    #[test]
    fn a_writer_that_comes_back_when_others_had_the_page_in_between_counts_too() {
        let (policy, mut hold) = (Policy::default(), Hold::default());
        for turn in 0..30 {
            // Each comes back just before the page would be its again, three moves later.
            hold.asked(node((turn + 1) % 4), Access::Write, AT_ONCE, &policy);
            hold.taken(node(turn % 4));
        }
        assert!(hold.length(&policy) >= policy.hold_max);
    }

    #[test]
    fn who_only_looks_at_a_page_until_another_writes_it_does_not_keep_it() {
        let mut hold = Hold::default();
        assert_eq!(after_turns(2, 50, Access::Read, AT_ONCE, &mut hold), Policy::default().hold);
    }

    #[test]
    fn a_page_that_goes_round_without_haste_moves_at_once() {
        let policy = Policy::default();
        let mut hold = Hold::default();
        for turn in 0..20 {
            hold.taken(node(turn % 3));
        }
        hold.asked(node(7), Access::Write, AT_ONCE, &policy);
        assert_eq!(hold.length(&policy), policy.hold);
    }

    #[test]
    fn without_a_shortest_time_there_is_none() {
        let policy = Policy { hold: Microseconds(0), ..Policy::default() };
        let mut hold = Hold::default();
        for _ in 0..200 {
            hold.taken(node(0));
            hold.asked(node(0), Access::Write, AT_ONCE, &policy);
            assert_eq!(hold.length(&policy), Microseconds(0));
        }
    }
}
