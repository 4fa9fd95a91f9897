//! The layout of an arena file: meta slots, log records, blobs. Described to the byte in
//! `docs/formats/arena.md`; a change of one is a change of the other and of the version.
//!
//! Pure encoding and decoding: no disk is touched here. Decoders take untrusted bytes and answer
//! `None` for anything that does not make sense.

use std::collections::BTreeMap;

use super::codec::{Reader, Writer, checksum, wide_checksum};
use crate::disk::{BLOCK_SIZE, Block};

/// First eight bytes of each meta slot, and so of the file.
pub(crate) const META_MAGIC: &[u8; 8] = b"BANYARNA";
/// First eight bytes of a log record.
pub(crate) const RECORD_MAGIC: &[u8; 8] = b"BANYRECD";
/// First eight bytes of a witness.
const WITNESS_MAGIC: &[u8; 8] = b"BANYWITN";
const WITNESS_CHECKSUM: usize = 32;
const WITNESS_END: usize = WITNESS_CHECKSUM + 8;
/// Version of the format that this build writes. It reads those before too.
pub const FORMAT_VERSION: u32 = 3;
/// The first version that repeats the header of a record behind which the log goes on in another segment.
pub(crate) const REPEATING_VERSION: u32 = 2;
/// The first version with witnesses.
pub(crate) const WITNESSED_VERSION: u32 = 3;
/// Blocks 0 and 1 are the meta slots.
pub(crate) const META_SLOTS: u64 = 2;
/// Where the witnesses of a new arena are: behind the slots, and so far behind that no wound of 16 blocks
/// takes both.
pub(crate) const FIRST_WITNESSES: [u64; 2] = [META_SLOTS, META_SLOTS + 17];
/// Where the log of a new arena begins.
pub(crate) const FIRST_SEGMENT: u64 = FIRST_WITNESSES[1] + 1;
/// Bytes that all roots may take together when encoded.
pub(crate) const ROOTS_BYTES_MAX: usize = 1536;
/// Bytes of a snapshot's name.
pub const SNAPSHOT_NAME_MAX: usize = 255;
/// Where a record's body starts when it is kept inside the header block.
const INLINE_BODY: usize = 104;
const RECORD_CHECKSUM: usize = 96;
/// Where a record's header says which block repeats it.
const RECORD_REPEAT: usize = BLOCK_SIZE - 8;
const META_CHECKSUM: usize = BLOCK_SIZE - 16;
/// Where a meta names the witnesses; zero before version 3.
const META_WITNESSES: usize = META_CHECKSUM - 16;

/// Where a run of bytes lies, and what it must hash to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct BlobPointer {
    /// First block; 0 means "no blob".
    pub(crate) block: u64,
    pub(crate) bytes: u64,
    pub(crate) checksum: u64,
}

impl BlobPointer {
    pub(crate) fn blocks(&self) -> u64 {
        self.bytes.div_ceil(BLOCK_SIZE as u64)
    }
    /// Offset and bytes in the file, whole blocks. A pointer may say anything, so both saturate.
    pub(crate) fn range(&self) -> (u64, u64) {
        let block = BLOCK_SIZE as u64;
        (self.block.saturating_mul(block), self.blocks().saturating_mul(block))
    }
    pub(crate) fn encode(&self, writer: &mut Writer) {
        writer.u64(self.block);
        writer.u64(self.bytes);
        writer.u64(self.checksum);
    }
    pub(crate) fn decode(reader: &mut Reader<'_>) -> Option<Self> {
        Some(Self { block: reader.u64()?, bytes: reader.u64()?, checksum: reader.u64()? })
    }
}

/// Where a tree node lies, when it was written, and what it must hash to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct NodePointer {
    /// 0 means "empty tree".
    pub(crate) block: u64,
    pub(crate) birth: u64,
    pub(crate) checksum: u64,
}

