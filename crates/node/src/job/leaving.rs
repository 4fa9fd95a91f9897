//! A node leaves a job while its program runs. It asks home for that; home has its threads go elsewhere,
//! takes what it owns and has the others take its pages (`banyan_core::coherence`, retire), and ends its
//! part. Its number is not used again.
//!
//! A thread that waits in a call goes when the call returns, and until then the node stays. Home itself
//! cannot leave: it is where the process is.
//!
//! Not here: when a machine wants to leave (`crate::cluster::node`).

use super::end::Event;
use super::home::Home;
use super::questions::{Answer, PEER_DEADLINE};
use super::{Job, Role};
use crate::cluster::admin::Here;
use crate::observe::{log, usage};
use crate::pager::PagerError;
use banyan_wire::control::ControlMessage;
use banyan_wire::ids::NodeId;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

/// A node hands over what it owns within this time. What it takes with others to take its pages depends on
/// how many there are, and is bounded for a terabyte.
const HAND_OVER_DEADLINE: Duration = Duration::from_secs(30);
const TAKE_DEADLINE: Duration = Duration::from_secs(3600);
/// How long a wait lasts until it looks whether the run has ended.
const TIMEOUT: Duration = Duration::from_millis(100);
/// A node that could not leave tries again after this time.
const AGAIN: Duration = Duration::from_secs(1);
/// Extents that one message tells of.
const OWNERS_MAX: usize = 4096;

impl Job {
    /// Elsewhere: asks home to let this node go. More often does no harm.
    pub(crate) fn ask_to_leave(&self) {
        if let Role::Remote(remote) = &self.role {
            remote.send_home(&ControlMessage::LetGo);
        }
    }

    /// What a person hears of the job whose node is to leave.
    pub(crate) fn here(&self) -> Here {
        let threads = match self.home() {
            Some(home) => home.placement().live()[0],
            None => usage::threads(self.replica_id()).saturating_sub(1),
        };
        Here { program: self.program(), is_home: self.home().is_some(), threads }
    }

    /// At home, asked by a node: lets it go, in a thread of its own.
    pub(super) fn asked_to_let_go(&self, home: &Home, node: NodeId) {
        if home.presence.begins_to_leave(node) {
            self.thread_at_home("leaving", move |job, home| job.keep_letting_go(home, node));
        }
    }

    fn keep_letting_go(&self, home: &Home, node: NodeId) {
        while !self.is_ending() {
            match self.let_go(home, node) {
                Ok(()) => return,
                Err(_) if self.is_ending() => return,
                Err(reason) => {
                    let text = format!("{node} cannot leave: {reason}");
                    self.facts.log.note(log::Kind::Leave, Some(self.facts.id), text);
                    std::thread::sleep(AGAIN);
                }
            }
        }
    }

    /// At home: a node leaves.
    fn let_go(&self, home: &Home, node: NodeId) -> Result<(), String> {
        home.placement().retire(node);
        self.send_threads_away(home, node);
        if self.is_ending() {
            return Err("the run is ending".into());
        }
        // No node joins meanwhile, which would have to be told.
        let _summoning = home.presence.inviting();
        let others: Vec<NodeId> = home.others().filter(|&other| other != node).collect();
        let begun = Instant::now();
        let handed = self.questions.ask(node, |id| ControlMessage::Retire { id });
        if !matches!(self.answer(&handed, begun + HAND_OVER_DEADLINE), Some(Answer::Done)) {
            return Err("it did not hand over what it owns in time".into());
        }
        self.take_from(&others, node)?;
        home.presence.begin_change(PEER_DEADLINE)?;
        let parted = self.part_with(home, &others, node);
        home.presence.end_change();
        parted?;
        home.end_node(node, PEER_DEADLINE);
        self.peers.remove(node);
        let took = begun.elapsed().as_millis();
        let text = format!("{node} has left; its memory was taken in {took} ms");
        self.facts.log.note(log::Kind::Leave, Some(self.facts.id), text);
        Ok(())
    }

    /// Has the threads of a node go to others until none is there, or the run ends.
    fn send_threads_away(&self, home: &Home, node: NodeId) {
        while !self.is_ending() {
            let mut placement = home.placement();
            // One may have been on its way there.
            let refuges = placement.refuges(node);
            if !refuges.is_empty() {
                drop(placement);
                refuges.into_iter().for_each(|(thread, to)| self.move_thread(home, thread, to));
            } else if placement.live()[usize::from(node.get())] > 0 {
                home.placement_changed.wait_for(&mut placement, TIMEOUT);
            } else {
                return;
            }
        }
    }

