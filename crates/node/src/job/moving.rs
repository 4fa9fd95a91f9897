//! Threads that move: one is told to leave the node where it is, and when it stands still its deputy asks
//! where it goes (`requests`, which asks `Placement`).
//!
//! A node is told once. If the thread has not come there yet, the node tells its replica when it has; if it
//! has left, home sees its wish when it has moved. A node that is told of a thread that came back meanwhile
//! has it leave in vain, and `Placement` sends it back.
//!
//! Not here: how a thread is stopped and travels. That is the stub's (`remote/migration.rs`).

use super::Job;
use super::home::Home;
use super::remote::Remote;
use crate::cluster::admin::{AdminAnswer, JobStatus};
use crate::observe::log;
use crate::random::random;
use banyan_wire::control::ControlMessage;
use banyan_wire::ids::NodeId;
use banyan_wire::stub::{Command, Failed, LeaveNode, Reply};
use rustix::io::Errno;
use std::time::{Duration, Instant};

/// A thread that has been told to move and has not within this time waits in a call.
const TIMEOUT: Duration = Duration::from_millis(500);

/// Whether a thread is on this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found {
    Here,
    NotHere,
}

impl Job {
    /// At home: what a person sees of the job.
    pub(crate) fn status(&self) -> Option<JobStatus> {
        let home = self.home()?;
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
        self.home().is_some() && self.replica_id() == process
    }

    /// At home: has a thread go to a node, as a person wants it. It is done, or the thread waits.
    pub(crate) fn move_for_person(&self, thread: u32, node: u8) -> Result<AdminAnswer, String> {
        let home = self.home().ok_or("the job has its home elsewhere")?;
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
        let until = Instant::now() + TIMEOUT;
        self.move_thread(home, thread, to);
        let mut placement = home.placement();
        loop {
            if placement.node(thread).ok_or_else(no_thread)? == to {
                return Ok(AdminAnswer::Done);
            }
            if home.placement_changed.wait_until(&mut placement, until).timed_out() {
                return Ok(AdminAnswer::Waiting);
            }
        }
    }

    /// At home: has a thread go to a node. It goes as soon as it runs the program, if it has not ended by
    /// then; a later wish replaces this one.
    pub(crate) fn move_thread(&self, home: &Home, thread: u32, node: NodeId) {
        let at = home.placement().wish(thread, node);
        if let Some(at) = at {
            self.ask_to_go(thread, at);
        }
    }

    /// At home: a thread moved.
    pub(super) fn note_move(&self, home: &Home, thread: u32, node: NodeId) {
        home.placement_changed.notify_all();
        let text = format!("thread {thread} is on {node} now");
        self.facts.log.note(log::Kind::Move, Some(self.facts.id), text);
    }

    /// At home: a thread is on this node now where it was not sent. It may have been between two nodes when
    /// it was wished elsewhere.
    pub(super) fn thread_is_on(&self, home: &Home, thread: u32, node: NodeId) {
        let mut placement = home.placement();
        let moved = placement.moved(thread, node);
        let leaves = placement.leaves(thread);
        drop(placement);
        if moved {
            self.note_move(home, thread, node);
        }
        if let Some(at) = leaves {
            // Not on this thread, which the replica may wait for.
            self.thread("leave", move |job| job.ask_to_go(thread, at));
        }
    }

    /// At home: has a thread go that is on this node.
    fn ask_to_go(&self, thread: u32, at: NodeId) {
        match at {
            NodeId::HOME => {
                self.have_leave(thread);
            }
            at => self.questions.send(at, &ControlMessage::Leave { thread }),
        }
    }

    /// Elsewhere, told by home: has a thread leave this node. It may not have come yet.
    pub(super) fn told_to_have_leave(&self, remote: &Remote, thread: u32) {
        // First: it may come at any moment.
        remote.to_leave.lock().insert(thread);
        if self.have_leave(thread) == Found::Here {
            remote.to_leave.lock().remove(&thread);
        }
    }

    /// Has a thread leave this node, if it is here.
    fn have_leave(&self, thread: u32) -> Found {
        let Some(commands) = self.commands.get() else { return Found::NotHere };
        // A replica that does not answer has ended, which its other socket tells.
        let Ok(Reply::Failed(Failed { errno })) =
            commands.command(&Command::Leave(LeaveNode { thread }), None)
        else {
            return Found::Here;
        };
        let error = Errno::from_raw_os_error(errno as i32);
        if error == Errno::SRCH {
            return Found::NotHere;
        }
        self.notice(&format!("thread {thread} cannot be stopped to move it, and stays: {error}"));
        Found::Here
    }

    /// Moves one thread after another to another node, at random, for as long as the run lasts.
    pub(super) fn keep_moving(&self, home: &Home, every: Duration) {
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
