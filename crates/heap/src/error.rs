//! What can go wrong, by operation. Each text names the heap and says what to do.

use std::io;
use std::path::PathBuf;

pub use crate::allocator::Damaged;
use crate::sync::error::LockError;

/// Why a heap is not open.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Not a name.
    #[error("{0:?} is no name of a heap: use 1 to 64 letters, digits, '.', '_' and '-', and no '.' first")]
    BadName(String),
    /// The directory of heaps cannot be used.
    #[error("the directory of heaps {}: {reason}", .path.display())]
    Directory {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// It exists, and was to be made.
    #[error("the heap {name} exists: attach to it, or `banyan heap unlink {name}` first")]
    Exists {
        /// Its name.
        name: String,
    },
    /// It does not exist, and was to be attached to.
    #[error("no heap {name} in {}: `banyan heap list` shows those that are", .directory.display())]
    Missing {
        /// Its name.
        name: String,
        /// Where it was looked for.
        directory: PathBuf,
    },
    /// It has another size.
    #[error("the heap {name} has {has} bytes, not {wanted}: open it without a size, or unlink it first")]
    WrongSize {
        /// Its name.
        name: String,
        /// What was asked for.
        wanted: u64,
        /// What it has.
        has: u64,
    },
    /// It has another model.
    #[error("the heap {name} is {has}, not {wanted}: open it without a model, or unlink it first")]
    WrongModel {
        /// Its name.
        name: String,
        /// What was asked for.
        wanted: &'static str,
        /// What it has.
        has: &'static str,
    },
    /// A file that is no heap of this version.
    #[error("{} is no heap of this version: remove it", .0.display())]
    NotAHeap(PathBuf),
    /// The size is 0, or more than there are addresses.
    #[error("a heap has 64 KiB to 8 TiB, less what other heaps have; {0} bytes cannot be had")]
    BadSize(u64),
    /// The address is one at which no heap can be.
    #[error("no heap can be at {0:#x}: give a multiple of 2 MiB at which it ends below 128 TiB, or none")]
    BadAddress(u64),
    /// Something else is mapped at the heap's address in this process.
    #[error("the heap {name} is at {address:#x}, where this process has something else: {remedy}")]
    AddressTaken {
        /// Its name.
        name: String,
        /// Its address.
        address: u64,
        /// What to do.
        remedy: &'static str,
    },
    /// This user may not.
    #[error("the heap {name} belongs to user {owner} with mode {mode:o}: its owner may change the mode of {}", .path.display())]
    Denied {
        /// Its name.
        name: String,
        /// Whose it is.
        owner: u32,
        /// What others may.
        mode: u32,
        /// Its file.
        path: PathBuf,
    },
    /// No memory for the heap's own part.
    #[error("no memory for the heap {name}: {source}; `banyan heap list` shows what heaps use")]
    NoMemory {
        /// Its name.
        name: String,
        /// What the kernel says.
        source: io::Error,
    },
    /// Another process has been making a heap for 10 seconds.
    #[error("another process has been making or removing a heap in {} for 10 s: look whether one is stopped", .0.display())]
    Busy(PathBuf),
    /// Too many processes.
    #[error("1,024 processes are attached to the heap {0}: end one")]
    NoPlace(String),
    /// Too many heaps.
    #[error("this process is attached to 64 heaps: close one")]
    TooManyHeaps,
    /// What the kernel says otherwise.
    #[error("{doing} {}: {source}", .path.display())]
    System {
        /// What was done.
        doing: &'static str,
        /// To which file.
        path: PathBuf,
        /// The answer.
        source: io::Error,
    },
}

/// Why there is no object.
#[derive(Debug, thiserror::Error)]
pub enum AllocateError {
    /// The heap is full.
    #[error("no room for {bytes} bytes in the heap {heap}: {used} of {size} bytes are used{}", users(.largest))]
    NoRoom {
        /// Which.
        heap: String,
        /// What was asked for.
        bytes: usize,
        /// Bytes of objects.
        used: u64,
        /// Bytes of the heap.
        size: u64,
        /// Its largest roots.
        largest: Vec<(String, u64)>,
    },
    /// The machine's memory is used up.
    #[error("no memory of this machine for {bytes} bytes in the heap {heap}: {source}")]
    NoMemory {
        /// Which.
        heap: String,
        /// What was asked for.
        bytes: usize,
        /// What the kernel says.
        source: io::Error,
    },
    /// The alignment is not a power of two up to 64 KiB.
    #[error("an alignment of {0} cannot be had: use a power of two up to 65,536")]
    BadAlignment(usize),
    /// The heap's lock.
    #[error("the heap's own lock: {0}")]
    Lock(#[from] LockError),
    /// The heap is damaged.
    #[error(transparent)]
    Damaged(#[from] Damaged),
}

fn users(largest: &[(String, u64)]) -> String {
    let roots: Vec<String> = largest.iter().map(|(name, bytes)| format!("{name} has {bytes}")).collect();
    if roots.is_empty() { String::new() } else { format!(", of which {}", roots.join(", ")) }
}

/// Why an object is not freed, or not found.
#[derive(Debug, thiserror::Error)]
pub enum FreeError {
    /// No object begins there: it was freed already, or never allocated.
    #[error("no object of the heap {heap} begins at {address:#x}: it was freed, or never was one")]
    NoObject {
        /// Which heap.
        heap: String,
        /// Where.
        address: usize,
    },
    /// The heap's lock.
    #[error("the heap's own lock: {0}")]
    Lock(#[from] LockError),
    /// The heap is damaged.
    #[error(transparent)]
    Damaged(#[from] Damaged),
}

/// Why there is no root.
#[derive(Debug, thiserror::Error)]
pub enum RootError {
    /// Not a name.
    #[error("{0:?} is no name of a root: use 1 to 64 bytes of text")]
    BadName(String),
    /// It is of another type.
    #[error("the root {name} is {has}, not {wanted}: open it as what it is, or remove it first")]
    WrongType {
        /// Its name.
        name: String,
        /// What was asked for.
        wanted: String,
        /// What it is.
        has: String,
    },
    /// It is not there.
    #[error("no root {name} after {waited:?}: does another process make it?")]
    Missing {
        /// Its name.
        name: String,
        /// For how long it was waited for.
        waited: std::time::Duration,
    },
    /// Not in the heap.
    #[error("{0:#x} is not in the users' part of the heap")]
    Outside(usize),
    /// All places are used.
    #[error("the heap has 1,024 roots: remove one, or keep a table under one")]
    TooMany,
    /// No room for it.
    #[error(transparent)]
    Allocate(#[from] AllocateError),
    /// The heap's lock.
    #[error("the heap's own lock: {0}")]
    Lock(#[from] LockError),
    /// The heap is damaged.
    #[error(transparent)]
    Damaged(#[from] Damaged),
}
