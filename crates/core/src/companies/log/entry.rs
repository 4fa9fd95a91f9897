//! The entries of a company's log, and how each is applied.

use super::table::SlotTable;
use crate::companies::slots::STRETCH_EXTENTS;
use crate::companies::{CompanyId, Slot};
use crate::support::{Footing, Incarnation, SupportEpoch};
use alloc::collections::BTreeMap;
use banyan_wire::cluster::MemberId;
use banyan_wire::ids::{Epoch, ExtentNumber, JobId};
use serde::{Deserialize, Serialize};

/// How a job is written.
#[derive(Serialize, Deserialize)]
#[serde(remote = "JobId")]
pub(super) struct JobNumber(u32);

/// How an epoch of an extent is written.
#[derive(Serialize, Deserialize)]
#[serde(remote = "Epoch")]
pub(super) struct EpochNumber(u64);

/// How an extent is written.
#[derive(Serialize, Deserialize)]
#[serde(remote = "ExtentNumber")]
pub(super) struct Number(u64);

/// One life of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Owner {
    /// Who.
    pub node: MemberId,
    /// Since which start.
    pub incarnation: Incarnation,
}

/// Consecutive extents of one stretch of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExtentRun {
    /// Whose address space.
    #[serde(with = "JobNumber")]
    pub job: JobId,
    /// The lowest.
    #[serde(with = "Number")]
    pub first: ExtentNumber,
    /// How many; not zero.
    pub count: u32,
}

impl ExtentRun {
    /// The slot of all of them.
    #[must_use]
    pub const fn slot(&self) -> Slot {
        Slot::of(self.job, self.first)
    }

    /// The number after the last.
    pub(super) const fn end(&self) -> u64 {
        self.first.0 + self.count as u64
    }

    /// Whether there are some, and all in one stretch.
    pub(super) const fn is_sound(&self) -> bool {
        let room = STRETCH_EXTENTS - self.first.0 % STRETCH_EXTENTS;
        self.count > 0 && self.count as u64 <= room && self.first.0 <= u64::MAX - STRETCH_EXTENTS
    }
}

/// How it is known that an incarnation acts no more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Evidence {
    /// Its givers took back their support: of each that is known, the epoch below which it is over.
    Over(BTreeMap<MemberId, SupportEpoch>),
    /// It says so itself: it is another one now.
    Restarted(Incarnation),
}

/// What is proposed to a company.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Entry {
    /// A node takes part.
    Join {
        /// Who.
        owner: Owner,
        /// On what it stands.
        footing: Footing,
    },
    /// A node stands on a newer footing.
    Renew {
        /// Who.
        owner: Owner,
        /// On what it stands.
        footing: Footing,
    },
    /// A node that owns nothing any more takes part no longer.
    Leave {
        /// Who.
        owner: Owner,
    },
    /// Extents that nobody owns get an owner.
    Allocate {
        /// Who.
        owner: Owner,
        /// Which.
        extents: ExtentRun,
    },
    /// Extents are given back by their owner.
    Free {
        /// Who.
        owner: Owner,
        /// Which.
        extents: ExtentRun,
    },
    /// Extents go from one owner to another.
    Lease {
        /// Who has them.
        owner: Owner,
        /// Which.
        extents: ExtentRun,
        /// Who gets them.
        to: Owner,
    },
    /// A node acts no more, and another one gets all that it owned.
    Fence {
        /// Who.
        owner: Owner,
        /// How that is known.
        evidence: Evidence,
        /// Who takes the census of its pages and owns them from now on.
        heir: Owner,
    },
    /// A slot is to go to another company: nothing in it changes any more.
    Seal {
        /// Which.
        slot: Slot,
        /// Where it goes.
        to: CompanyId,
    },
    /// A slot comes, as it was sealed.
    Adopt {
        /// Which.
        slot: Slot,
        /// What is in it.
        table: SlotTable,
        /// Who gets what belongs to incarnations that are over.
        heir: Owner,
    },
    /// The root has assigned a slot that was sealed: it is no longer here.
    Release {
        /// Which.
        slot: Slot,
    },
}

/// What an entry did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Applied {
    /// What it said.
    Done,
    /// The extents have an owner at this epoch.
    Owned(Epoch),
    /// What a dead owner had is its heir's, and must be searched for: extents.
    Inherited(u64),
}

/// Why an entry did nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The incarnation does not take part, or no more.
    #[error("node {0} takes no part in this company as that incarnation: it must start anew and join")]
    NotLive(MemberId),
    /// The node takes part, as this incarnation or one that was not fenced.
    #[error("node {0} takes part already; its former incarnation must be fenced first")]
    StillLive(MemberId),
    /// An incarnation that has been.
    #[error("node {0} has been this incarnation before: its state was put back")]
    OldIncarnation(MemberId),
    /// No majority supports it.
    #[error("no majority supports node {0}")]
    NoFooting(MemberId),
    /// A footing among other members.
    #[error("node {0} stands on other givers than before")]
    OtherGivers(MemberId),
    /// It owns extents.
    #[error("node {0} owns extents")]
    StillOwns(MemberId),
    /// It may act.
    #[error("a majority has not taken back its support of node {0}")]
    MayAct(MemberId),
    /// None, or of more than one stretch.
    #[error("extents of no stretch")]
    Extents,
    /// The slot is another company's.
    #[error("slot {} is not here", .0.0)]
    NotHere(Slot),
    /// The slot is about to be another company's.
    #[error("slot {} goes to company {}", .0.0, .1.0)]
    Sealed(Slot, CompanyId),
    /// It is not.
    #[error("slot {} is not sealed", .0.0)]
    NotSealed(Slot),
    /// It has come already, or has been here since.
    #[error("slot {} has come already", .0.0)]
    Adopted(Slot),
    /// Some of the extents have an owner.
    #[error("extents have an owner: node {}", .0.node)]
    Taken(Owner),
    /// Some of the extents are another's, or nobody's.
    #[error("extents are not the node's own")]
    NotOwned,
}
