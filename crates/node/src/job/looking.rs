//! What people see of a job, on each of its nodes: what it is, what it costs there, its threads and regions.
//!
//! Reading only, and a part at a time where there may be much. Not here: pages (`crate::pager`), and what a
//! job is at its end (`end`).

use super::Job;
use crate::observe::process::processor_seconds;
use banyan_core::regions::Region;
use banyan_wire::control::Place;
use banyan_wire::ids::NodeId;
use std::time::Duration;

/// A thread of a program, as home has it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ThreadView {
    /// Its id at home.
    pub(crate) id: u32,
    pub(crate) node: NodeId,
    pub(crate) moves: u64,
    /// Where it shall go, if it is to leave.
    pub(crate) going_to: Option<NodeId>,
}

/// What only the home of a job knows of it.
#[derive(Clone, Debug)]
pub(crate) struct HomeView {
    /// The program's process.
    pub(crate) process: u32,
    pub(crate) command: String,
    pub(crate) threads: u64,
    pub(crate) moves: u64,
}

impl Job {
    /// What the kernel calls the program.
    pub(crate) fn program(&self) -> String {
        let name = self.part.name.split(|&byte| byte == 0).next().unwrap_or_default();
        String::from_utf8_lossy(name).into_owned()
    }

    /// Where its nodes are reached, by number.
    pub(crate) fn places(&self) -> Vec<Place> {
        self.facts.places.all()
    }

    /// `ending` from when the end has begun.
    pub(crate) fn state(&self) -> &'static str {
        if self.is_ending() { "ending" } else { "running" }
    }

    /// Seconds since this node took part.
    pub(crate) fn seconds(&self) -> f64 {
        self.started.elapsed().as_secs_f64()
    }

    /// Processor time of this node's replica so far.
    pub(crate) fn replica_seconds(&self) -> f64 {
        match self.replica_id() {
            0 => 0.0,
            process => processor_seconds(process),
        }
    }

    /// The lanes to another node: bytes given to each, urgent, bulk and control.
    pub(crate) fn sent_to(&self, node: NodeId) -> Option<[u64; 3]> {
        let peer = self.peers.get(node)?;
        Some([&peer.urgent, &peer.bulk, &peer.control].map(|lane| lane.sent_bytes()))
    }

    /// The shortest time in which another node's kernel acknowledged urgent messages lately.
    pub(crate) fn round_trip(&self, node: NodeId) -> Option<Duration> {
        self.peers.get(node)?.urgent.round_trip()
    }

    /// Bytes sent for coherence, to all.
    pub(crate) fn sent_bytes(&self) -> u64 {
        self.peers.sent_bytes()
    }

    /// The other nodes that are connected.
    pub(crate) fn peer_nodes(&self) -> Vec<NodeId> {
        self.peers.nodes()
    }

    /// Whether what the nodes say to each other is inside TLS.
    pub(crate) fn is_encrypted(&self) -> bool {
        self.facts.trust.is_encrypted()
    }

    /// What the home knows; none elsewhere.
    pub(crate) fn home_view(&self) -> Option<HomeView> {
        let home = self.home()?;
        let placement = home.placement();
        let (threads, moves) =
            (placement.live().iter().map(|&live| u64::from(live)).sum(), placement.moves());
        drop(placement);
        Some(HomeView { process: self.replica_id(), command: home.wishes.command.clone(), threads, moves })
    }

    /// At home: threads from an id on, `most` at most.
    pub(crate) fn threads_from(&self, first: u32, most: usize) -> Vec<ThreadView> {
        let Some(home) = self.home() else { return Vec::new() };
        let view = |(id, node, moves, going_to)| ThreadView { id, node, moves, going_to };
        home.placement().threads_from(first).take(most).map(view).collect()
    }

    /// At home: regions from an address on, `most` at most, with the files that they show.
    pub(crate) fn regions_from(&self, address: u64, most: usize) -> Vec<(Region, Option<String>)> {
        let Some(home) = self.home() else { return Vec::new() };
        home.regions_from(address, most)
    }
}
