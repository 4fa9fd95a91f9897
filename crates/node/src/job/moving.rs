//! Threads that move: one is told to leave the node where it is, and when it stands still its deputy asks
//! where it goes (`requests`, which asks `Placement`).
//!
//! Not here: how a thread is stopped and travels. That is the stub's (`remote/migration.rs`).

use super::home::Home;
use super::{Job, Role};
use crate::cluster::admin::{AdminAnswer, JobStatus};
use crate::random::random;
use banyan_wire::control::ControlMessage;
use banyan_wire::ids::NodeId;
use banyan_wire::stub::{Command, Failed, LeaveNode, Reply};
use std::io;
use std::time::{Duration, Instant};

/// A thread that has been told to move and has not within this time waits in a call.
const PATIENCE: Duration = Duration::from_millis(500);
/// How often it is looked for.
const LOOK: Duration = Duration::from_millis(1);

impl Job {
    /// At home: what a person sees of the job.
    pub(crate) fn status(&self) -> Option<JobStatus> {
        let Role::Home(home) = &self.role else { return None };
        let name = self.part.name.split(|&byte| byte == 0).next().unwrap_or_default();
        let placement = home.placement();
        Some(JobStatus {
            process: self.replica_id(),
            program: String::from_utf8_lossy(name).into_owned(),
            nodes: self.facts.places.present().len() as u8,
            moves: placement.moves(),
            threads: placement.threads().map(|(thread, node)| (thread, node.get())).collect(),
        })
    }

    /// Whether this is the home of the program with this process id.
    pub(crate) fn is_home_of(&self, process: u32) -> bool {
        matches!(self.role, Role::Home(_)) && self.replica_id() == process
    }

    /// At home: has a thread go to a node, as a person wants it. It is done, or the thread waits.
    pub(crate) fn move_for_person(&self, thread: u32, node: u8) -> Result<AdminAnswer, String> {
        let Role::Home(home) = &self.role else { return Err("the job has its home elsewhere".into()) };
        let last = home.placement().live().len() as u8 - 1;
        let to = NodeId::new(node).filter(|_| node <= last);
        let to = to.ok_or_else(|| format!("the run has no node {node}; its nodes are 0 to {last}"))?;
        if !home.placement().is_usable(to) {
            return Err(format!("{to} is leaving the run, or has left it"));
        }
        if to != NodeId::HOME {
            self.invite(home)?;
        }
        let no_thread =
            || format!("the program has no thread {thread}; see `banyan job threads {}`", self.replica_id());
        let until = Instant::now() + PATIENCE;
        let mut told_at = None;
        loop {
            let at = home.placement().node(thread).ok_or_else(no_thread)?;
            if at == to {
                return Ok(AdminAnswer::Done);
            }
            // One that was between two nodes when it was told has not heard it.
            if told_at.replace(at) != Some(at) {
                self.move_thread(home, thread, to);
            }
            if Instant::now() >= until {
                return Ok(AdminAnswer::Waiting);
            }
            std::thread::sleep(LOOK);
        }
    }

    /// At home: has a thread go to a node. It goes as soon as it runs the program, if it has not ended by
    /// then; a later wish replaces this one.
    pub(crate) fn move_thread(&self, home: &Home, thread: u32, node: NodeId) {
        let at = home.placement().wish(thread, node);
        match at {
            None => {}
            Some(NodeId::HOME) => self.have_leave(thread),
            Some(at) => self.questions.send(at, &ControlMessage::Leave { thread }),
        }
    }

    /// Has a thread leave this node, if it is here.
    pub(crate) fn have_leave(&self, thread: u32) {
        let Some(commands) = self.commands.get() else { return };
        // A replica that does not answer has ended, which its other socket tells.
        if let Ok(Reply::Failed(Failed { errno })) =
            commands.command(&Command::Leave(LeaveNode { thread }), None)
        {
            let error = io::Error::from_raw_os_error(errno as i32);
            self.notice(&format!("thread {thread} cannot be stopped to move it, and stays: {error}"));
        }
    }

    /// Moves one thread after another to another node, at random, for as long as the run lasts.
    pub(super) fn keep_moving(&self, every: Duration) {
        let Role::Home(home) = &self.role else { return };
        let below = |bound: usize| random().map_or(0, |bytes| usize::from_le_bytes(bytes) % bound);
        while !self.is_ending() {
            std::thread::sleep(every);
            let threads: Vec<(u32, NodeId)> = home.placement().threads().collect();
            let mut nodes = home.presence.present();
            nodes.retain(|&node| home.placement().is_usable(node));
            if threads.is_empty() || nodes.len() < 2 {
                continue;
            }
            let (thread, at) = threads[below(threads.len())];
            nodes.retain(|&node| node != at);
            self.move_thread(home, thread, nodes[below(nodes.len())]);
        }
    }
}
