//! Control messages to the other nodes of a job, and the answers that are waited for.
//!
//! Lock order: `waiting` is taken alone.

use crate::transport::Peers;
use banyan_core::placement::spreading::Usage;
use banyan_wire::control::{ControlMessage, RegionFacts};
use banyan_wire::frame;
use banyan_wire::ids::{NodeId, NodeSet};
use banyan_wire::stub::Used;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

/// A question that another node must answer fails after this time, and with it the run.
pub(crate) const PEER_DEADLINE: Duration = Duration::from_secs(5);

/// What a question is answered with.
#[derive(Debug)]
pub(crate) enum Answer {
    /// It was done.
    Done,
    /// The region, if there is one.
    Region(Option<RegionFacts>),
    /// Processor time.
    Used(Used),
    /// What the node did so far.
    Usage(Usage),
    /// The stretches of memory that a node has, whose replica stands still.
    Held(Vec<(u64, u64)>),
    /// The node has left the job, or leaves it: nothing else will come.
    Left,
}

/// Who waits for an answer.
#[derive(Debug, Default)]
struct Waiting {
    /// By the id of the question.
    asked: HashMap<u64, (NodeId, SyncSender<Answer>)>,
    /// Nodes that have left.
    left: NodeSet,
}

/// The control lanes of a job, and who waits for an answer on them.
#[derive(Debug)]
pub(crate) struct Questions {
    peers: Arc<Peers>,
    waiting: Mutex<Waiting>,
    last_id: AtomicU64,
}

impl Questions {
    /// Over the connections of a job.
    pub(crate) fn new(peers: Arc<Peers>) -> Self {
        Self { peers, waiting: Mutex::default(), last_id: AtomicU64::new(0) }
    }

    /// Sends a message that is not answered.
    pub(crate) fn send(&self, node: NodeId, message: &ControlMessage) {
        if let Some(peer) = self.peers.get(node) {
            peer.control.send(&frame::encode(message));
        }
    }

    /// Sends a question. The answer comes to the receiver.
    pub(crate) fn ask(&self, node: NodeId, question: impl FnOnce(u64) -> ControlMessage) -> Receiver<Answer> {
        let id = self.last_id.fetch_add(1, Ordering::Relaxed) + 1;
        let (done, wait) = sync_channel(1);
        let mut waiting = self.waiting.lock();
        if waiting.left.contains(node) {
            let _ = done.try_send(Answer::Left);
            return wait;
        }
        waiting.asked.insert(id, (node, done));
        drop(waiting);
        self.send(node, &question(id));
        wait
    }

    /// A node has left: who waits for its answer waits no longer.
    pub(crate) fn node_has_left(&self, node: NodeId) {
        let mut waiting = self.waiting.lock();
        waiting.left = waiting.left.with(node);
        for (_, (_, done)) in waiting.asked.extract_if(|_, (asked, _)| *asked == node) {
            let _ = done.try_send(Answer::Left);
        }
    }

    /// An answer has come.
    pub(crate) fn answer(&self, id: u64, answer: Answer) {
        if let Some((_, waiting)) = self.waiting.lock().asked.remove(&id) {
            let _ = waiting.try_send(answer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_asks_a_node_that_leaves_is_told() {
        let questions = Questions::new(Arc::default());
        let [one, two] = [1, 2].map(|number| NodeId::new(number).unwrap());
        let ask = |node| questions.ask(node, |id| ControlMessage::TellUsage { id });
        let (before, other) = (ask(one), ask(two));
        questions.node_has_left(one);
        assert!(matches!(before.try_recv(), Ok(Answer::Left)));
        assert!(matches!(ask(one).try_recv(), Ok(Answer::Left)), "also who asks later");
        assert!(other.try_recv().is_err());
        questions.answer(2, Answer::Done);
        assert!(matches!(other.try_recv(), Ok(Answer::Done)));
    }
}
