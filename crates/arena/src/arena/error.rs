//! Why an operation on an arena failed, an enum for each.

use std::path::PathBuf;

use crate::disk::FORKED;
use crate::disk::FileDiskError;
use crate::heap::LoadError;
use crate::store::{CommitError, CreateError, OpenError, ReadError};

/// Why an arena could not be created or opened. The file is as it was.
#[derive(Debug, thiserror::Error)]
pub enum ArenaError {
    /// The file could not be had.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: FileDiskError,
    },
    /// The store could not be created.
    #[error(transparent)]
    Create(#[from] CreateError),
    /// The store could not be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// Something else of this process lies where the heap must be.
    #[error(
        "address {base:#x} is taken in this process; open fewer arenas at a time; `banyan arena move` takes nouns to another base"
    )]
    BaseTaken {
        /// The heap's address.
        base: u64,
    },
    /// The heap's memory could not be had.
    #[error("the heap's memory could not be reserved: {0}")]
    Memory(#[source] std::io::Error),
    /// The pages are whole, but another version of the allocator laid the heap out.
    #[error(
        "the heap in this arena was laid out by another version; export it with that version and import it here"
    )]
    ForeignHeap,
    /// A page could not be loaded.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// Pages cannot come lazily here.
    #[error(
        "lazy loading and memory budgets need userfaultfd with asynchronous write protection (Linux 6.7); open the arena with eager loading and no budget"
    )]
    LazyUnavailable,
}

/// Why a rollback failed: the heap's content is undefined, so the arena must be dropped and opened again.
#[derive(Debug, thiserror::Error)]
pub enum RollbackError {
    /// The write tracking or the memory failed.
    #[error("the heap's memory could not be reset: {0}; drop the arena and open it again")]
    Memory(#[source] std::io::Error),
    /// A committed page could not be read back.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A deferred commit had failed.
    #[error(transparent)]
    Commit(#[from] CommitError),
    /// The heap that was read back is not one.
    #[error("the last commit holds no heap of this version; drop the arena and open it again")]
    ForeignHeap,
}

/// Why there is no memory for an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AllocateError {
    /// No room in the reservation.
    #[error(
        "the arena's reservation has no room for {size} bytes aligned to {alignment}; free something, or move what it holds into an arena with a larger reservation"
    )]
    Full {
        /// Bytes asked for.
        size: usize,
        /// Alignment asked for.
        alignment: usize,
    },
    /// This process has no heap.
    #[error("{}", FORKED)]
    Forked,
}

impl From<LoadError> for ArenaError {
    fn from(error: LoadError) -> Self {
        match error {
            LoadError::Memory(error) => Self::Memory(error),
            LoadError::Read(error) => Self::Read(error),
            LoadError::ForeignHeap => Self::ForeignHeap,
        }
    }
}

impl From<LoadError> for RollbackError {
    fn from(error: LoadError) -> Self {
        match error {
            LoadError::Memory(error) => Self::Memory(error),
            LoadError::Read(error) => Self::Read(error),
            LoadError::ForeignHeap => Self::ForeignHeap,
        }
    }
}
