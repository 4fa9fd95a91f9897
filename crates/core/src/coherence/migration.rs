//! Recognizes pages that migrate: one node after another reads such a page and then writes it, as with a lock
//! and what it guards. Its reader is given the page for writing at once, which saves the upgrade that would
//! follow.
//!
//! A score is kept for each page, at its owner. It rises when a node that came to the page by reading goes on
//! to write it, and falls for every other node that only read it in between. Once a page migrates its owner
//! no longer sees whether its readers write, so now and then one of them is given a read copy only, and what
//! it does counts. (Cox and Fowler, "Adaptive cache coherency for detecting migratory shared data", ISCA
//! 1993; Stenström, Brorsson and Sandberg, "An adaptive cache coherence protocol optimized for migratory
//! sharing", ISCA 1993.)
//!
//! Nothing here concerns correctness: a read request may always be answered with more than it asked for.

use banyan_wire::ids::{NodeId, NodeSet};

/// One reader in this many of a migrating page is given a read copy only.
const PROBE_EVERY: u8 = 16;

/// How a page has been used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Migration {
    /// From 0 to the threshold, [`super::Policy::migrates_after`], at which the page migrates. A threshold of
    /// 0 turns all this off.
    score: u8,
    /// Readers since the last probe.
    readers: u8,
    /// The node that wrote last; unknown before the first transfer.
    writer: Option<NodeId>,
}

impl Migration {
    /// A node asks for a read copy of a page that another one writes: shall it have the page for writing?
    pub(super) fn grants_write(&mut self, threshold: u8) -> bool {
        if threshold == 0 || self.score < threshold {
            return false;
        }
        self.readers = (self.readers + 1) % PROBE_EVERY;
        self.readers != 0
    }

    /// `writer` was granted the page for writing; `readers` had copies of it, if anybody had.
    pub(super) fn written(&mut self, threshold: u8, writer: NodeId, readers: NodeSet) {
        if threshold == 0 {
            return;
        }
        let before = self.writer.replace(writer);
        let others = readers.iter().filter(|reader| *reader != writer && Some(*reader) != before);
        let only_read = others.count().min(usize::from(self.score)) as u8;
        let upgraded = readers.contains(writer) && before != Some(writer);
        self.score = (self.score - only_read + u8::from(upgraded)).min(threshold);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const THRESHOLD: u8 = 2;

    fn node(number: u8) -> NodeId {
        NodeId::new(number).unwrap()
    }

    fn nodes(numbers: &[u8]) -> NodeSet {
        numbers.iter().fold(NodeSet::EMPTY, |set, number| set.with(node(*number)))
    }

    #[test]
    fn a_lock_that_goes_round_migrates_and_a_page_of_one_writer_never_does() {
        let mut lock = Migration::default();
        for (round, writer) in [1, 2, 0, 1].into_iter().enumerate() {
            assert_eq!(lock.grants_write(THRESHOLD), round > 1, "in round {round}");
            lock.written(THRESHOLD, node(writer), nodes(&[writer, (writer + 2) % 3]));
        }
        let mut message = Migration::default();
        for _ in 0..10 {
            message.written(THRESHOLD, node(0), nodes(&[0, 1, 2]));
            assert!(!message.grants_write(THRESHOLD));
        }
    }

    #[test]
    fn a_page_that_is_only_read_from_now_on_stops_migrating() {
        let mut page = Migration { score: 2, readers: 0, writer: Some(node(0)) };
        let probed = (0..PROBE_EVERY).any(|_| !page.grants_write(THRESHOLD));
        assert!(probed);
        page.written(THRESHOLD, node(0), nodes(&[0, 1]));
        assert!(!page.grants_write(THRESHOLD));
    }

    #[test]
    fn without_the_policy_nothing_is_remembered() {
        let mut page = Migration::default();
        page.written(0, node(1), nodes(&[0, 1]));
        assert_eq!(page, Migration::default());
        assert!(!page.grants_write(0));
    }
}
