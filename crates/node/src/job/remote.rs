//! The part of a job that a node has whose daemon is not the home: its replica is a child, and home is asked.
//!
//! Lock order: `last_time` before those of the replica's commands and of lanes. `to_leave` is taken alone.

use super::questions::{Answer, PEER_DEADLINE, Questions};
use super::{Job, Role};
use crate::cluster::authority::{Authority, MemoryCall};
use crate::pager::{PagerError, pools};
use banyan_core::coherence::Extents;
use banyan_core::regions::Effect;
use banyan_wire::control::{ControlMessage, RegionFacts};
use banyan_wire::ids::NodeId;
use banyan_wire::stub::{Command, Reply, TimeHere, Used};
use parking_lot::Mutex;
use std::collections::BTreeSet;
use std::sync::Arc;

/// What only a node elsewhere has of a job.
#[derive(Debug)]
pub(crate) struct Remote {
    own: NodeId,
    nodes: u8,
    /// The pool of its number is its memory.
    has_pool: bool,
    questions: Arc<Questions>,
    /// Threads that shall leave and have not come. One that left before this node was told may stay here
    /// until it comes again.
    pub(super) to_leave: Mutex<BTreeSet<u32>>,
    /// What the replica used in all, once the node is about to leave: the clocks of the program stay at that.
    last_time: Mutex<Option<Used>>,
}

impl Remote {
    /// The part of node `own` of `nodes`.
    pub(crate) fn new(own: NodeId, nodes: u8, has_pool: bool, questions: Arc<Questions>) -> Self {
        Self { own, nodes, has_pool, questions, to_leave: Mutex::default(), last_time: Mutex::default() }
    }

    /// Sends a message to home.
    pub(crate) fn send_home(&self, message: &ControlMessage) {
        self.questions.send(NodeId::HOME, message);
    }

    fn send_time(&self, id: u64, Used { user, system }: Used) {
        self.send_home(&ControlMessage::Used { id, user, system });
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
        let Role::Remote(remote) = &self.role else { return Ok(()) };
        // Held, so that no later one is said after the last.
        let last = remote.last_time.lock();
        let used = match *last {
            Some(used) if thread == 0 => used,
            _ => self.time_here(thread)?,
        };
        remote.send_time(id, used);
        Ok(())
    }

    /// Elsewhere: answers what this node's replica used in all, and says the same from now on.
    pub(super) fn say_last_time(&self, id: u64) -> std::io::Result<()> {
        let Role::Remote(remote) = &self.role else { return Ok(()) };
        let mut last = remote.last_time.lock();
        remote.send_time(id, *last.insert(self.time_here(0)?));
        Ok(())
    }

    fn time_here(&self, thread: u32) -> std::io::Result<Used> {
        let commands = self.commands.get().ok_or(std::io::ErrorKind::NotConnected)?;
        match commands.command(&Command::ProcessorTime(TimeHere { thread }), None)? {
            Reply::Used(used) => Ok(used),
            _ => Err(std::io::ErrorKind::InvalidData.into()),
        }
    }
}

impl Authority for Remote {
    /// Only its own pool, if it has one: home may have given any other extent away when this node asks.
    fn first_owners(&self) -> Vec<(Extents, NodeId)> {
        pools(self.nodes).into_iter().filter(|&(_, owner)| self.has_pool && owner == self.own).collect()
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
