//! Turns with pages that many nodes want back at once.
//!
//! Threads that write to places all over some pages need all of these pages at one time to get on. If each
//! page stays where it is for a while and then goes to the next node that asks, whatever that while is, every
//! node has some of the pages and waits for the others: with N nodes every N-th access finds its page. So an
//! owner lets one node at a time gather: from that node's first page on, what it has got of the pages that
//! are fought over stays with it, and it may take more of them from the others as soon as they have had them
//! for the shortest time, until it has asked for none for as long as it has been gathering. Thus about half
//! of the time goes into work. Then the next node that waits has its turn: the one that had the last does not
//! begin another until it has let the others have as long.
//!
//! Nothing here concerns correctness: a page may always stay longer.

use banyan_wire::coherence::Holders;
use banyan_wire::ids::{Access, Microseconds, NodeId};

use super::Policy;
use super::extent::{Asked, Entry};

/// The turn under way, or the last one, with the pages of one owner.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Turn {
    node: Option<NodeId>,
    since: Microseconds,
    until: Microseconds,
}

impl Turn {
    /// Whose turn it is.
    pub(super) fn node(self, now: Microseconds) -> Option<NodeId> {
        self.node.filter(|_| now < self.until)
    }

    /// A page that is fought over is being sent to `node`, which asked for it. `hold` is how long such a page
    /// stays with its writer.
    pub(super) fn served(&mut self, node: NodeId, now: Microseconds, hold: Microseconds, policy: &Policy) {
        match self.node(now) {
            Some(other) if other != node => return,
            Some(_) => {}
            None if self.must_let_others(node, now) => return,
            None => (self.node, self.since) = (Some(node), now),
        }
        let quiet = hold.0.max(now.0 - self.since.0);
        let until = now.plus(Microseconds(quiet)).min(self.since.plus(policy.turn_max));
        self.until = self.until.max(until);
    }

    /// Whether the last turn was this node's, and ended less long ago than it lasted.
    fn must_let_others(self, node: NodeId, now: Microseconds) -> bool {
        let lasted = self.until.0.saturating_sub(self.since.0);
        self.node == Some(node) && now < self.until.plus(Microseconds(lasted))
    }

    /// For the mutant of that name.
    pub(super) fn never_ends(&mut self) {
        self.until = Microseconds::MAX;
    }

    /// From when on the page may go to the node that asks for it.
    pub(super) fn frees(
        self,
        entry: &Entry,
        asked: &Asked,
        now: Microseconds,
        policy: &Policy,
    ) -> Microseconds {
        let turn = self.node(now);
        let in_turn = turn == Some(asked.requester);
        let hold = if in_turn { policy.hold } else { entry.hold.length(policy) };
        let held = entry.granted.map_or(Microseconds(0), |granted| granted.plus(hold));
        let gathered = turn.filter(|_| entry.hold.is_fought_over()).is_some_and(|node| match entry.holders {
            Holders::Writer(writer) => writer == node,
            Holders::Readers { nodes, .. } => nodes.contains(node) && asked.access == Access::Write,
        });
        if gathered && !in_turn { held.max(self.until) } else { held }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(number: u8) -> NodeId {
        NodeId::new(number).expect("a small number")
    }

    #[test]
    fn after_a_turn_comes_another_nodes() {
        let policy = Policy::default();
        let hold = policy.hold;
        let mut turn = Turn::default();
        turn.served(node(1), Microseconds(1000), hold, &policy);
        assert_eq!(turn.node(Microseconds(1000)), Some(node(1)));
        let over = turn.until;
        turn.served(node(1), over, hold, &policy);
        assert_eq!(turn.node(over), None, "it does not win again at once");
        turn.served(node(2), over, hold, &policy);
        assert_eq!(turn.node(over), Some(node(2)));
        // Its own turn was the last but one.
        let over = turn.until;
        turn.served(node(1), over, hold, &policy);
        assert_eq!(turn.node(over), Some(node(1)));
    }

    #[test]
    fn a_node_alone_has_turns_again_after_as_long_as_one_lasted() {
        let policy = Policy::default();
        let mut turn = Turn::default();
        turn.served(node(1), Microseconds(1000), policy.hold, &policy);
        let later = turn.until.plus(Microseconds(turn.until.0 - turn.since.0));
        turn.served(node(1), later, policy.hold, &policy);
        assert_eq!(turn.node(later), Some(node(1)));
    }
}