impl NodePointer {
    pub(crate) fn encode(&self, writer: &mut Writer) {
        writer.u64(self.block);
        writer.u64(self.birth);
        writer.u64(self.checksum);
    }
    pub(crate) fn decode(reader: &mut Reader<'_>) -> Option<Self> {
        Some(Self { block: reader.u64()?, birth: reader.u64()?, checksum: reader.u64()? })
    }
}

/// The named words that a program finds its data by.
pub type Roots = BTreeMap<String, u64>;

pub(crate) fn encode_roots(roots: &Roots, writer: &mut Writer) {
    writer.u16(u16::try_from(roots.len()).unwrap_or(u16::MAX));
    for (name, value) in roots {
        writer.text(name);
        writer.u64(*value);
    }
}

pub(crate) fn decode_roots(reader: &mut Reader<'_>) -> Option<Roots> {
    let count = reader.u16()?;
    let mut roots = Roots::new();
    for _ in 0..count {
        let name = reader.text()?.to_owned();
        roots.insert(name, reader.u64()?);
    }
    Some(roots)
}

/// Whether these roots fit in a record.
pub fn roots_fit(roots: &Roots) -> bool {
    2 + roots.keys().map(|name| 10 + name.len()).sum::<usize>() <= ROOTS_BYTES_MAX
}

/// What never changes in the life of an arena.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Random, so that one arena's blocks are never taken for another's.
    pub uuid: [u8; 16],
    /// Address at which the heap is mapped.
    pub base: u64,
    /// Bytes of address space that are reserved there.
    pub reservation: u64,
}

/// Where a commit stands in the arena's history.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Position {
    /// Number of the commit, counted by the arena.
    pub transaction: u64,
    /// As given by the program.
    pub epoch: u64,
    /// As given by the program.
    pub event: u64,
    /// The named roots.
    pub roots: Roots,
}

impl Position {
    pub(crate) fn encode(&self, writer: &mut Writer) {
        writer.u64(self.transaction);
        writer.u64(self.epoch);
        writer.u64(self.event);
        encode_roots(&self.roots, writer);
    }
    pub(crate) fn decode(reader: &mut Reader<'_>) -> Option<Self> {
        Some(Self {
            transaction: reader.u64()?,
            epoch: reader.u64()?,
            event: reader.u64()?,
            roots: decode_roots(reader)?,
        })
    }
}

/// Where the log goes on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct LogPosition {
    /// Block of the next record's header.
    pub(crate) next: u64,
    /// End of the reserved run that `next` lies in.
    pub(crate) segment_end: u64,
    /// Checksum of the record before, which the next record must repeat.
    pub(crate) chain: u64,
}

/// One meta slot: the whole state as of one fold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Meta {
    /// Of the build that wrote it.
    pub(crate) version: u32,
    pub(crate) identity: Identity,
    pub(crate) generation: u64,
    pub(crate) position: Position,
    pub(crate) log: LogPosition,
    pub(crate) total_blocks: u64,
    pub(crate) tree: NodePointer,
    /// One `BlobPointer`-like entry for each group of the space map.
    pub(crate) space_index: BlobPointer,
    /// Runs that the meta before still refers to.
    pub(crate) pending_free: BlobPointer,
    /// Snapshots and their deadlists.
    pub(crate) snapshots: BlobPointer,
    /// Blocks of the witnesses. 0: none.
    pub(crate) witnesses: [u64; 2],
}

/// Why a meta slot was not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MetaFault {
    NotAnArena,
    Version(u32),
    PageSize(u32),
    Checksum,
}

