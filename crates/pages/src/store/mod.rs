//! The page store: numbered pages, committed atomically, kept in versions. It knows nothing of the
//! heap that the pages come from, and needs no `unsafe`, no thread and no clock.
//!
//! A commit is one log record, written beside the pages' final place and made durable by one sync
//! ([`Store::commit`]). From time to time the log is folded into a copy-on-write B+ tree under two
//! alternating meta slots (`fold`). Opening takes the newest intact meta and replays the log
//! behind it (`recovery`), in time that does not depend on the size of the arena.
//!
//! Invariant: a block that the newest durable meta, the meta before it, a retained snapshot or the
//! log refers to is never written.

mod audit;
mod blocks;
mod codec;
mod commit;
mod committed_pages;
mod compaction;
mod concurrent;
mod error;
mod fold;
mod format;
mod free_space;
#[doc(hidden)]
pub mod fuzzing;
mod recovery;
mod snapshots;
mod tree;
mod witness;

use std::collections::BTreeMap;
use std::sync::Arc;

use zerocopy::IntoBytes;

pub use self::audit::{Audit, VerifyReport};
use self::codec::checksum;
pub use self::codec::page_checksum;
pub use self::commit::{CommitPage, CommitRequest};
use self::committed_pages::View;
pub use self::committed_pages::{Committed, FoundPage};
pub use self::compaction::Compacted;
pub use self::error::{CommitError, CreateError, Damage, OpenError, ReadError};
pub use self::fold::FoldWork;
pub use self::fold::let_readers_in;
use self::fold::{PendingFold, SnapshotTable};
pub(crate) use self::format::FIRST_WITNESSES;
pub use self::format::roots_fit;
use self::format::{BlobPointer, LogPosition, Meta, NodePointer};
pub use self::format::{FORMAT_VERSION, Identity, Position, Roots, SNAPSHOT_NAME_MAX, SnapshotOperation};
use self::free_space::FreeSpace;
pub use self::recovery::LogEnd;
pub use self::recovery::RecoveryReport;
use self::snapshots::Holds;
pub use self::snapshots::{Hold, SnapshotPages};
pub use self::snapshots::{SnapshotHandle, SnapshotInfo};
pub use self::tree::PageEntry;
use self::tree::TreeReader;
use crate::disk::{BLOCK_SIZE, Block, Disk, Room};

/// Blocks of log below which nothing is folded.
const FOLD_BLOCKS_MIN: u64 = 2048;
/// Least blocks of a log segment: one for a record, one for the repeated header behind which the log goes on.
const SEGMENT_MIN: u64 = 2;
/// Bytes in a page, as an offset.
pub(crate) const BLOCK: u64 = BLOCK_SIZE as u64;
/// What is written over a header or a meta that must not count. Not zeroes: they could be just what a torn
/// sector lacks, and a crash in this very write would then complete it. No sector of either is all ones.
static TAKEN_BACK: Block = Block([u8::MAX; BLOCK_SIZE]);

/// What may be chosen when a store is opened. The defaults suit a local SSD.
#[derive(Clone, Copy, Debug)]
pub struct StoreOptions {
    /// Blocks of log that are reserved at a time, at least 2.
    pub segment_blocks: u64,
    /// Blocks of log after which a commit also folds, at the latest: a small arena folds sooner, so that its
    /// file stays small.
    pub fold_blocks: u64,
    /// The file grows by at least this many blocks.
    pub growth_blocks: u64,
    pub(crate) mutation: Mutation,
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self { segment_blocks: 4096, fold_blocks: 32_768, growth_blocks: 2048, mutation: Mutation::None }
    }
}

