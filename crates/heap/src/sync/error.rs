//! What a lock answers other than "it is yours".

use std::time::Duration;

/// Who has a lock that is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HolderInfo {
    /// Its process, as that sees itself.
    pub process_id: u32,
    /// Its thread, by the kernel's number.
    pub thread_id: u32,
}

impl std::fmt::Display for HolderInfo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "thread {} of process {}", self.thread_id, self.process_id)
    }
}

/// How a lock came to its new holder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "what the lock protects may be half changed"]
pub enum Acquired {
    /// From a holder that gave it up, or from none.
    Clean,
    /// Its last holder died, or one before it and nothing was said to be repaired since. It is held, and what
    /// it protects may be half changed.
    OwnerDied,
}

/// Why a lock is not held.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LockError {
    /// The time is over.
    #[error("not had within {waited:?}: {}", held_by(*.holder))]
    TimedOut {
        /// For how long it was waited for.
        waited: Duration,
        /// Who has it, if it is one thread that has it.
        holder: Option<HolderInfo>,
    },
    /// Each of these threads waits for a lock that the next one has, and the last one's is the first one's.
    #[error("a deadlock: {}", circle_of(.circle))]
    Deadlock {
        /// The holders, beginning with that of the lock which was asked for.
        circle: Vec<HolderInfo>,
    },
    /// This thread does not hold the lock.
    #[error("this thread does not hold it: {}", held_by(*.holder))]
    NotHeld {
        /// Who does.
        holder: Option<HolderInfo>,
    },
    /// There is no such object at this address.
    #[error(
        "no {expected} at {address:#x}: make one there first, in memory of an open heap, at a multiple of 64"
    )]
    NoSuchObject {
        /// What was asked for.
        expected: &'static str,
        /// Where.
        address: usize,
    },
    /// A process that uses the barrier died.
    #[error("a process that uses this barrier died: reset the barrier when the others have heard it too")]
    Broken,
    /// More readers than the table has places for.
    #[error("512 readers of locks are in the same part of the heap's table: read for shorter times")]
    TooManyReaders,
    /// This process was copied and could not take a place of its own.
    #[error("this process is a copy that could not attach to the heap by itself: open the heap again in it")]
    NotAttached,
}

fn held_by(holder: Option<HolderInfo>) -> String {
    holder.map_or_else(|| "no one thread has it".to_owned(), |holder| format!("{holder} has it"))
}

fn circle_of(circle: &[HolderInfo]) -> String {
    let mut text = "this thread waits for ".to_owned();
    for (number, holder) in circle.iter().enumerate() {
        let link = if number == 0 { "" } else { ", which waits for " };
        text.push_str(&format!("{link}{holder}"));
    }
    if circle.len() == 1 { text + ", itself" } else { text + ", this thread" }
}
