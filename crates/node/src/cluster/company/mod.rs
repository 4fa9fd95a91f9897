//! The companies of a cluster on this machine: groups of members that agree on what is so, by Raft.
//!
//! The library (openraft) decides who leads and what is agreed on; here are its log in a file, its messages
//! between members, and what is done with what was agreed on. There is one company so far, the root, of which
//! every member of the cluster has a copy and some members vote. Not here: what a change does
//! (`banyan_core::membership`), and who may ask for one (`super::leading`).
//!
//! openraft 0.9 waits for every write of a group before it goes on, so what is batched is what one of its
//! messages carries, and what different groups write at the same time (`store`).

mod commit;
#[cfg(test)]
mod disk;
mod log;
mod machine;
pub(crate) mod message;
mod network;
mod running;
mod store;
#[cfg(test)]
mod tests;

pub(crate) use network::Reach;
pub(crate) use running::{Company, CompanyFacts};
pub(crate) use store::FILE;

use banyan_core::membership::Change;
use banyan_wire::cluster::{MemberId, Refusal};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::io::Cursor;

/// A member, as the library calls it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) struct Who(pub(crate) MemberId);

impl fmt::Display for Who {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(to)
    }
}

/// What becomes of a change.
pub(crate) type Outcome = Result<(), Refusal>;

openraft::declare_raft_types!(
    /// The types of the root company.
    pub(crate) Root:
        D = Change,
        R = Outcome,
        NodeId = Who,
        // Where a member is its list says.
        Node = (),
        Entry = openraft::Entry<Root>,
        SnapshotData = Cursor<Vec<u8>>,
);

type Entry = openraft::Entry<Root>;
type LogId = openraft::LogId<Who>;
type Vote = openraft::Vote<Who>;
type StorageError = openraft::StorageError<Who>;
type SnapshotMeta = openraft::SnapshotMeta<Who, ()>;
type StoredMembership = openraft::StoredMembership<Who, ()>;
type Raft = openraft::Raft<Root>;
