//! The messages by which nodes keep one process's memory coherent, and their bytes.
//!
//! A message is a header of [`HEADER_BYTES`] bytes, then `payload` bytes. Two kinds have a payload: a
//! [`Message::Grant`] with contents carries pages (a bitmap that says which pages are not all zero, then those pages),
//! and a [`Message::Adopt`] carries an extent's directory. Decoding believes nothing: every length, number, tag and
//! reserved byte is checked, and what fails is an error that says why. What a message *means*, and whether it may
//! be sent now, is decided in `banyan-core`; how it travels, in `banyan-node`.

use alloc::vec::Vec;
use core::fmt;

use zerocopy::byteorder::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::address::{
    Access, EXTENT_PAGES, Epoch, ExtentNumber, NodeId, NodeSet, PAGE_BYTES, PAGES_END, PageNumber,
    RequestNumber, Run, Transaction,
};

/// The version of this format. Nodes of different versions do not talk.
pub const VERSION: u8 = 1;
/// Bytes of every header.
pub const HEADER_BYTES: usize = size_of::<RawHeader>();
/// The most bytes that can follow a header: a whole extent with no zero page.
pub const PAYLOAD_BYTES_MAX: usize = BITMAP_BYTES_MAX + EXTENT_PAGES as usize * PAGE_BYTES as usize;
const BITMAP_BYTES_MAX: usize = EXTENT_PAGES as usize / 8;
const MAGIC: [u8; 2] = *b"Bc";

/// What one node tells another about the pages of one process.
///
/// The three parties of a transfer are the requester, the owner (who keeps the directory) and the holder (who has the
/// bytes); any two may be the same node.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Message {
    /// Requester to owner: let me access the first page, and as many after it as can be had along with it.
    Get {
        /// The pages.
        run: Run,
        /// What for.
        access: Access,
        /// The requester's newest knowledge of the extent.
        epoch: Epoch,
        /// Names this request at the requester; a retry has the same number.
        request: RequestNumber,
        /// If the requester has read copies of the whole run: the lowest transaction that gave or kept one.
        /// Otherwise zero.
        have: Transaction,
        /// A thread waits for the first page: queue the request if need be. Otherwise decline rather than wait.
        demand: bool,
    },
    /// Owner to holder: send these pages to the requester; for a write, give them away.
    Forward {
        /// The pages.
        run: Run,
        /// What the requester will do with them.
        access: Access,
        /// Of the extent.
        epoch: Epoch,
        /// The change that this is part of.
        transaction: Transaction,
        /// Who gets the pages.
        requester: NodeId,
        /// The requester's name for its request.
        request: RequestNumber,
        /// The requester has to confirm to the owner.
        confirm: bool,
    },
    /// Holder, or owner, to requester: the pages are yours to access.
    Grant {
        /// The pages: the asked run or the beginning of it.
        run: Run,
        /// What is granted.
        access: Access,
        /// Of the extent.
        epoch: Epoch,
        /// The change that this completes.
        transaction: Transaction,
        /// The extent's owner.
        owner: NodeId,
        /// The requester's name for its request.
        request: RequestNumber,
        /// The bytes come with it; otherwise the requester has them already.
        contents: bool,
        /// Say [`Message::Done`] to the owner, and to the sender if it gave bytes away.
        confirm: bool,
    },
    /// Owner to requester: this request changes nothing (a prefetch that is in conflict, or pages already held).
    Decline {
        /// The asked run.
        run: Run,
        /// Of the extent.
        epoch: Epoch,
        /// The requester's name for its request.
        request: RequestNumber,
    },
    /// Requester to owner, and to the holder that gave bytes away: the grant has been carried out.
    Done {
        /// The pages.
        run: Run,
        /// Of the extent.
        epoch: Epoch,
        /// The change that is complete.
        transaction: Transaction,
    },
    /// Owner to reader: forget these pages.
    Invalidate {
        /// The pages.
        run: Run,
        /// Of the extent.
        epoch: Epoch,
        /// The change that this is part of.
        transaction: Transaction,
        /// The pages become zero, so that a written page is forgotten too.
        discard: bool,
    },
    /// Reader to owner: forgotten.
    Acknowledge {
        /// The pages.
        run: Run,
        /// Of the extent.
        epoch: Epoch,
        /// The change that this is part of.
        transaction: Transaction,
    },
    /// To whoever asked the wrong node, or with an old epoch: this is the owner as far as the sender knows.
    Located {
        /// The extent.
        extent: ExtentNumber,
        /// The epoch since which it is owned so.
        epoch: Epoch,
        /// Who owns it.
        owner: NodeId,
    },
    /// Home to owner: these pages become zero and are held by nobody else.
    Discard {
        /// The pages.
        run: Run,
        /// The sender's newest knowledge of the extent.
        epoch: Epoch,
        /// Ascending within an extent; a repetition does nothing.
        request: RequestNumber,
    },
    /// Owner to home: they are.
    Discarded {
        /// The pages.
        run: Run,
        /// Of the extent.
        epoch: Epoch,
        /// As in the discard.
        request: RequestNumber,
    },
    /// Old owner to new owner: the extent is yours, and this is its directory.
    Adopt {
        /// The extent.
        extent: ExtentNumber,
        /// The epoch at which the receiver owns it.
        epoch: Epoch,
        /// The directory.
        directory: Directory,
    },
    /// New owner to old owner: taken.
    Adopted {
        /// The extent.
        extent: ExtentNumber,
        /// The new epoch.
        epoch: Epoch,
    },
}

