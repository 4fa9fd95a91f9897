//! The part of a job that a node has whose daemon is not the home: its replica is a child, and home is asked.

use super::Job;
use super::questions::{Answer, PEER_DEADLINE, Questions};
use crate::cluster::authority::{Authority, MemoryCall};
use crate::pager::{PagerError, pools};
use banyan_core::coherence::Extents;
use banyan_core::regions::Effect;
use banyan_wire::control::{ControlMessage, RegionFacts};
use banyan_wire::ids::NodeId;
use banyan_wire::stub::{Command, Reply, TimeHere, Used};
use std::sync::Arc;

/// What only a node elsewhere has of a job.
#[derive(Debug)]
pub(crate) struct Remote {
    own: NodeId,
    nodes: u8,
    questions: Arc<Questions>,
}

impl Remote {
    /// The part of node `own` of `nodes`.
    pub(crate) fn new(own: NodeId, nodes: u8, questions: Arc<Questions>) -> Self {
        Self { own, nodes, questions }
    }

    /// Sends a message to home.
    pub(crate) fn send_home(&self, message: &ControlMessage) {
        self.questions.send(NodeId::HOME, message);
    }

    /// From home: unmaps a range in this node's replica and says so.
    pub(crate) fn forget(job: &Job, id: u64, start: u64, length: u64) -> std::io::Result<()> {
        job.unmap(start, length)?;
        job.questions.send(NodeId::HOME, &ControlMessage::Forgotten { id });
        Ok(())
    }
}

impl Job {
    /// Elsewhere: answers what processor time this node's replica used, or one thread in it.
    pub(crate) fn say_time(&self, id: u64, thread: u32) -> std::io::Result<()> {
        let commands = self.commands.get().ok_or(std::io::ErrorKind::NotConnected)?;
        match commands.command(&Command::ProcessorTime(TimeHere { thread }), None)? {
            Reply::Used(Used { user, system }) => {
                self.questions.send(NodeId::HOME, &ControlMessage::Used { id, user, system });
                Ok(())
            }
            _ => Err(std::io::ErrorKind::InvalidData.into()),
        }
    }
}

impl Authority for Remote {
    /// Only its own pool: home may have given any other extent away when this node asks.
    fn first_owners(&self) -> Vec<(Extents, NodeId)> {
        pools(self.nodes).into_iter().filter(|&(_, owner)| owner == self.own).collect()
    }

    fn memory_call(&self, call: MemoryCall) -> Result<Effect, PagerError> {
        // Deputies make the memory calls of threads elsewhere, and deputies are at home.
        Err(PagerError::Fatal(format!("{:?} of memory by a replica that is not at home", call.kind)))
    }

    fn learn(&self, _: NodeId, address: u64, access: u32) -> Result<Option<RegionFacts>, PagerError> {
        let question = |id| ControlMessage::Lookup { id, address, access };
        match self.questions.ask(NodeId::HOME, question).recv_timeout(PEER_DEADLINE) {
            Ok(Answer::Region(region)) => Ok(region),
            _ => Err(PagerError::Fatal("the home node does not answer".into())),
        }
    }
}