impl Meta {
    pub(crate) fn encode(&self) -> Block {
        let mut writer = Writer::default();
        writer.bytes.extend_from_slice(META_MAGIC);
        writer.u32(self.version);
        writer.u32(BLOCK_SIZE as u32);
        writer.bytes.extend_from_slice(&self.identity.uuid);
        writer.u64(self.identity.base);
        writer.u64(self.identity.reservation);
        writer.u64(self.generation);
        writer.u64(self.log.next);
        writer.u64(self.log.segment_end);
        writer.u64(self.log.chain);
        writer.u64(self.total_blocks);
        self.tree.encode(&mut writer);
        self.space_index.encode(&mut writer);
        self.pending_free.encode(&mut writer);
        self.snapshots.encode(&mut writer);
        self.position.encode(&mut writer);
        let mut block = Block::ZERO;
        block.0[..writer.bytes.len()].copy_from_slice(&writer.bytes);
        for (bytes, at) in
            block.0[META_WITNESSES..META_CHECKSUM].as_chunks_mut::<8>().0.iter_mut().zip(self.witnesses)
        {
            *bytes = at.to_le_bytes();
        }
        let sum = wide_checksum(&block.0[..META_CHECKSUM]);
        block.0[META_CHECKSUM..].copy_from_slice(&sum.to_le_bytes());
        block
    }

    pub(crate) fn decode(block: &Block, check: bool) -> Result<Meta, MetaFault> {
        let mut reader = Reader { bytes: &block.0 };
        if reader.take(8) != Some(META_MAGIC) {
            return Err(MetaFault::NotAnArena);
        }
        let version = reader.u32().ok_or(MetaFault::Checksum)?;
        let sum = wide_checksum(&block.0[..META_CHECKSUM]);
        let intact = block.0[META_CHECKSUM..] == sum.to_le_bytes();
        if !(1..=FORMAT_VERSION).contains(&version) {
            // A later version may keep its checksum elsewhere, so only an intact slot names a version surely.
            return Err(MetaFault::Version(version));
        }
        if !intact && check {
            return Err(MetaFault::Checksum);
        }
        let page_size = reader.u32().ok_or(MetaFault::Checksum)?;
        if page_size != BLOCK_SIZE as u32 {
            return Err(MetaFault::PageSize(page_size));
        }
        let mut meta = Self::decode_body(version, &mut reader).ok_or(MetaFault::Checksum)?;
        if version >= WITNESSED_VERSION {
            let mut reader = Reader { bytes: &block.0[META_WITNESSES..] };
            meta.witnesses = [reader.u64(), reader.u64()].map(Option::unwrap_or_default);
        }
        Ok(meta)
    }

    /// Whether what the slot says of places can be so in a file of `total` blocks. An intact checksum proves
    /// who wrote it only against accidents.
    pub(crate) fn is_sane(&self, total: u64) -> bool {
        let LogPosition { next, segment_end, .. } = self.log;
        (META_SLOTS..=segment_end).contains(&next)
            && segment_end <= total
            && self.tree.block < total
            && self.witnesses.iter().all(|at| *at < total && *at != 1)
            && self.position.transaction < 1 << 48
            && self.generation < 1 << 48
    }

    fn decode_body(version: u32, reader: &mut Reader<'_>) -> Option<Meta> {
        let identity = Identity { uuid: reader.array()?, base: reader.u64()?, reservation: reader.u64()? };
        let generation = reader.u64()?;
        let log = LogPosition { next: reader.u64()?, segment_end: reader.u64()?, chain: reader.u64()? };
        Some(Meta {
            version,
            identity,
            generation,
            log,
            total_blocks: reader.u64()?,
            tree: NodePointer::decode(reader)?,
            space_index: BlobPointer::decode(reader)?,
            pending_free: BlobPointer::decode(reader)?,
            snapshots: BlobPointer::decode(reader)?,
            position: Position::decode(reader)?,
            witnesses: [0; 2],
        })
    }
}

const _: () = assert!(WITNESS_END <= crate::disk::NOTE_BYTES);

/// Makes a block of zeroes, or one that was a witness of this arena, a witness: the arena's last commit. All
/// of it is in the block's first sector, which a disk writes whole or not at all.
pub(crate) fn make_witness(block: &mut Block, uuid: &[u8; 16], transaction: u64) {
    block.0[..8].copy_from_slice(WITNESS_MAGIC);
    block.0[8..24].copy_from_slice(uuid);
    block.0[24..WITNESS_CHECKSUM].copy_from_slice(&transaction.to_le_bytes());
    let sum = checksum(&block.0[..WITNESS_CHECKSUM]);
    block.0[WITNESS_CHECKSUM..WITNESS_END].copy_from_slice(&sum.to_le_bytes());
}