/// The directory of an extent as it is handed over.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Directory {
    /// The highest transaction used so far.
    pub last: Transaction,
    /// The highest discard request carried out so far.
    pub discarded: RequestNumber,
    /// Who holds every page for writing that `pages` does not list. If that is the receiver and `pages` is empty, the
    /// whole extent is zero and has never been shared.
    pub origin: NodeId,
    /// The first pages of the extent.
    pub pages: Vec<DirectoryEntry>,
}

/// Who holds a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DirectoryEntry {
    /// Who.
    pub holders: Holders,
    /// The transaction that last changed, or let a node change, the page's bytes.
    pub written: Transaction,
}

/// Who holds a page, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Holders {
    /// One node may write it, and nobody else has a copy.
    Writer(NodeId),
    /// Nodes have equal copies and may read them.
    Readers {
        /// Who: no reader is missing, but one whose grant went astray may be too many.
        nodes: NodeSet,
        /// One of them who certainly has a copy.
        sure: NodeId,
    },
}

impl Message {
    /// The extent that it is about.
    #[must_use]
    pub const fn extent(&self) -> ExtentNumber {
        match self {
            Self::Get { run, .. }
            | Self::Forward { run, .. }
            | Self::Grant { run, .. }
            | Self::Decline { run, .. }
            | Self::Done { run, .. }
            | Self::Invalidate { run, .. }
            | Self::Acknowledge { run, .. }
            | Self::Discard { run, .. }
            | Self::Discarded { run, .. } => run.first.extent(),
            Self::Located { extent, .. } | Self::Adopt { extent, .. } | Self::Adopted { extent, .. } => {
                *extent
            }
        }
    }

    /// Its epoch.
    #[must_use]
    pub const fn epoch(&self) -> Epoch {
        match self {
            Self::Get { epoch, .. }
            | Self::Forward { epoch, .. }
            | Self::Grant { epoch, .. }
            | Self::Decline { epoch, .. }
            | Self::Done { epoch, .. }
            | Self::Invalidate { epoch, .. }
            | Self::Acknowledge { epoch, .. }
            | Self::Discard { epoch, .. }
            | Self::Discarded { epoch, .. }
            | Self::Located { epoch, .. }
            | Self::Adopt { epoch, .. }
            | Self::Adopted { epoch, .. } => *epoch,
        }
    }
}

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

#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawHeader {
    magic: [u8; 2],
    version: u8,
    tag: u8,
    process: U32,
    first: U64,
    count: U16,
    access: u8,
    node: u8,
    payload: U32,
    epoch: U64,
    request: U64,
    transaction: U64,
    have: U64,
    flags: u8,
    reserved: [u8; 7],
}

const _: () = assert!(HEADER_BYTES == 64);

#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawEntry {
    readers: U64,
    written: U64,
    kind: u8,
    node: u8,
    reserved: [u8; 6],
}

