//! Why bytes are no noun.

use crate::arena::AllocateError;

/// Why bytes are not a jammed noun. The arena may hold parts that were built before the fault: roll
/// back, or leave them without an owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CueError {
    /// The bits end in the middle of a noun.
    #[error("the jammed noun ends early, at bit {0}; it was cut off")]
    Truncated(u64),
    /// A length is longer than any noun can be.
    #[error("the atom at bit {0} claims more bits than there are; this is no jammed noun")]
    Length(u64),
    /// A reference to a place where no noun starts.
    #[error("the reference at bit {0} leads to no noun; this is no jammed noun")]
    Reference(u64),
    /// No room in the arena.
    #[error(transparent)]
    Allocate(#[from] AllocateError),
}
