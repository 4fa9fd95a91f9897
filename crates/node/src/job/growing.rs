//! A job on all nodes of its cluster: a machine that joins the cluster while the program runs joins the job.
//!
//! Its number is the next one, and the pool of that number becomes its memory, of which it is the first
//! owner, unless the program has memory there: then it stays home's. Nodes that take part are told of it
//! first, so that they let it connect; only home counts it among those that take part, when all is done. If
//! anything fails before, its number is free again, and it is tried again later.
//!
//! Not here: where threads go then (`spreading`, and `core::placement`).

use super::home::Home;
use super::invitation::{Invitation, Pools};
use super::questions::{Answer, PEER_DEADLINE};
use super::settings::Placement;
use super::{Job, START_DEADLINE, memory_total};
use crate::cluster::membership::Cluster;
use crate::observe::log;
use banyan_wire::control::{ControlMessage, Place};
use banyan_wire::ids::NodeId;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// How often to look for members that do not take part.
const LOOK: Duration = Duration::from_millis(200);
/// One that could not is tried again after this time: by then the others have given up waiting for what it
/// began.
const AGAIN: Duration = Duration::from_secs(5);

impl Job {
    /// At home: has every machine that joins the cluster take part, for as long as the run lasts.
    pub(super) fn keep_growing(&self, home: &Home, cluster: &Cluster) {
        // When to try a member again, and why it did not take part.
        let mut refused = BTreeMap::new();
        while !self.is_ending() {
            std::thread::sleep(LOOK);
            for member in cluster.members_beside(&self.facts.places.present()) {
                if refused.get(&member.id).is_some_and(|&(again, _)| Instant::now() < again) {
                    continue;
                }
                let name = member.name.clone();
                let grown = cluster.ready_place(&member).and_then(|place| self.grow(home, place));
                let text = match grown {
                    Ok(()) => format!("{name} takes part as {} of {}", self.nodes() - 1, self.nodes()),
                    Err(_) if self.is_ending() => return,
                    Err(reason) => {
                        let before = refused.insert(member.id, (Instant::now() + AGAIN, reason.clone()));
                        if before.is_some_and(|(_, before)| before == reason) {
                            continue;
                        }
                        format!("{name} does not take part: {reason}")
                    }
                };
                self.facts.log.note(log::Kind::Join, Some(self.facts.id), text);
            }
        }
    }

    /// At home: the job gets one more node.
    fn grow(&self, home: &Home, place: Place) -> Result<(), String> {
        let inviting = home.presence.inviting();
        let Some(invitation) = &home.presence.invitation else { return Ok(()) };
        if let Some(reason) = &*inviting {
            return Err(reason.clone());
        }
        let number = NodeId::new(self.nodes());
        let node = number.ok_or_else(|| format!("a run has {} nodes at most", self.nodes()))?;
        let waits_for_others = home.wishes.placement == Placement::Auto && home.presence.nodes() == 1;
        self.facts.places.grow(node, place);
        let grown = if waits_for_others {
            // It is asked when the others are.
            Ok(())
        } else {
            self.bring(home, invitation, node)
        };
        match grown {
            Ok(()) => {
                home.placement().grow(self.nodes());
                home.set_memory_total(memory_total() * u64::from(self.nodes()));
                drop(inviting);
                if home.wishes.placement == Placement::Spread {
                    self.spread_workers(home);
                }
                Ok(())
            }
            Err(reason) => {
                self.facts.places.cancel_grow(node);
                self.peers.remove(node);
                self.pager.take_pools_back(&[node]);
                for other in home.others() {
                    self.questions.send(other, &ControlMessage::CancelGrow { node: node.get() });
                }
                Err(reason)
            }
        }
    }

    /// Has a new node take part: the others know it, all are connected with it, and its replica stands.
    fn bring(&self, home: &Home, invitation: &Invitation, node: NodeId) -> Result<(), String> {
        home.presence.forgive();
        home.forget_node(node);
        let deadline = Instant::now() + START_DEADLINE;
        let place = self.facts.places.get(node);
        let tell = |id| ControlMessage::Grow { id, node: node.get(), place };
        let waits: Vec<_> = home.others().map(|other| (other, self.questions.ask(other, tell))).collect();
        for (other, wait) in waits {
            if !matches!(wait.recv_timeout(PEER_DEADLINE), Ok(Answer::Done)) {
                return Err(format!("{other} did not answer"));
            }
        }
        let pools = home.with_free_pools(&self.pager, std::iter::once(node));
        invitation.ask(node, Pools::Of(&pools))?;
        self.connect_to(node, deadline)?;
        home.wait_for_nodes(node.get() + 1, deadline)?;
        home.give_pools(&self.pager, &pools)?;
        if let Some((lost, _)) = home.presence.take_part(node.get() + 1, deadline)? {
            self.lost(lost, "it ended as soon as it was here");
        }
        Ok(())
    }

    /// Spreads all threads but the first evenly over all nodes.
    fn spread_workers(&self, home: &Home) {
        let first = self.replica_id();
        let moves = home.placement().spread_over(self.nodes(), |thread| thread != first);
        for (thread, node) in moves {
            self.move_thread(home, thread, node);
        }
    }

    /// Elsewhere, told by home: a node is about to connect.
    pub(super) fn told_to_grow(&self, id: u64, node: u8, place: Place) -> Result<(), String> {
        let number = NodeId::new(node).filter(|&node| node > self.node);
        let node = number.ok_or_else(|| format!("node {node} cannot join"))?;
        // Of an attempt that failed.
        self.peers.remove(node);
        self.arrived.forget(node);
        if !self.facts.places.grow(node, place) {
            return Err(format!("{node} is not the next one"));
        }
        self.questions.send(NodeId::HOME, &ControlMessage::Grown { id });
        // It need not be noted here if that fails: the new node sees it, and home.
        self.thread("growing", move |job| drop(job.connect_to(node, Instant::now() + START_DEADLINE)));
        Ok(())
    }

    /// Elsewhere, told by home: that node does not join after all.
    pub(super) fn told_to_cancel_grow(&self, node: u8) {
        if let Some(node) = NodeId::new(node).filter(|&node| node > self.node) {
            self.facts.places.cancel_grow(node);
            self.peers.remove(node);
        }
    }
}