/// Defects that the crash tests switch on one at a time, to prove that they would be found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(not(test), allow(dead_code, reason = "only the crash tests construct these"))]
pub(crate) enum Mutation {
    None,
    SkipCommitSync,
    SkipFoldDataSync,
    SkipMetaSync,
    MetaBeforeData,
    MetaInPlace,
    SkipChainCheck,
    SkipHeaderChecksum,
    SkipMetaChecksum,
    SkipPageChecksum,
    ReuseEarly,
    ForgetDeadlist,
    SkipOpenSync,
    IgnoreLength,
    KeepDropped,
    ForgetLogTail,
    FreePendingEarly,
    NoReserve,
    SkipRepeat,
    TakeCutForEnd,
    KeepFailed,
    TrustTakenBack,
    CutEarly,
    MoveNoDead,
    SkipWitness,
}

/// Bytes and calls since the store was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StoreStatistics {
    /// Commits.
    pub commits: u64,
    /// Folds.
    pub folds: u64,
    /// Bytes of changed pages handed to commits.
    pub bytes_dirtied: u64,
    /// Bytes written by commits and folds, growth apart.
    pub bytes_written: u64,
    /// Bytes by which the file grew.
    pub bytes_grown: u64,
}

struct TailRecord {
    position: Position,
    operation: SnapshotOperation,
    /// Blocks that only the record itself needs: header, its copy, and body.
    overhead: Vec<(u64, u64)>,
    pages: Vec<(u32, Option<PageEntry>)>,
}

/// Commits since the last fold.
#[derive(Default)]
struct Tail {
    records: Vec<TailRecord>,
    blocks: u64,
    /// Pages that the records change, one that several change as often.
    pages: u64,
    /// Records that retain or drop a snapshot.
    operations: u64,
}

impl Tail {
    fn push(&mut self, record: TailRecord) {
        self.pages += record.pages.len() as u64;
        self.operations += u64::from(record.operation != SnapshotOperation::None);
        self.records.push(record);
    }

    /// Forgets the oldest records.
    fn forget(&mut self, records: usize, blocks: u64) {
        for record in self.records.drain(..records) {
            self.pages -= record.pages.len() as u64;
            self.operations -= u64::from(record.operation != SnapshotOperation::None);
        }
        self.blocks -= blocks;
    }
}

/// A store of pages on a disk.
pub struct Store<D: Disk> {
    committed: Arc<Committed<D>>,
    options: StoreOptions,
    meta: Meta,
    position: Position,
    log: LogPosition,
    space: FreeSpace,
    tail: Tail,
    /// Versions of the metas in the slots. What a build of one of them does not know of is not there yet: it
    /// would still take the file.
    slot_versions: [u32; 2],
    /// Whether the log's next record is the first in its segment.
    segment_is_new: bool,
    /// Runs that the meta before the newest still refers to.
    pending_free: Vec<(u64, u64)>,
    /// Blocks in them.
    pending_free_blocks: u64,
    snapshots: SnapshotTable,
    /// The snapshots of the last commit, those in the log too: each commit asks, and the log is long.
    retained: BTreeMap<String, u64>,
    /// A fold that was begun and is not finished.
    pending: Option<PendingFold>,
    poisoned: bool,
    holds: Holds,
    statistics: StoreStatistics,
    /// Where the pages of a commit are gathered, behind a place for the header.
    gathered: Vec<Block>,
    /// What the witnesses say: one block.
    witness: Vec<Block>,
}

impl Identity {
    /// That of a new arena, which no other has.
    ///
    /// # Errors
    /// The kernel has no random bytes.
    pub fn new(base: u64, reservation: u64) -> Result<Self, CreateError> {
        let mut uuid = [0; 16];
        rustix::rand::getrandom(&mut uuid, rustix::rand::GetRandomFlags::empty())
            .map_err(|errno| CreateError::Io(errno.into()))?;
        Ok(Self { uuid, base, reservation })
    }
}

