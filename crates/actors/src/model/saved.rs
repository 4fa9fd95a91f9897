//! [`Saved`]: a behaviour outside of memory.

use crate::model::message::Packet;

/// The state of a behaviour, outside of memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Saved {
    /// Names the maker: for a native actor its type, for a module its digest.
    pub kind: String,
    /// Bytes, and the addresses that they refer to.
    pub state: Packet,
}