const FLAG_CONFIRM: u8 = 1;
const FLAG_CONTENTS: u8 = 2;
const FLAG_DEMAND: u8 = 4;
const FLAG_DISCARD: u8 = 8;

const TAG_GET: u8 = 1;
const TAG_FORWARD: u8 = 2;
const TAG_GRANT: u8 = 3;
const TAG_DECLINE: u8 = 4;
const TAG_DONE: u8 = 5;
const TAG_INVALIDATE: u8 = 6;
const TAG_ACKNOWLEDGE: u8 = 7;
const TAG_LOCATED: u8 = 8;
const TAG_DISCARD: u8 = 9;
const TAG_DISCARDED: u8 = 10;
const TAG_ADOPT: u8 = 11;
const TAG_ADOPTED: u8 = 12;

const fn access_number(access: Access) -> u8 {
    match access {
        Access::Read => 1,
        Access::Write => 2,
    }
}

const fn flag(set: bool, bit: u8) -> u8 {
    if set { bit } else { 0 }
}

impl RawHeader {
    fn new(tag: u8, process: u32, epoch: Epoch) -> Self {
        Self {
            magic: MAGIC,
            version: VERSION,
            tag,
            process: process.into(),
            first: 0.into(),
            count: 0.into(),
            access: 0,
            node: 0,
            payload: 0.into(),
            epoch: epoch.0.into(),
            request: 0.into(),
            transaction: 0.into(),
            have: 0.into(),
            flags: 0,
            reserved: [0; 7],
        }
    }

    fn of_run(tag: u8, process: u32, epoch: Epoch, run: Run) -> Self {
        Self { first: run.first.0.into(), count: (run.count as u16).into(), ..Self::new(tag, process, epoch) }
    }
}

/// The header of a message of this process. `contents_bytes` is the length of the payload of a grant with contents
/// (see [`contents_bytes`]) and is ignored for every other message.
#[must_use]
pub fn encode_header(process: u32, message: &Message, contents_bytes: u32) -> [u8; HEADER_BYTES] {
    let epoch = message.epoch();
    let raw = match *message {
        Message::Get { run, access, request, have, demand, .. } => RawHeader {
            access: access_number(access),
            request: request.0.into(),
            have: have.0.into(),
            flags: flag(demand, FLAG_DEMAND),
            ..RawHeader::of_run(TAG_GET, process, epoch, run)
        },
        Message::Forward { run, access, transaction, requester, request, confirm, .. } => RawHeader {
            access: access_number(access),
            transaction: transaction.0.into(),
            node: requester.get(),
            request: request.0.into(),
            flags: flag(confirm, FLAG_CONFIRM),
            ..RawHeader::of_run(TAG_FORWARD, process, epoch, run)
        },
        Message::Grant { run, access, transaction, owner, request, contents, confirm, .. } => RawHeader {
            access: access_number(access),
            transaction: transaction.0.into(),
            node: owner.get(),
            request: request.0.into(),
            flags: flag(confirm, FLAG_CONFIRM) | flag(contents, FLAG_CONTENTS),
            payload: if contents { contents_bytes } else { 0 }.into(),
            ..RawHeader::of_run(TAG_GRANT, process, epoch, run)
        },
        Message::Decline { run, request, .. } => {
            RawHeader { request: request.0.into(), ..RawHeader::of_run(TAG_DECLINE, process, epoch, run) }
        }
        Message::Done { run, transaction, .. } => RawHeader {
            transaction: transaction.0.into(),
            ..RawHeader::of_run(TAG_DONE, process, epoch, run)
        },
        Message::Invalidate { run, transaction, discard, .. } => RawHeader {
            transaction: transaction.0.into(),
            flags: flag(discard, FLAG_DISCARD),
            ..RawHeader::of_run(TAG_INVALIDATE, process, epoch, run)
        },
        Message::Acknowledge { run, transaction, .. } => RawHeader {
            transaction: transaction.0.into(),
            ..RawHeader::of_run(TAG_ACKNOWLEDGE, process, epoch, run)
        },
        Message::Located { extent, owner, .. } => RawHeader {
            first: extent.0.into(),
            node: owner.get(),
            ..RawHeader::new(TAG_LOCATED, process, epoch)
        },
        Message::Discard { run, request, .. } => {
            RawHeader { request: request.0.into(), ..RawHeader::of_run(TAG_DISCARD, process, epoch, run) }
        }
        Message::Discarded { run, request, .. } => {
            RawHeader { request: request.0.into(), ..RawHeader::of_run(TAG_DISCARDED, process, epoch, run) }
        }
        Message::Adopt { extent, ref directory, .. } => RawHeader {
            first: extent.0.into(),
            count: (directory.pages.len() as u16).into(),
            node: directory.origin.get(),
            transaction: directory.last.0.into(),
            request: directory.discarded.0.into(),
            payload: ((directory.pages.len() * size_of::<RawEntry>()) as u32).into(),
            ..RawHeader::new(TAG_ADOPT, process, epoch)
        },
        Message::Adopted { extent, .. } => {
            RawHeader { first: extent.0.into(), ..RawHeader::new(TAG_ADOPTED, process, epoch) }
        }
    };
    zerocopy::transmute!(raw)
}