    /// Home and the others take the pages of a node.
    fn take_from(&self, others: &[NodeId], node: NodeId) -> Result<(), String> {
        let ask = |&other: &NodeId| {
            let question = |id| ControlMessage::Dismiss { id, node: node.get() };
            (other, self.questions.ask(other, question))
        };
        let waits: Vec<_> = others.iter().map(ask).collect();
        let deadline = Instant::now() + TAKE_DEADLINE;
        let taken = self.pager.take_all_from(node, deadline).map_err(|error| self.broken(&error))?;
        if !taken {
            return Err("its pages did not come home in time".into());
        }
        for (other, wait) in waits {
            if !matches!(self.answer(&wait, deadline), Some(Answer::Done)) {
                return Err(format!("{other} did not take its pages"));
            }
        }
        Ok(())
    }

    /// Waits for an answer, but not when the run ends.
    fn answer(&self, wait: &Receiver<Answer>, deadline: Instant) -> Option<Answer> {
        loop {
            match wait.recv_timeout(TIMEOUT) {
                Err(RecvTimeoutError::Timeout) if !self.is_ending() && Instant::now() < deadline => {}
                answer => return answer.ok(),
            }
        }
    }

    /// The node says nothing more, and all hear of it.
    fn part_with(&self, home: &Home, others: &[NodeId], node: NodeId) -> Result<(), String> {
        let closed = self.questions.ask(node, |id| ControlMessage::Close { id });
        let Some(Answer::Used(used)) = self.answer(&closed, Instant::now() + PEER_DEADLINE) else {
            return Err("somebody wants something of it still".into());
        };
        // From here on there is no way back: who does not answer is lost, and ends the run.
        self.pager.forget(node).map_err(|error| self.broken(&error))?;
        home.node_leaves(&self.facts.places, node, used);
        let ask = |&other: &NodeId| {
            let question = |id| ControlMessage::Left { id, node: node.get() };
            (other, self.questions.ask(other, question))
        };
        let waits: Vec<_> = others.iter().map(ask).collect();
        for (other, wait) in waits {
            if !matches!(self.answer(&wait, Instant::now() + PEER_DEADLINE), Some(Answer::Done)) {
                self.lost(other, "it did not hear that another node has left");
            }
        }
        Ok(())
    }

    fn broken(&self, error: &PagerError) -> String {
        let reason = error.to_string();
        self.emit(Event::Broken(reason.clone()));
        reason
    }

    /// Elsewhere, told by home: no thread is here. Hands over what this node owns.
    pub(super) fn told_to_retire(&self, id: u64) {
        self.thread("retire", move |job| {
            let handed = job.pager.hand_over_all(Instant::now() + HAND_OVER_DEADLINE);
            if job.did(handed) {
                for owners in job.pager.owned_by_others().chunks(OWNERS_MAX) {
                    job.questions.send(NodeId::HOME, &ControlMessage::OwnedByOthers(owners.to_vec()));
                }
                job.questions.send(NodeId::HOME, &ControlMessage::Done { id });
            }
        });
    }

    /// Elsewhere, told by home: another node is about to leave, and its pages are taken.
    pub(super) fn told_to_dismiss(&self, id: u64, node: NodeId) {
        self.thread("dismiss", move |job| {
            let taken = job.pager.take_all_from(node, Instant::now() + TAKE_DEADLINE);
            if job.did(taken) {
                job.questions.send(NodeId::HOME, &ControlMessage::Done { id });
            }
        });
    }

    /// Elsewhere, told by home: this node has nothing left. The answer is what its replica used, once and for
    /// all.
    pub(super) fn told_to_close(&self, id: u64) {
        self.thread("close", move |job| {
            let closed = job.pager.fall_silent(Instant::now() + PEER_DEADLINE);
            if job.did(closed) {
                // The others end their connections when they hear of it, which may be before home ends this.
                job.ending.store(true, Ordering::Release);
                if let Err(error) = job.say_last_time(id) {
                    job.emit(Event::Broken(format!("its replica does not tell its time: {error}")));
                }
            }
        });
    }

    /// Elsewhere, told by home: another node has left.
    pub(super) fn told_of_leave(&self, id: u64, node: NodeId) {
        self.facts.places.leave(node);
        match self.pager.forget(node) {
            Ok(()) => self.questions.send(NodeId::HOME, &ControlMessage::Done { id }),
            Err(error) => drop(self.broken(&error)),
        }
        self.peers.remove(node);
    }

    /// Whether it was done; what was not in time home notices.
    fn did(&self, done: Result<bool, PagerError>) -> bool {
        done.unwrap_or_else(|error| {
            self.broken(&error);
            false
        })
    }
}