/// The commit that a witness of this arena names.
pub(crate) fn decode_witness(block: &Block, uuid: &[u8; 16]) -> Option<u64> {
    let mut reader = Reader { bytes: &block.0 };
    let is_ours = reader.take(8)? == WITNESS_MAGIC && reader.take(16)? == uuid;
    let transaction = reader.u64()?;
    let is_intact = reader.u64()? == checksum(&block.0[..WITNESS_CHECKSUM]);
    (is_ours && is_intact && reader.bytes.iter().all(|byte| *byte == 0)).then_some(transaction)
}

/// What a commit does to the set of retained snapshots.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum SnapshotOperation {
    /// Nothing.
    #[default]
    None,
    /// Retains this very commit under a name.
    Retain(String),
    /// Forgets the snapshot of that name.
    Drop(String),
}

/// The body of a record: which pages it brings and where they lie.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct RecordBody {
    pub(crate) roots: Roots,
    pub(crate) operation: SnapshotOperation,
    /// Runs of blocks that hold the pages, in order: first block and count.
    pub(crate) runs: Vec<(u64, u32)>,
    /// Page number and checksum, ascending.
    pub(crate) pages: Vec<(u32, u32)>,
    /// Pages that became zero.
    pub(crate) zeroes: Vec<u32>,
}

impl RecordBody {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::default();
        encode_roots(&self.roots, &mut writer);
        match &self.operation {
            SnapshotOperation::None => writer.u16(0),
            SnapshotOperation::Retain(name) => {
                writer.u16(1);
                writer.text(name);
            }
            SnapshotOperation::Drop(name) => {
                writer.u16(2);
                writer.text(name);
            }
        }
        writer.u32(self.runs.len() as u32);
        writer.u32(self.pages.len() as u32);
        writer.u32(self.zeroes.len() as u32);
        for (block, count) in &self.runs {
            writer.u64(*block);
            writer.u32(*count);
        }
        for (page, sum) in &self.pages {
            writer.u32(*page);
            writer.u32(*sum);
        }
        for page in &self.zeroes {
            writer.u32(*page);
        }
        writer.bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader { bytes };
        let roots = decode_roots(&mut reader)?;
        let operation = match reader.u16()? {
            0 => SnapshotOperation::None,
            1 => SnapshotOperation::Retain(reader.text()?.to_owned()),
            2 => SnapshotOperation::Drop(reader.text()?.to_owned()),
            _ => return None,
        };
        let counts = (reader.u32()? as usize, reader.u32()? as usize, reader.u32()? as usize);
        // The counts are checked against what is there before anything is reserved for them.
        if counts.0 * 12 + counts.1 * 8 + counts.2 * 4 != reader.bytes.len() {
            return None;
        }
        let mut body = RecordBody { roots, operation, ..Default::default() };
        let mut covered = 0_usize;
        for _ in 0..counts.0 {
            let (block, count) = (reader.u64()?, reader.u32()?);
            covered += count as usize;
            body.runs.push((block, count));
        }
        for _ in 0..counts.1 {
            body.pages.push((reader.u32()?, reader.u32()?));
        }
        for _ in 0..counts.2 {
            body.zeroes.push(reader.u32()?);
        }
        (covered == counts.1).then_some(body)
    }
}

/// The header of a log record, one block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RecordHeader {
    pub(crate) uuid: [u8; 16],
    pub(crate) transaction: u64,
    /// Checksum of the header before.
    pub(crate) chain: u64,
    pub(crate) epoch: u64,
    pub(crate) event: u64,
    pub(crate) next: u64,
    pub(crate) segment_end: u64,
    pub(crate) body_bytes: u64,
    /// First block of the body; 0 if it is inside the header block.
    pub(crate) body_block: u64,
    pub(crate) body_checksum: u64,
    /// The last block of the segment in which the header lies, if the next record lies in another one: it has
    /// the same bytes. 0: none, as in all records of version 1.
    pub(crate) repeat: u64,
}

