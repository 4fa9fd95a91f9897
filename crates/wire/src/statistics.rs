//! What one node did in a run, as it reports to home in its last control message.
//!
//! Not for adding up what all nodes did, nor for the text of a summary: those are in `banyan-node`.

use crate::ids::NodeId;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

/// What one node did in a run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct NodeStatistics {
    /// Its name.
    pub name: String,
    /// CPU time of the replica.
    pub cpu_seconds: f64,
    /// CPU time of the daemon.
    pub daemon_cpu_seconds: f64,
    /// Bytes of the program's memory that were here at the end.
    pub memory_bytes: u64,
    /// Faults for reading.
    pub read_faults: u64,
    /// Faults for writing.
    pub write_faults: u64,
    /// Faults for writing a page that was here for reading.
    pub upgrade_faults: u64,
    /// How long faults took; durations that did not occur are left out.
    pub waits: Vec<WaitCount>,
    /// Bytes sent to other nodes for coherence.
    pub bytes_sent: u64,
    /// System calls made for threads elsewhere.
    pub deputy_calls: u64,
    /// Time that threads waited for pages.
    pub wait_seconds: f64,
    /// Which parts of the address space had memory here at the end.
    pub memory: Vec<MemoryPiece>,
}

impl NodeStatistics {
    /// Those of a node that did not say what it did.
    #[must_use]
    pub fn unknown(node: NodeId) -> Self {
        Self { name: node.to_string(), ..Self::default() }
    }
}

/// Faults that took equally long, to two significant digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WaitCount {
    /// The longest duration that counts here.
    pub nanoseconds: u64,
    /// How many faults.
    pub count: u64,
}

/// Memory that a node has in one piece of the address space.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemoryPiece {
    /// First address; a multiple of the extent size.
    pub start: u64,
    /// Bytes of address space; a power of two times the extent size.
    pub length: u64,
    /// Bytes of it that are in this node's memory, copies of other nodes' pages included.
    pub present: u64,
    /// The node that owns the first extent in it with memory, as this node knows.
    pub owner: NodeId,
}
