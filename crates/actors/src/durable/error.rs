//! Why a durable configuration is not opened, does not answer, or does not commit.

use std::path::{Path, PathBuf};

use banyan_pages::store::{CommitError, ReadError};

use super::health::StoreHealth;
use super::records::RecordsError;
use crate::model::address::Local;
use crate::model::message::CodecError;

/// Why a durable configuration could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenDurableError {
    /// The arena could not be opened.
    #[error(transparent)]
    Records(#[from] RecordsError),
    /// A record is not what this build writes.
    #[error("{path}: {what} cannot be read ({reason}); use the build that wrote it")]
    Record {
        /// The arena.
        path: PathBuf,
        /// Which record.
        what: String,
        /// Why.
        reason: String,
    },
    /// A durable configuration of that name is open.
    #[error("a durable configuration named {name} is open in this process; choose another name")]
    NameTaken {
        /// The name.
        name: String,
    },
    /// The store is a copy of one that is open.
    #[error(
        "the store of {name} has the identity of another one that is open in this process: it is a copy of that; \
         make copies by a snapshot to a file, which gives them an identity of their own"
    )]
    Twin {
        /// The name.
        name: String,
    },
    /// A new store could not be written.
    #[error("{path}: the store could not be written: {source}")]
    Write {
        /// The arena.
        path: PathBuf,
        /// Why.
        source: CommitError,
    },
    /// An actor's kind is not among those given.
    #[error("{path}: an actor of kind {kind} was kept, and no maker for that kind was given to `Kinds`")]
    UnknownKind {
        /// The arena.
        path: PathBuf,
        /// The kind.
        kind: String,
    },
}

impl OpenDurableError {
    pub(super) fn unreadable(path: &Path, what: &str, error: impl std::fmt::Display) -> Self {
        Self::Record { path: path.to_owned(), what: what.to_owned(), reason: error.to_string() }
    }
}

/// Why a durable configuration gave no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DurableError {
    /// It is not open, not durable, or did not answer in time.
    #[error("the durable configuration {0} is not open here, or did not answer in time")]
    NoAnswer(String),
    /// The snapshot was not made.
    #[error("{0}")]
    Refused(String),
}

/// Why a batch was not committed. If the disk was full or failed, it waits for that. Else the configuration
/// takes no more events; opened again, it is where it was.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CommitFailed {
    #[error("the batch was not committed: {0}")]
    Store(#[from] CommitError),
    #[error("the state of actor {}.{} could not be written as bytes", .0.slot, .0.generation)]
    NotSaved(Local),
    #[error(transparent)]
    Message(#[from] CodecError),
    #[error("what it gives or starts cannot be kept with the budgets")]
    Budgets(StoreHealth),
}

impl CommitFailed {
    /// How the disk is that was in the way; `None`: it was something else.
    pub(super) fn disk(&self) -> Option<StoreHealth> {
        match self {
            Self::Store(error) => disk_of(error),
            Self::Budgets(health) => health.waits().then_some(*health),
            Self::NotSaved(_) | Self::Message(_) => None,
        }
    }
}

/// How the disk is that was in a commit's way; `None`: it was something else, which does not pass.
pub(super) fn disk_of(error: &CommitError) -> Option<StoreHealth> {
    match error {
        CommitError::DiskFull { .. } => Some(StoreHealth::Full),
        CommitError::Io(_) | CommitError::Poisoned | CommitError::Read(ReadError::Io(_)) => {
            Some(StoreHealth::Faulty)
        }
        _ => None,
    }
}
