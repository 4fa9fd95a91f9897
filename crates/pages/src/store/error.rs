//! What can go wrong in the page store, one enum for each operation. Each text says what to do.

use std::fmt;
use std::io;

use crate::disk::FORKED;

/// A range of the file that does not hold what it must.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// First byte of the range.
    pub offset: u64,
    /// Bytes in the range.
    pub length: u64,
    /// What lies there.
    pub what: String,
}

impl fmt::Display for Damage {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "bytes {}..{} ({}) do not match their checksum",
            self.offset,
            self.offset + self.length,
            self.what
        )
    }
}

/// Why something could not be read from the store.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The disk failed.
    #[error("the disk failed while reading the arena: {0}")]
    Io(#[from] io::Error),
    /// The bytes are not those that were written.
    #[error("the arena file is damaged: {0}; restore it from a copy, or export what verifies")]
    Damaged(Damage),
    /// This process was forked from the one that opened the arena.
    #[error("{}", FORKED)]
    Forked,
}

/// Why a store could not be created.
#[derive(Debug, thiserror::Error)]
pub enum CreateError {
    /// The disk failed or is full.
    #[error("the disk failed while creating the arena: {0}")]
    Io(#[source] io::Error),
    /// No room for even an empty arena.
    #[error("the disk is full: a new arena takes {needed} bytes ({source}); free some space and try again")]
    DiskFull {
        /// Bytes that a new arena takes.
        needed: u64,
        /// What the file system said.
        #[source]
        source: io::Error,
    },
    /// The base or the reservation is not what a heap can have.
    #[error(
        "base {base:#x} and size {reservation:#x} must be multiples of 2 MiB above 0, the size at most 16 TiB"
    )]
    BadGeometry {
        /// Address asked for.
        base: u64,
        /// Bytes asked for.
        reservation: u64,
    },
}

impl From<io::Error> for CreateError {
    fn from(error: io::Error) -> Self {
        CreateError::Io(error)
    }
}

/// Why a store could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The disk failed.
    #[error("the disk failed while opening the arena: {0}")]
    Io(#[from] io::Error),
    /// Beside a writer that folds again and again.
    #[error("the arena is being written too fast to be read; let its writer rest, or try again")]
    Overtaken,
    /// Neither meta slot begins as one must.
    #[error("this is not an arena file; nothing was changed")]
    NotAnArena,
    /// Written by another version.
    #[error("the arena has format version {found}, this build reads {FORMAT}; use a matching build to export it", FORMAT = super::format::FORMAT_VERSION)]
    UnsupportedVersion {
        /// Version in the file.
        found: u32,
    },
    /// Written with another page size.
    #[error(
        "the arena has pages of {found} bytes, this build uses 4096; export it where it was made and import it here"
    )]
    PageSize {
        /// Page size in the file.
        found: u32,
    },
    /// The file ends too early.
    #[error(
        "the arena file has {found} bytes and must have {expected}: it was truncated; restore it from a copy"
    )]
    Truncated {
        /// Bytes in the file.
        found: u64,
        /// Bytes that its newest meta speaks of.
        expected: u64,
    },
    /// The bytes are not those that were written.
    #[error("the arena file is damaged: {0}; restore it from a copy")]
    Damaged(Damage),
}

impl From<ReadError> for OpenError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Io(error) => OpenError::Io(error),
            ReadError::Damaged(damage) => OpenError::Damaged(damage),
            // It is the opening process that reads.
            error @ ReadError::Forked => OpenError::Io(io::Error::other(error)),
        }
    }
}

/// Why a commit did not happen.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// The disk failed during the commit: whether it is durable is not known until the arena is opened again.
    #[error(
        "the disk failed during the commit: {0}; the arena takes no more commits, open it again, at its last good commit"
    )]
    Io(#[source] io::Error),
    /// An earlier write or sync failed.
    #[error("an earlier write or sync failed; open the arena again, at its last good commit")]
    Poisoned,
    /// No room for the new pages. Nothing was written and the arena goes on as before.
    #[error(
        "the disk is full: {needed} more bytes are needed ({source}); free some space, or roll back and drop a snapshot, and commit again"
    )]
    DiskFull {
        /// Bytes that the file could not grow by.
        needed: u64,
        /// What the file system said.
        #[source]
        source: io::Error,
    },
    /// Something that the commit had to read is damaged.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The name is taken.
    #[error("a snapshot named {0:?} exists already; drop it first or choose another name")]
    SnapshotExists(String),
    /// No snapshot of that name.
    #[error(
        "the arena retains no snapshot named {0:?}; `Arena::snapshots` and `banyan arena snapshots` list those that it does"
    )]
    NoSuchSnapshot(String),
    /// This process was forked from the one that opened the arena.
    #[error("{}", FORKED)]
    Forked,
    /// A reader holds the snapshot.
    #[error("snapshot {0:?} is open for reading; close its readers first")]
    SnapshotInUse(String),
    /// The name is empty or too long.
    #[error("a snapshot's name has 1 to 255 bytes, {0:?} has not")]
    SnapshotName(String),
    /// The roots are too many or their names too long.
    #[error(
        "the roots take more than 1536 bytes (10 and the name's length each); use fewer or shorter names"
    )]
    RootsTooLarge,
    /// Events are numbered from that of the last commit, which has the last number.
    #[error("the last commit has the last number that an event can have; commit with a smaller one first")]
    EventNumber,
}
