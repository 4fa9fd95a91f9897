//! Which numbers of file descriptors a stub keeps for itself, so that the program does not meet them.
//!
//! Not for making or moving descriptors; that is the stub's and the launcher's.

/// Descriptors that a stub may need: its own few and one for each remote thread.
pub const HIDDEN_DESCRIPTORS: u64 = 4096;

/// The lowest number of the descriptors that a stub hides, given the soft and hard limit of open files. Above
/// the soft limit if the hard one leaves room, for there the program gets no descriptor by itself; else the
/// last numbers below it, which a program reaches only when it has nearly all the files open that it may
/// have.
#[must_use]
pub const fn descriptor_floor(soft: u64, hard: u64) -> u64 {
    if hard >= soft.saturating_add(HIDDEN_DESCRIPTORS) {
        soft
    } else if soft / 4 < HIDDEN_DESCRIPTORS {
        soft - soft / 4
    } else {
        soft - HIDDEN_DESCRIPTORS
    }
}

/// The soft limit that lets hidden descriptors be made.
#[must_use]
pub const fn raised_limit(soft: u64, hard: u64) -> u64 {
    if hard >= soft.saturating_add(HIDDEN_DESCRIPTORS) { soft + HIDDEN_DESCRIPTORS } else { soft }
}