/// Appends the payload of a message whose payload is not page contents: nothing, but for [`Message::Adopt`].
pub fn encode_payload(message: &Message, out: &mut Vec<u8>) {
    let Message::Adopt { directory, .. } = message else { return };
    for page in &directory.pages {
        let (kind, node, readers) = match page.holders {
            Holders::Writer(writer) => (1, writer.get(), 0),
            Holders::Readers { nodes, sure } => (2, sure.get(), nodes.0),
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

/// Bytes of the bitmap before the pages of a grant of `count` pages: a bit for each page, the lowest page in the
/// lowest bit of the first byte, in whole groups of eight bytes. A clear bit is a zero page, which is not sent.
#[must_use]
pub const fn bitmap_bytes(count: u32) -> usize {
    count.div_ceil(64) as usize * 8
}

/// Bytes of the payload of a grant of `count` pages of which `present` are not all zero.
#[must_use]
pub const fn contents_bytes(count: u32, present: u32) -> u32 {
    bitmap_bytes(count) as u32 + present * PAGE_BYTES as u32
}

/// A header that has been read and checked; its payload may still have to arrive.
#[derive(Clone, Copy)]
pub struct Header {
    raw: RawHeader,
}

impl fmt::Debug for Header {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Header")
            .field("process", &self.process())
            .field("message", &self.without_payload())
            .field("payload_bytes", &self.payload_bytes())
            .finish()
    }
}

impl Header {
    /// Reads and checks a header. After this only the payload can still be wrong.
    ///
    /// # Errors
    /// When the bytes are not a header that this version can have written.
    pub fn decode(bytes: &[u8; HEADER_BYTES]) -> Result<Self, DecodeError> {
        let raw: RawHeader = zerocopy::transmute!(*bytes);
        if raw.magic != MAGIC {
            return Err(DecodeError::Magic(raw.magic));
        }
        if raw.version != VERSION {
            return Err(DecodeError::Version(raw.version));
        }
        let header = Self { raw };
        let payload = u64::from(raw.payload.get());
        let (least, most) = match header.without_payload()? {
            Message::Grant { run, contents: true, .. } => {
                (bitmap_bytes(run.count) as u64, u64::from(contents_bytes(run.count, run.count)))
            }
            Message::Adopt { .. } => {
                let bytes = u64::from(raw.count.get()) * size_of::<RawEntry>() as u64;
                (bytes, bytes)
            }
            _ => (0, 0),
        };
        if payload < least || payload > most {
            return Err(DecodeError::Payload { found: payload, expected: most });
        }
        // Encoding what was understood must give the same bytes: no unused field can smuggle anything.
        let mut again = RawHeader::read_from_bytes(&encode_header(
            raw.process.get(),
            &header.without_payload()?,
            raw.payload.get(),
        ))
        .map_err(|_| DecodeError::Short(HEADER_BYTES))?;
        if raw.tag == TAG_ADOPT {
            again.count = raw.count;
            again.payload = raw.payload;
        }
        if again.as_bytes() != bytes {
            return Err(DecodeError::Unused);
        }
        Ok(header)
    }

    /// The process whose memory it is about.
    #[must_use]
    pub fn process(&self) -> u32 {
        self.raw.process.get()
    }

    /// How many bytes follow; never more than [`PAYLOAD_BYTES_MAX`].
    #[must_use]
    pub fn payload_bytes(&self) -> usize {
        self.raw.payload.get() as usize
    }

    /// The pages whose contents the payload carries, if it carries pages.
    #[must_use]
    pub fn contents(&self) -> Option<Run> {
        (self.raw.tag == TAG_GRANT && self.raw.flags & FLAG_CONTENTS != 0)
            .then(|| Run { first: PageNumber(self.raw.first.get()), count: u32::from(self.raw.count.get()) })
    }

    /// The message, once its payload is here.
    ///
    /// # Errors
    /// When the payload has not the announced length, or does not fit the message.
    pub fn message(&self, payload: &[u8]) -> Result<Message, DecodeError> {
        if payload.len() != self.payload_bytes() {
            return Err(DecodeError::Payload {
                found: payload.len() as u64,
                expected: self.payload_bytes() as u64,
            });
        }
        let mut message = self.without_payload()?;
        match &mut message {
            Message::Grant { run, contents: true, .. } => {
                Contents::new(*run, payload)?;
            }
            Message::Adopt { directory, .. } => directory.pages = decode_entries(payload)?,
            _ => {}
        }
        Ok(message)
    }

    fn without_payload(&self) -> Result<Message, DecodeError> {
        let raw = &self.raw;
        let epoch = Epoch(raw.epoch.get());
        let confirm = raw.flags & FLAG_CONFIRM != 0;
        Ok(match raw.tag {
            TAG_GET => Message::Get {
                run: self.run()?,
                access: self.access()?,
                epoch,
                request: self.request()?,
                have: Transaction(raw.have.get()),
                demand: raw.flags & FLAG_DEMAND != 0,
            },
            TAG_FORWARD => Message::Forward {
                run: self.run()?,
                access: self.access()?,
                epoch,
                transaction: self.transaction()?,
                requester: node(raw.node)?,
                request: self.request()?,
                confirm,
            },
            TAG_GRANT => Message::Grant {
                run: self.run()?,
                access: self.access()?,
                epoch,
                transaction: self.transaction()?,
                owner: node(raw.node)?,
                request: self.request()?,
                contents: raw.flags & FLAG_CONTENTS != 0,
                confirm,
            },
            TAG_DECLINE => Message::Decline { run: self.run()?, epoch, request: self.request()? },
            TAG_DONE => Message::Done { run: self.run()?, epoch, transaction: self.transaction()? },
            TAG_INVALIDATE => Message::Invalidate {
                run: self.run()?,
                epoch,
                transaction: self.transaction()?,
                discard: raw.flags & FLAG_DISCARD != 0,
            },
            TAG_ACKNOWLEDGE => {
                Message::Acknowledge { run: self.run()?, epoch, transaction: self.transaction()? }
            }
            TAG_LOCATED => Message::Located { extent: self.extent()?, epoch, owner: node(raw.node)? },
            TAG_DISCARD => Message::Discard { run: self.run()?, epoch, request: self.request()? },
            TAG_DISCARDED => Message::Discarded { run: self.run()?, epoch, request: self.request()? },
            TAG_ADOPT => {
                if u32::from(raw.count.get()) > EXTENT_PAGES {
                    return Err(DecodeError::Run { first: raw.first.get(), count: raw.count.get() });
                }
                Message::Adopt {
                    extent: self.extent()?,
                    epoch,
                    directory: Directory {
                        last: Transaction(raw.transaction.get()),
                        discarded: RequestNumber(raw.request.get()),
                        origin: node(raw.node)?,
                        pages: Vec::new(),
                    },
                }
            }
            TAG_ADOPTED => Message::Adopted { extent: self.extent()?, epoch },
            tag => return Err(DecodeError::Tag(tag)),
        })
    }

    fn run(&self) -> Result<Run, DecodeError> {
        let (first, count) = (self.raw.first.get(), self.raw.count.get());
        let run = Run { first: PageNumber(first), count: u32::from(count) };
        // The bound on the first page comes before anything that adds to it.
        if first < PAGES_END && run.is_within_extent() {
            Ok(run)
        } else {
            Err(DecodeError::Run { first, count })
        }
    }

    fn extent(&self) -> Result<ExtentNumber, DecodeError> {
        let number = self.raw.first.get();
        if number < PAGES_END / u64::from(EXTENT_PAGES) {
            Ok(ExtentNumber(number))
        } else {
            Err(DecodeError::Extent(number))
        }
    }

    fn access(&self) -> Result<Access, DecodeError> {
        match self.raw.access {
            1 => Ok(Access::Read),
            2 => Ok(Access::Write),
            other => Err(DecodeError::Access(other)),
        }
    }

    fn transaction(&self) -> Result<Transaction, DecodeError> {
        match self.raw.transaction.get() {
            0 => Err(DecodeError::Zero),
            number => Ok(Transaction(number)),
        }
    }

    fn request(&self) -> Result<RequestNumber, DecodeError> {
        match self.raw.request.get() {
            0 => Err(DecodeError::Zero),
            number => Ok(RequestNumber(number)),
        }
    }
}

fn node(number: u8) -> Result<NodeId, DecodeError> {
    NodeId::new(number).ok_or(DecodeError::Node(number))
}

fn decode_entries(payload: &[u8]) -> Result<Vec<DirectoryEntry>, DecodeError> {
    let malformed = DecodeError::Payload { found: payload.len() as u64, expected: 0 };
    let entries = <[RawEntry]>::ref_from_bytes(payload).map_err(|_| malformed)?;
    let page = |(index, entry): (usize, &RawEntry)| {
        let holders = match (entry.kind, entry.node, entry.readers.get()) {
            (1, writer, 0) => Holders::Writer(node(writer)?),
            (2, sure, readers) if NodeSet(readers).contains(node(sure)?) => {
                Holders::Readers { nodes: NodeSet(readers), sure: node(sure)? }
            }
            _ => return Err(DecodeError::Entry(index as u16)),
        };
        if entry.reserved != [0; 6] {
            return Err(DecodeError::Entry(index as u16));
        }
        Ok(DirectoryEntry { holders, written: Transaction(entry.written.get()) })
    };
    entries.iter().enumerate().map(page).collect()
}

/// The pages that came with a grant.
#[derive(Clone, Copy, Debug)]
pub struct Contents<'a> {
    run: Run,
    bitmap: &'a [u8],
    pages: &'a [u8],
}

impl<'a> Contents<'a> {
    /// Looks at the payload of a grant of this run.
    ///
    /// # Errors
    /// When the payload is not a bitmap for the run and just the pages that the bitmap promises.
    pub fn new(run: Run, payload: &'a [u8]) -> Result<Self, DecodeError> {
        let bytes = bitmap_bytes(run.count);
        let short = DecodeError::Payload { found: payload.len() as u64, expected: bytes as u64 };
        let (bitmap, pages) = payload.split_at_checked(bytes).ok_or(short)?;
        let present: u32 = bitmap.iter().map(|byte| byte.count_ones()).sum();
        let expected = u64::from(contents_bytes(run.count, present));
        if expected != payload.len() as u64 {
            return Err(DecodeError::Payload { found: payload.len() as u64, expected });
        }
        let beyond = (run.count as usize..bytes * 8).any(|bit| bitmap[bit / 8] & (1 << (bit % 8)) != 0);
        if beyond { Err(DecodeError::Unused) } else { Ok(Self { run, bitmap, pages }) }
    }

    /// Every page of the run with its bytes, or `None` for a page that is all zero.
    pub fn pages(&self) -> impl Iterator<Item = (PageNumber, Option<&'a [u8]>)> + use<'a> {
        let Self { run, bitmap, mut pages } = *self;
        run.pages().enumerate().map(move |(bit, page)| {
            if bitmap[bit / 8] & (1 << (bit % 8)) == 0 {
                return (page, None);
            }
            let (bytes, rest) = pages.split_at(PAGE_BYTES as usize);
            pages = rest;
            (page, Some(bytes))
        })
    }
}

/// Decodes a whole frame: header, then exactly its payload.
///
/// # Errors
/// When it is anything else.
pub fn decode(frame: &[u8]) -> Result<(Header, Message), DecodeError> {
    let (header, payload) = frame.split_first_chunk().ok_or(DecodeError::Short(frame.len()))?;
    let header = Header::decode(header)?;
    let message = header.message(payload)?;
    Ok((header, message))
}

#[cfg(all(test, feature = "control"))]
mod tests;