impl<D: Disk> Store<D> {
    /// Makes an empty store on an empty disk and makes it durable.
    ///
    /// # Errors
    /// What the disk says; the caller should then remove the file.
    pub fn create(disk: D, identity: Identity, mut options: StoreOptions) -> Result<Self, CreateError> {
        options.growth_blocks = options.growth_blocks.max(SEGMENT_MIN);
        let Identity { base, reservation, .. } = identity;
        const ALIGNMENT: u64 = 2 << 20;
        // A heap at 0 would make a null pointer good to read and write.
        let is_aligned = base % ALIGNMENT == 0 && reservation % ALIGNMENT == 0;
        if !is_aligned || base == 0 || reservation == 0 || reservation > 16 << 40 {
            return Err(CreateError::BadGeometry { base, reservation });
        }
        let first_segment = options.segment_blocks.max(SEGMENT_MIN).min(options.growth_blocks);
        let total = (format::FIRST_SEGMENT + first_segment).max(options.growth_blocks);
        disk.grow(total * BLOCK, Room::Written).map_err(|source| match source.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => {
                CreateError::DiskFull { needed: total * BLOCK, source }
            }
            _ => CreateError::Io(source),
        })?;
        let log = LogPosition {
            next: format::FIRST_SEGMENT,
            segment_end: format::FIRST_SEGMENT + first_segment,
            chain: checksum(&identity.uuid),
        };
        let meta = Meta {
            version: FORMAT_VERSION,
            identity,
            generation: 0,
            position: Position::default(),
            log,
            total_blocks: total,
            tree: NodePointer::default(),
            space_index: BlobPointer::default(),
            pending_free: BlobPointer::default(),
            snapshots: BlobPointer::default(),
            witnesses: FIRST_WITNESSES,
        };
        // Both slots are written, so that from the first moment either can be lost.
        let second = Meta { generation: 1, ..meta.clone() };
        disk.write_at(0, &[&meta.encode().0, &second.encode().0])?;
        let mut witness = Block::zeroed(1);
        format::make_witness(&mut witness[0], &identity.uuid, 0);
        for at in FIRST_WITNESSES {
            disk.write_at(at * BLOCK, &[&witness[0].0])?;
        }
        disk.sync()?;
        let space = FreeSpace::new(total);
        let mut store = Self::assemble(disk, options, second, space, Vec::new(), SnapshotTable::default());
        let marked = store.mark_first_blocks();
        marked.map_err(|error| CreateError::Io(std::io::Error::other(error)))?;
        Ok(store)
    }

    fn assemble(
        disk: D,
        options: StoreOptions,
        meta: Meta,
        space: FreeSpace,
        pending_free: Vec<(u64, u64)>,
        snapshots: SnapshotTable,
    ) -> Self {
        let names = snapshots.snapshots.iter().map(|it| (it.name.clone(), it.position.transaction));
        let segment_blocks = options.segment_blocks.max(SEGMENT_MIN);
        Self {
            retained: names.collect(),
            pending_free_blocks: blocks_in(&pending_free),
            committed: Arc::new(Committed::new(Arc::new(disk), View { tree: meta.tree, ..View::default() })),
            options: StoreOptions { segment_blocks, ..options },
            position: meta.position.clone(),
            log: meta.log,
            meta,
            space,
            tail: Tail::default(),
            slot_versions: [FORMAT_VERSION; 2],
            segment_is_new: true,
            pending_free,
            snapshots,
            pending: None,
            poisoned: false,
            holds: Holds::default(),
            statistics: StoreStatistics::default(),
            gathered: Vec::new(),
            witness: Block::zeroed(1),
        }
    }

    /// What never changes in the life of the arena.
    pub fn identity(&self) -> Identity {
        self.meta.identity
    }

    /// The version of the format in which the file is, by its newest meta.
    pub fn format_version(&self) -> u32 {
        self.meta.version
    }

    /// The last commit.
    pub fn position(&self) -> &Position {
        &self.position
    }

    /// Whether a failed write or sync has ended this handle.
    pub fn is_poisoned(&self) -> bool {
        self.poisoned
    }

    /// Counters since open.
    pub fn statistics(&self) -> StoreStatistics {
        self.statistics
    }

    /// Blocks of the file, and how many are free.
    pub fn space(&self) -> (u64, u64) {
        (self.space.total, self.space.free())
    }

    /// Blocks of log that a recovery would have to look at now.
    pub fn log_blocks(&self) -> u64 {
        self.tail.blocks
    }

    /// The disk that the store lives on.
    pub fn disk(&self) -> &D {
        &self.committed.disk
    }

    /// The committed pages, for a reader in another thread.
    pub fn committed(&self) -> Arc<Committed<D>> {
        Arc::clone(&self.committed)
    }

    pub(crate) fn is_mutated(&self, which: Mutation) -> bool {
        cfg!(test) && self.options.mutation == which
    }

    fn reader(&self) -> TreeReader<'_, D> {
        self.committed.reader()
    }

    /// Where the last commit keeps a page; `None` for a page of zeroes.
    ///
    /// # Errors
    /// [`ReadError`] if the directory cannot be read.
    pub fn locate(&self, page: u32) -> Result<Option<PageEntry>, ReadError> {
        self.committed.locate(page)
    }

    /// Every page of the last commit that is not zero, ascending.
    ///
    /// # Errors
    /// [`ReadError`] if the directory cannot be read.
    pub fn pages(&self) -> Result<Vec<(u32, PageEntry)>, ReadError> {
        self.committed.pages()
    }

    /// Fills `buffer` with a page and checks it.
    ///
    /// # Errors
    /// [`ReadError::Damaged`] names the byte range if the checksum does not match.
    pub fn read_entry(&self, page: u32, entry: PageEntry, buffer: &mut [u8]) -> Result<(), ReadError> {
        self.committed.read_entry(page, entry, buffer)
    }

    /// Whether the log is so long that it should be folded, no fold is under way, and no reader asks for
    /// rest.
    pub fn wants_fold(&self) -> bool {
        self.pending.is_none()
            && self.tail.blocks >= self.fold_threshold()
            && (self.fold_is_overdue() || !self.committed.disk.is_asked_for_rest().unwrap_or(false))
    }

    /// A fold writes about a node for 150 pages that live: with half as many blocks of log as there are
    /// pages it adds little to what the commits wrote.
    fn fold_threshold(&self) -> u64 {
        let used = self.space.total - self.space.free();
        let live = used.saturating_sub(self.tail.blocks + self.pending_free_blocks);
        (live / 2).clamp(FOLD_BLOCKS_MIN.min(self.options.fold_blocks), self.options.fold_blocks)
    }

    /// Whether the log has grown so far beyond the length at which it is folded that commits should wait.
    pub fn fold_is_overdue(&self) -> bool {
        self.tail.blocks >= 4 * self.fold_threshold()
    }
}

/// Blocks in runs.
fn blocks_in(runs: &[(u64, u64)]) -> u64 {
    runs.iter().map(|(_, count)| count).fold(0, |sum, count| sum.saturating_add(*count))
}

/// The bytes padded to whole blocks.
pub(crate) fn blocks_of(bytes: &[u8]) -> Vec<Block> {
    let mut blocks = Block::zeroed(bytes.len().div_ceil(BLOCK_SIZE));
    blocks.as_mut_bytes()[..bytes.len()].copy_from_slice(bytes);
    blocks
}

/// Whether a page holds only zeroes; most pages say no at their first word.
pub fn is_zero(page: &[u8]) -> bool {
    page.chunks(64).all(|line| line.iter().all(|byte| *byte == 0))
}

/// Checks a page's bytes against its entry.
pub(crate) fn check_page(page: u32, entry: PageEntry, bytes: &[u8]) -> Result<(), ReadError> {
    if page_checksum(bytes) == entry.checksum {
        return Ok(());
    }
    let what = format!("page {page}, written by commit {}", entry.birth);
    Err(ReadError::Damaged(Damage { offset: entry.block * BLOCK, length: BLOCK, what }))
}
