//! The directory of an extent as it is handed over, and its bytes: the payload of [`Message::Adopt`].

use super::error::DecodeError;
use super::message::Message;
use crate::ids::{NodeId, NodeSet, RequestNumber, Transaction};
use alloc::vec::Vec;
use zerocopy::byteorder::little_endian::U64;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// The directory of an extent as it is handed over.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Directory {
    /// The highest transaction used so far.
    pub last: Transaction,
    /// The highest discard request carried out so far.
    pub discarded: RequestNumber,
    /// Who holds every page for writing that `pages` does not list. If that is the receiver and `pages` is
    /// empty, the whole extent is zero and has never been shared.
    pub origin: NodeId,
    /// The first pages of the extent.
    pub pages: Vec<DirectoryEntry>,
}

/// Who holds a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DirectoryEntry {
    /// Which nodes.
    pub holders: Holders,
    /// The transaction that last changed, or let a node change, the page's bytes.
    pub written: Transaction,
}

/// Who holds a page, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Holders {
    /// One node may write it, and no other node has a copy.
    Writer(NodeId),
    /// Nodes have equal copies and may read them.
    Readers {
        /// Which: no reader is missing, but one whose grant went astray may be listed.
        nodes: NodeSet,
        /// One of them that certainly has a copy.
        sure: NodeId,
    },
}

/// Bytes of an entry in the payload.
pub(super) const ENTRY_BYTES: usize = size_of::<RawEntry>();

#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawEntry {
    readers: U64,
    written: U64,
    kind: u8,
    node: u8,
    reserved: [u8; 6],
}

const WRITER: u8 = 1;
const READERS: u8 = 2;

/// Appends the payload of a message whose payload is not page contents: nothing, but for [`Message::Adopt`].
pub fn encode_payload(message: &Message, out: &mut Vec<u8>) {
    let Message::Adopt { directory, .. } = message else { return };
    for page in &directory.pages {
        let (kind, node, readers) = match page.holders {
            Holders::Writer(writer) => (WRITER, writer.get(), 0),
            Holders::Readers { nodes, sure } => (READERS, sure.get(), nodes.0),
        };
        let entry = RawEntry {
            readers: readers.into(),
            written: page.written.0.into(),
            kind,
            node,
            reserved: [0; 6],
        };
        out.extend_from_slice(entry.as_bytes());
    }
}

/// Puts the entries of a payload into the message that they came with.
pub(super) fn decode_payload(message: &mut Message, payload: &[u8]) -> Result<(), DecodeError> {
    let Message::Adopt { directory, .. } = message else { return Ok(()) };
    let malformed = DecodeError::Payload { found: payload.len() as u64, expected: 0 };
    let entries = <[RawEntry]>::ref_from_bytes(payload).map_err(|_| malformed)?;
    directory.pages = entries
        .iter()
        .enumerate()
        .map(|(index, entry)| entry.decode().ok_or(DecodeError::Entry(index as u16)))
        .collect::<Result<_, _>>()?;
    Ok(())
}

impl RawEntry {
    /// What it says, if it is written in the only way to say that.
    fn decode(&self) -> Option<DirectoryEntry> {
        let node = NodeId::new(self.node)?;
        let holders = match (self.kind, self.readers.get()) {
            (WRITER, 0) => Holders::Writer(node),
            (READERS, readers) if NodeSet(readers).contains(node) => {
                Holders::Readers { nodes: NodeSet(readers), sure: node }
            }
            _ => return None,
        };
        (self.reserved == [0; 6])
            .then_some(DirectoryEntry { holders, written: Transaction(self.written.get()) })
    }
}