impl RecordHeader {
    /// Whether a body of this size stays inside the header block.
    pub(crate) fn body_fits_inline(bytes: usize) -> bool {
        bytes <= RECORD_REPEAT - INLINE_BODY
    }

    /// The block, and its checksum, which the next record must repeat.
    pub(crate) fn encode(&self, body: &[u8]) -> (Block, u64) {
        let mut writer = Writer::default();
        writer.bytes.extend_from_slice(RECORD_MAGIC);
        writer.bytes.extend_from_slice(&self.uuid);
        for field in [
            self.transaction,
            self.chain,
            self.epoch,
            self.event,
            self.next,
            self.segment_end,
            self.body_bytes,
            self.body_block,
            self.body_checksum,
            0,
        ] {
            writer.u64(field);
        }
        debug_assert_eq!(writer.bytes.len(), INLINE_BODY);
        if self.body_block == 0 {
            writer.bytes.extend_from_slice(body);
        }
        let mut block = Block::ZERO;
        block.0[..writer.bytes.len()].copy_from_slice(&writer.bytes);
        block.0[RECORD_REPEAT..].copy_from_slice(&self.repeat.to_le_bytes());
        let sum = checksum(&block.0);
        block.0[RECORD_CHECKSUM..INLINE_BODY].copy_from_slice(&sum.to_le_bytes());
        (block, sum)
    }

    /// Whether a block that is no intact header was one of this commit, or was to become it: of the four
    /// fields that say so, damage to one leaves three.
    pub(crate) fn is_trace(block: &Block, uuid: &[u8; 16], transaction: u64, chain: u64) -> bool {
        let fields = [
            block.0[..8] == *RECORD_MAGIC,
            block.0[8..24] == *uuid,
            block.0[24..32] == transaction.to_le_bytes(),
            block.0[32..40] == chain.to_le_bytes(),
        ];
        fields.iter().filter(|matches| **matches).count() >= 3
    }

    /// The header, its checksum and, if it is inside, its body.
    pub(crate) fn decode(block: &Block, check: bool) -> Option<(RecordHeader, u64, Option<&[u8]>)> {
        if block.0[..8] != *RECORD_MAGIC {
            return None;
        }
        let mut bare = block.clone();
        bare.0[RECORD_CHECKSUM..INLINE_BODY].fill(0);
        let sum = checksum(&bare.0);
        if block.0[RECORD_CHECKSUM..INLINE_BODY] != sum.to_le_bytes() && check {
            return None;
        }
        let mut reader = Reader { bytes: &block.0[8..] };
        let mut header = RecordHeader {
            uuid: reader.array()?,
            transaction: reader.u64()?,
            chain: reader.u64()?,
            epoch: reader.u64()?,
            event: reader.u64()?,
            next: reader.u64()?,
            segment_end: reader.u64()?,
            body_bytes: reader.u64()?,
            body_block: reader.u64()?,
            body_checksum: reader.u64()?,
            repeat: 0,
        };
        let inside = if header.body_block == 0 { header.body_bytes } else { 0 };
        if inside <= (RECORD_REPEAT - INLINE_BODY) as u64 {
            // Version 1 could fill the block with its body.
            header.repeat = u64::from_le_bytes(*block.0[RECORD_REPEAT..].as_array()?);
        }
        let body = if header.body_block == 0 {
            let length = usize::try_from(header.body_bytes).ok()?;
            match block.0[INLINE_BODY..].get(..length) {
                Some(body) => Some(body),
                // A torn header may say anything of its body.
                None if !check => Some(&block.0[..0]),
                None => return None,
            }
        } else {
            None
        };
        Some((header, sum, body))
    }
}
