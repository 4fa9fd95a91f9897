//! The types of a company, as the library wants them.

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

/// The outcome of a change.
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

pub(super) type Entry = openraft::Entry<Root>;
pub(super) type LogId = openraft::LogId<Who>;
pub(super) type Vote = openraft::Vote<Who>;
pub(super) type StorageError = openraft::StorageError<Who>;
pub(super) type SnapshotMeta = openraft::SnapshotMeta<Who, ()>;
pub(super) type StoredMembership = openraft::StoredMembership<Who, ()>;
pub(super) type Raft = openraft::Raft<Root>;
