//! Why bytes are not a coherence message.

use super::{SWEEP_EXTENTS_MAX, VERSION};

/// Why bytes are not a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Not the beginning of a header.
    #[error("not a coherence message (magic {0:02x?})")]
    Magic([u8; 2]),
    /// From a node of another version.
    #[error("coherence format version {0}, this node speaks {VERSION}")]
    Version(u8),
    /// A tag of no message.
    #[error("unknown message tag {0}")]
    Tag(u8),
    /// A run that is empty, leaves its extent, or leaves the address space.
    #[error("page run {first:#x}+{count} is empty or leaves its extent")]
    Run {
        /// Its first page number.
        first: u64,
        /// Its length.
        count: u16,
    },
    /// An extent outside of the address space.
    #[error("extent {0:#x} is outside of the address space")]
    Extent(u64),
    /// More extents than one message can be about.
    #[error("{0} extents at once are more than {SWEEP_EXTENTS_MAX}")]
    Extents(u64),
    /// A node number that no node has.
    #[error("node number {0} is too high")]
    Node(u8),
    /// An access that is neither read nor write.
    #[error("unknown access {0}")]
    Access(u8),
    /// A flag, a reserved byte or an unused field is set.
    #[error("a field that this message does not use is not zero")]
    Unused,
    /// A transaction or request number that must not be zero is.
    #[error("a transaction or request number is zero")]
    Zero,
    /// The payload has not the length that the message needs.
    #[error("payload of {found} bytes, expected {expected}")]
    Payload {
        /// How long it is.
        found: u64,
        /// How long it should be, or the most that it may be.
        expected: u64,
    },
    /// The bytes end within the header.
    #[error("{0} bytes are too short for a header")]
    Short(usize),
    /// A directory entry that means nothing.
    #[error("directory entry {0} is malformed")]
    Entry(u16),
}
