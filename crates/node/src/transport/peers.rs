//! The other nodes of a run and the lanes to each. Nodes can join and leave while others send.
//!
//! Lock order: after the pager's state lock; a lane's queue is taken after it was released.

use super::Lane;
use banyan_wire::ids::NodeId;
use parking_lot::RwLock;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Another node: the lanes to it.
#[derive(Debug)]
pub(crate) struct Peer {
    /// Coherence messages that a thread waits for.
    pub urgent: Arc<Lane>,
    /// Coherence messages with long runs.
    pub bulk: Arc<Lane>,
    /// Everything else.
    pub control: Arc<Lane>,
}

impl Peer {
    fn sent_bytes(&self) -> u64 {
        self.urgent.sent_bytes() + self.bulk.sent_bytes()
    }
}

/// The other nodes.
#[derive(Debug, Default)]
pub(crate) struct Peers {
    peers: RwLock<BTreeMap<NodeId, Arc<Peer>>>,
    /// What was sent to nodes that have left.
    sent_before: AtomicU64,
}

impl Peers {
    /// The lanes to a node, if it is one of the others now. Who has them may go on using them after it has
    /// left: what is sent then is dropped.
    #[must_use]
    pub(crate) fn get(&self, node: NodeId) -> Option<Arc<Peer>> {
        self.peers.read().get(&node).cloned()
    }

    /// A node has joined. One with the same number that has not left is replaced, and its lanes end.
    pub(crate) fn insert(&self, node: NodeId, peer: Peer) {
        let before = self.peers.write().insert(node, Arc::new(peer));
        self.end(before);
    }

    /// A node has left: its lanes end.
    pub(crate) fn remove(&self, node: NodeId) {
        let before = self.peers.write().remove(&node);
        self.end(before);
    }

    /// The others, lowest first.
    #[must_use]
    pub(crate) fn nodes(&self) -> Vec<NodeId> {
        self.peers.read().keys().copied().collect()
    }

    /// Bytes sent on coherence lanes so far, to nodes that have left too.
    #[must_use]
    pub(crate) fn sent_bytes(&self) -> u64 {
        let peers = self.peers.read();
        self.sent_before.load(Ordering::Relaxed) + peers.values().map(|peer| peer.sent_bytes()).sum::<u64>()
    }

    fn end(&self, peer: Option<Arc<Peer>>) {
        let Some(peer) = peer else { return };
        for lane in [&peer.urgent, &peer.bulk, &peer.control] {
            lane.end();
        }
        self.sent_before.fetch_add(peer.sent_bytes(), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::Connection;
    use crate::transport::tests::pair;
    use std::io::Read;
    use std::time::Duration;

    fn node(number: u8) -> NodeId {
        NodeId::new(number).unwrap()
    }

    /// Lanes to a new peer, and its ends of them.
    fn peer() -> (Peer, [Connection; 3]) {
        let ends: [(Arc<Lane>, Connection); 3] = std::array::from_fn(|_| {
            let (ours, theirs) = pair();
            theirs.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
            (Lane::new(&ours, "test").unwrap(), theirs)
        });
        let [(urgent, first), (bulk, second), (control, third)] = ends;
        (Peer { urgent, bulk, control }, [first, second, third])
    }

    #[test]
    fn a_node_that_joins_can_be_sent_to_and_one_that_has_left_sees_its_lanes_end() {
        let peers = Peers::default();
        let (joined, ends) = peer();
        peers.insert(node(2), joined);
        assert_eq!(peers.nodes(), [node(2)]);
        let kept = peers.get(node(2)).unwrap();
        kept.urgent.send(b"hello");
        let mut bytes = [0; 5];
        (&ends[0]).read_exact(&mut bytes).unwrap();
        assert_eq!(&bytes, b"hello");
        peers.remove(node(2));
        assert!(peers.get(node(2)).is_none());
        kept.urgent.send(b"too late");
        for end in &ends {
            assert_eq!((&mut &*end).read(&mut bytes).unwrap(), 0, "the lane has ended");
        }
        assert!(peers.sent_bytes() >= 5, "what was sent is not forgotten");
    }

    #[test]
    fn a_node_that_comes_again_replaces_its_old_lanes() {
        let peers = Peers::default();
        let ((first, old), (second, new)) = (peer(), peer());
        peers.insert(node(1), first);
        peers.insert(node(1), second);
        let mut byte = [0];
        assert_eq!((&old[2]).read(&mut byte).unwrap(), 0);
        peers.get(node(1)).unwrap().control.send(b"x");
        (&new[2]).read_exact(&mut byte).unwrap();
        assert_eq!(peers.nodes(), [node(1)]);
    }

    #[test]
    fn nodes_join_and_leave_while_others_talk() {
        const MESSAGES: u32 = 20_000;
        let peers = Peers::default();
        let (steady, ends) = peer();
        peers.insert(node(1), steady);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for number in 0..MESSAGES {
                    peers.get(node(1)).unwrap().urgent.send(&number.to_le_bytes());
                    for other in 2..6 {
                        if let Some(peer) = peers.get(node(other)) {
                            peer.bulk.send(&[0; 100]);
                        }
                    }
                }
            });
            scope.spawn(|| {
                for round in 0..60 {
                    let other = node(2 + round % 4);
                    peers.insert(other, peer().0);
                    assert!(peers.nodes().contains(&other));
                    peers.remove(other);
                }
            });
            let mut bytes = [0; 4];
            for number in 0..MESSAGES {
                (&ends[0]).read_exact(&mut bytes).unwrap();
                assert_eq!(u32::from_le_bytes(bytes), number);
            }
        });
        assert_eq!(peers.nodes(), [node(1)]);
    }
}
