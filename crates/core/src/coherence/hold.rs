//! How long a page stays with a node that was granted it for writing before it goes to the next one that
//! asks.
//!
//! Long enough that the writer gets something done, short enough that the others need not wait (the window Δ
//! of Fleisch and Popek, "Mirage: a coherent distributed shared memory design", SOSP 1989). No one length
//! fits: threads that take a lock in turn write its page once and go on to other things, while threads whose
//! own data happen to be in one page write it all the time, and then nearly all of the time goes into moving
//! it. So each page has its own: a node that asks to write the page again as soon as it has lost it was not
//! done with it, and the time doubles; a node that comes back later, or does not come back before the page
//! moves on, had what it needed, and the time halves. One that only reads it again at once may well wait for
//! another node to write it: that says nothing.
//!
//! Nothing here concerns correctness: a page may always stay longer.

use banyan_wire::ids::{Access, Microseconds, NodeId};

use super::Policy;

/// Kept for each page at its owner.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Hold {
    /// How often the policy's shortest length is doubled.
    doublings: u8,
    /// The writer that last had to give the page away, if it has not asked for it since, and when that was.
    gone: Option<(NodeId, Microseconds)>,
}

impl Hold {
    /// How long the next writer keeps the page.
    pub(super) fn length(self, policy: &Policy) -> Microseconds {
        Microseconds(policy.hold.0 << self.doublings)
    }

    /// `writer` has to give the page away, if only for others to read it.
    pub(super) fn taken(&mut self, writer: NodeId, now: Microseconds) {
        if self.gone.replace((writer, now)).is_some() {
            self.doublings = self.doublings.saturating_sub(1);
        }
    }

    /// A node asks for the page.
    pub(super) fn asked(&mut self, node: NodeId, access: Access, now: Microseconds, policy: &Policy) {
        let Some((_, since)) = self.gone.filter(|(writer, _)| *writer == node) else { return };
        self.gone = None;
        if now.0 - since.0 > policy.regret.0 {
            self.doublings = self.doublings.saturating_sub(1);
        } else if access == Access::Write && policy.hold.0 << self.doublings < policy.hold_max.0 {
            self.doublings += 1;
        }
    }

    /// Forgets when things were, for the explorer.
    pub(super) fn forget_times(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(number: u8) -> NodeId {
        NodeId::new(number).unwrap()
    }

    /// Two nodes write a page in turn; each asks again so long after it has lost it.
    fn after_turns(turns: u64, access: Access, pause: u64, hold: &mut Hold) -> Microseconds {
        let policy = Policy::default();
        let mut now = 1_000_000;
        for turn in 0..turns {
            let writer = node((turn % 2) as u8);
            hold.taken(writer, Microseconds(now));
            hold.asked(writer, access, Microseconds(now + pause), &policy);
            now += pause + hold.length(&policy).0;
        }
        hold.length(&policy)
    }

    #[test]
    fn a_page_that_is_wanted_back_at_once_stays_longer_and_longer_up_to_the_limit() {
        let policy = Policy::default();
        let mut hold = Hold::default();
        assert_eq!(hold.length(&policy), policy.hold);
        assert_eq!(after_turns(2, Access::Write, 30, &mut hold).0, policy.hold.0 * 4);
        let longest = after_turns(50, Access::Write, 30, &mut hold);
        assert!(longest.0 >= policy.hold_max.0 && longest.0 < policy.hold_max.0 * 2);
        // When the threads go on to other things, so does the page.
        assert_eq!(after_turns(20, Access::Write, 5_000, &mut hold), policy.hold);
    }

    #[test]
    fn who_only_looks_at_a_page_until_another_writes_it_does_not_keep_it() {
        let mut hold = Hold::default();
        assert_eq!(after_turns(50, Access::Read, 30, &mut hold), Policy::default().hold);
    }

    #[test]
    fn a_page_that_goes_round_without_haste_moves_at_once() {
        let policy = Policy::default();
        let mut hold = Hold::default();
        for turn in 0..20 {
            hold.taken(node(turn % 3), Microseconds(u64::from(turn) * 1000));
        }
        hold.asked(node(7), Access::Write, Microseconds(20_000), &policy);
        assert_eq!(hold.length(&policy), policy.hold);
    }

    #[test]
    fn without_a_shortest_time_there_is_none() {
        let policy = Policy { hold: Microseconds(0), hold_max: Microseconds(0), ..Policy::default() };
        let mut hold = Hold::default();
        for turn in 0..200 {
            hold.taken(node(0), Microseconds(turn));
            hold.asked(node(0), Access::Write, Microseconds(turn), &policy);
            assert_eq!(hold.length(&policy), Microseconds(0));
        }
    }
}
