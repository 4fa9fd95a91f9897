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
mod beside;
mod codec;
mod committed;
mod error;
mod fold;
mod format;
#[doc(hidden)]
pub mod fuzzing;
mod recovery;
mod space;
mod tree;

use std::collections::BTreeMap;
use std::sync::Arc;

use zerocopy::IntoBytes;

pub use self::audit::{Audit, VerifyReport};
use self::codec::checksum;
pub(crate) use self::codec::page_checksum;
pub use self::committed::{Committed, FoundPage};
pub use self::error::{CommitError, CreateError, Damage, OpenError, ReadError};
pub use self::fold::FoldWork;
use self::fold::{PendingFold, SnapshotTable};
pub(crate) use self::format::roots_fit;
use self::format::{BlobPointer, LogPosition, Meta, NodePointer, RecordBody, RecordHeader};
pub use self::format::{FORMAT_VERSION, Identity, Position, Roots, SNAPSHOT_NAME_MAX, SnapshotOperation};
pub use self::recovery::RecoveryReport;
use self::space::Space;
pub use self::tree::PageEntry;
use self::tree::TreeReader;
use crate::disk::{BLOCK_SIZE, Block, Disk};

/// Blocks of log below which nothing is folded.
const FOLD_BLOCKS_MIN: u64 = 2048;
/// Commits of so many pages are gathered in one buffer: the disk takes a long piece faster than many short
/// ones, and a page that was just hashed costs little to copy. Larger ones are written from where they are.
const GATHERED: std::ops::RangeInclusive<usize> = 8..=4096;

/// Bytes in a page, as an offset.
pub(crate) const BLOCK: u64 = BLOCK_SIZE as u64;

/// What may be chosen when a store is opened. The defaults suit a local SSD.
#[derive(Clone, Copy, Debug)]
pub struct StoreOptions {
    /// Blocks of log that are reserved at a time.
    pub segment_blocks: u64,
    /// Blocks of log after which a commit also folds, at the latest: a small arena folds sooner, so that its
    /// file stays small.
    pub fold_blocks: u64,
    /// The file grows by at least this many blocks.
    pub growth_blocks: u64,
    pub(crate) sabotage: Sabotage,
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self { segment_blocks: 4096, fold_blocks: 32_768, growth_blocks: 2048, sabotage: Sabotage::None }
    }
}

/// Defects that the crash tests switch on one at a time, to prove that they would be found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(not(test), allow(dead_code, reason = "only the crash tests construct these"))]
pub(crate) enum Sabotage {
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
    FreeLimboEarly,
}

/// One page of a commit: its number and its bytes, or `None` if it became zero.
pub type CommitPage<'a> = (u32, Option<&'a [u8]>);

/// What a commit makes durable.
#[derive(Clone, Debug, Default)]
pub struct CommitRequest<'a> {
    /// Recorded and given back by the next open.
    pub epoch: u64,
    /// Recorded and given back by the next open.
    pub event: u64,
    /// The named roots, all of them.
    pub roots: Roots,
    /// Retain or drop a snapshot with this commit.
    pub operation: SnapshotOperation,
    /// Changed pages, ascending; each slice is one page long and aligned to it.
    pub pages: Vec<CommitPage<'a>>,
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

/// A snapshot that is retained.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotInfo {
    /// Its name.
    pub name: String,
    /// The commit that it retains.
    pub position: Position,
}

/// A version of the pages that can be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotHandle {
    pub(crate) info: SnapshotInfo,
    tree: NodePointer,
}

impl SnapshotHandle {
    /// Name and position.
    #[must_use]
    pub fn info(&self) -> &SnapshotInfo {
        &self.info
    }
}

struct TailRecord {
    position: Position,
    operation: SnapshotOperation,
    /// Blocks that only the record itself needs: header and body.
    overhead: Vec<(u64, u64)>,
    pages: Vec<(u32, Option<PageEntry>)>,
}

/// Commits since the last fold.
#[derive(Default)]
struct Tail {
    records: Vec<TailRecord>,
    blocks: u64,
}

/// A store of pages on a disk.
pub struct Store<D: Disk> {
    committed: Arc<Committed<D>>,
    options: StoreOptions,
    meta: Meta,
    position: Position,
    log: LogPosition,
    space: Space,
    tail: Tail,
    /// Runs that the meta before the newest still refers to.
    limbo: Vec<(u64, u64)>,
    /// Blocks in them.
    limbo_blocks: u64,
    snapshots: SnapshotTable,
    /// The snapshots of the last commit, those in the log too: each commit asks, and the log is long.
    retained: BTreeMap<String, u64>,
    /// A fold that was begun and is not finished.
    pending: Option<PendingFold>,
    poisoned: bool,
    readers: BTreeMap<String, usize>,
    statistics: StoreStatistics,
    /// Where the pages of a commit are gathered, behind a place for the header.
    gathered: Vec<Block>,
}

impl<D: Disk> Store<D> {
    /// Makes an empty store on an empty disk and makes it durable.
    ///
    /// # Errors
    /// What the disk says; the caller should then remove the file.
    pub fn create(disk: D, identity: Identity, options: StoreOptions) -> Result<Self, CreateError> {
        let Identity { base, reservation, .. } = identity;
        const ALIGNMENT: u64 = 2 << 20;
        if base % ALIGNMENT != 0 || reservation % ALIGNMENT != 0 || reservation == 0 || reservation > 16 << 40
        {
            return Err(CreateError::BadGeometry { base, reservation });
        }
        let first_segment = options.segment_blocks.min(options.growth_blocks);
        let total = (format::META_SLOTS + first_segment).max(options.growth_blocks);
        disk.grow(total * BLOCK, true).map_err(|source| match source.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => {
                CreateError::DiskFull { needed: total * BLOCK, source }
            }
            _ => CreateError::Io(source),
        })?;
        let log = LogPosition {
            next: format::META_SLOTS,
            segment_end: format::META_SLOTS + first_segment,
            chain: checksum(&identity.uuid),
        };
        let meta = Meta {
            identity,
            generation: 0,
            position: Position::default(),
            log,
            total_blocks: total,
            tree: NodePointer::default(),
            space_index: BlobPointer::default(),
            limbo: BlobPointer::default(),
            snapshots: BlobPointer::default(),
        };
        // Both slots are written, so that from the first moment either can be lost.
        let second = Meta { generation: 1, ..meta.clone() };
        disk.write_at(0, &[&meta.encode().0, &second.encode().0])?;
        disk.sync()?;
        let mut space = Space::new(total);
        let marked = space.set(&disk, 0, log.segment_end, true);
        marked.map_err(|error| CreateError::Io(std::io::Error::other(error)))?;
        Ok(Self::assemble(disk, options, second, space, Vec::new(), SnapshotTable::default()))
    }

    fn assemble(
        disk: D,
        options: StoreOptions,
        meta: Meta,
        space: Space,
        limbo: Vec<(u64, u64)>,
        snapshots: SnapshotTable,
    ) -> Self {
        let names = snapshots.snapshots.iter().map(|it| (it.name.clone(), it.position.transaction));
        Self {
            retained: names.collect(),
            limbo_blocks: blocks_in(&limbo),
            committed: Arc::new(Committed::new(disk, meta.tree)),
            options,
            position: meta.position.clone(),
            log: meta.log,
            meta,
            space,
            tail: Tail::default(),
            limbo,
            snapshots,
            pending: None,
            poisoned: false,
            readers: BTreeMap::new(),
            statistics: StoreStatistics::default(),
            gathered: Vec::new(),
        }
    }

    /// What never changes in the life of the arena.
    pub fn identity(&self) -> Identity {
        self.meta.identity
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

    pub(crate) fn sabotaged(&self, which: Sabotage) -> bool {
        cfg!(test) && self.options.sabotage == which
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

    /// Fills `buffer` with a page of the last commit, with zeroes if there is none.
    ///
    /// # Errors
    /// [`ReadError`] if it cannot be read or is damaged.
    pub fn read_page(&self, page: u32, buffer: &mut Block) -> Result<(), ReadError> {
        match self.locate(page)? {
            Some(entry) => self.read_entry(page, entry, &mut buffer.0),
            None => {
                buffer.0.fill(0);
                Ok(())
            }
        }
    }

    /// The snapshots that are retained, oldest first.
    pub fn snapshots(&self) -> Vec<SnapshotInfo> {
        let mut list = self.snapshots.infos();
        for record in &self.tail.records {
            match &record.operation {
                SnapshotOperation::None => {}
                SnapshotOperation::Retain(name) => {
                    list.push(SnapshotInfo { name: name.clone(), position: record.position.clone() });
                }
                SnapshotOperation::Drop(name) => list.retain(|info| info.name != *name),
            }
        }
        list
    }

    /// A handle on a snapshot, which cannot be dropped until [`Store::close_snapshot`]. Folds the log
    /// first if the snapshot is that new.
    ///
    /// # Errors
    /// [`CommitError::NoSuchSnapshot`], or what the fold says.
    pub fn open_snapshot(&mut self, name: &str) -> Result<SnapshotHandle, CommitError> {
        if !self.snapshots().iter().any(|info| info.name == name) {
            return Err(CommitError::NoSuchSnapshot(name.to_owned()));
        }
        if self.folded_snapshot(name).is_none() {
            self.fold()?;
        }
        let found = self.snapshots.find(name).ok_or_else(|| CommitError::NoSuchSnapshot(name.to_owned()))?;
        *self.readers.entry(name.to_owned()).or_default() += 1;
        Ok(found)
    }

    /// The snapshot of that name, if it is folded already. The log may have dropped the one that the
    /// table knows and retained another under the same name.
    pub(crate) fn folded_snapshot(&self, name: &str) -> Option<SnapshotHandle> {
        let current = self.snapshots().into_iter().find(|info| info.name == name)?;
        self.snapshots.find(name).filter(|handle| handle.info == current)
    }

    /// The committed pages as they were at a snapshot, on this store's disk.
    pub(crate) fn into_snapshot(self, handle: &SnapshotHandle) -> Option<Committed<D>> {
        let committed = Arc::into_inner(self.committed)?;
        *committed.view() = committed::View { tree: handle.tree, ..committed::View::default() };
        Some(committed)
    }

    /// Gives a handle back.
    pub fn close_snapshot(&mut self, handle: &SnapshotHandle) {
        if let Some(count) = self.readers.get_mut(&handle.info.name) {
            *count -= 1;
            if *count == 0 {
                self.readers.remove(&handle.info.name);
            }
        }
    }

    /// Where a snapshot keeps a page.
    ///
    /// # Errors
    /// [`ReadError`] if the directory cannot be read.
    pub fn locate_in(&self, snapshot: &SnapshotHandle, page: u32) -> Result<Option<PageEntry>, ReadError> {
        self.reader().lookup(snapshot.tree, page)
    }

    /// Every page of a snapshot that is not zero, ascending.
    ///
    /// # Errors
    /// [`ReadError`] if the directory cannot be read.
    pub fn pages_of(&self, snapshot: &SnapshotHandle) -> Result<Vec<(u32, PageEntry)>, ReadError> {
        let mut pages = Vec::new();
        self.reader().walk(snapshot.tree, &mut |_| true, &mut |page, entry| pages.push((page, entry)))?;
        Ok(pages)
    }

    /// Pages that differ between two snapshots; `None` is a page that became zero. Costs what differs.
    ///
    /// # Errors
    /// [`ReadError`] if the directory cannot be read.
    pub fn diff(
        &self,
        old: &SnapshotHandle,
        new: &SnapshotHandle,
    ) -> Result<Vec<(u32, Option<PageEntry>)>, ReadError> {
        self.reader().diff(old.tree, new.tree)
    }

    fn check_request(&self, request: &CommitRequest<'_>) -> Result<(), CommitError> {
        if self.poisoned {
            return Err(CommitError::Poisoned);
        }
        if !roots_fit(&request.roots) {
            return Err(CommitError::RootsTooLarge);
        }
        let exists = |name: &String| self.retained.contains_key(name);
        match &request.operation {
            SnapshotOperation::Retain(name) if name.is_empty() || name.len() > SNAPSHOT_NAME_MAX => {
                Err(CommitError::SnapshotName(name.clone()))
            }
            SnapshotOperation::Retain(name) if exists(name) => Err(CommitError::SnapshotExists(name.clone())),
            SnapshotOperation::Drop(name) if !exists(name) => Err(CommitError::NoSuchSnapshot(name.clone())),
            SnapshotOperation::Drop(name) if self.readers.contains_key(name) => {
                Err(CommitError::SnapshotInUse(name.clone()))
            }
            _ => Ok(()),
        }
    }

    /// Makes the pages, roots and numbers durable, all or none. One sync; and a fold, when the log has
    /// grown so long.
    ///
    /// # Errors
    /// [`CommitError::DiskFull`] and the errors on names leave everything as it was. [`CommitError::Io`]
    /// poisons the store: it must be opened again, and is then at this commit or at the one before.
    pub fn commit(&mut self, request: &CommitRequest<'_>) -> Result<Position, CommitError> {
        let position = self.commit_record(request)?;
        if self.wants_fold() {
            match self.fold() {
                // The commit is durable whatever becomes of the fold: a full disk only puts it off, and a
                // failed one has poisoned the store, which the next call reports.
                Ok(()) | Err(CommitError::DiskFull { .. } | CommitError::Io(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(position)
    }

    /// As [`Store::commit`], without the fold: for who folds in another thread, see [`Store::begin_fold`].
    ///
    /// # Errors
    /// As [`Store::commit`].
    pub fn commit_record(&mut self, request: &CommitRequest<'_>) -> Result<Position, CommitError> {
        self.check_request(request)?;
        let dropped = match &request.operation {
            SnapshotOperation::Drop(name) => self.claim(name)?,
            _ => None,
        };
        let committed = self.write_commit(request);
        if let Some(transaction) = dropped {
            self.committed.disk.release_snapshot(transaction);
        }
        committed
    }

    /// Keeps readers in other processes off a snapshot that is to be dropped; gives its commit's number.
    fn claim(&self, name: &str) -> Result<Option<u64>, CommitError> {
        let Some(transaction) = self.retained.get(name).copied() else { return Ok(None) };
        match self.committed.disk.claim_snapshot(transaction) {
            Ok(true) => Ok(Some(transaction)),
            Ok(false) => Err(CommitError::SnapshotInUse(name.to_owned())),
            Err(error) => Err(CommitError::Read(ReadError::Io(error))),
        }
    }

    fn write_commit(&mut self, request: &CommitRequest<'_>) -> Result<Position, CommitError> {
        self.space.begin();
        let plan = match self.plan(request) {
            Ok(plan) => plan,
            Err(error) => {
                self.poisoned |= matches!(error, CommitError::Io(_));
                self.space.revert(&self.committed.disk)?;
                return Err(error);
            }
        };
        if let Err(error) = self.write_record(request, &plan) {
            self.poisoned = true;
            return Err(CommitError::Io(error));
        }
        let position = Position {
            transaction: plan.header.transaction,
            epoch: request.epoch,
            event: request.event,
            roots: request.roots.clone(),
        };
        self.statistics.commits += 1;
        self.statistics.bytes_dirtied += plan.body.pages.len() as u64 * BLOCK;
        self.accept(position.clone(), &plan.header, plan.sum, plan.body)?;
        Ok(position)
    }

    /// Whether the log is so long that it should be folded, no fold is under way, and no reader asks for rest.
    pub fn wants_fold(&self) -> bool {
        self.pending.is_none()
            && self.tail.blocks >= self.fold_threshold()
            && (self.fold_is_overdue() || !self.committed.disk.is_asked_for_rest().unwrap_or(false))
    }

    /// A fold writes about a node for 150 pages that live: with half as many blocks of log as there are
    /// pages it adds little to what the commits wrote.
    fn fold_threshold(&self) -> u64 {
        let used = self.space.total - self.space.free();
        let live = used.saturating_sub(self.tail.blocks + self.limbo_blocks);
        (live / 2).clamp(FOLD_BLOCKS_MIN.min(self.options.fold_blocks), self.options.fold_blocks)
    }

    /// Whether the log has grown so far beyond the length at which it is folded that commits should wait.
    pub fn fold_is_overdue(&self) -> bool {
        self.tail.blocks >= 4 * self.fold_threshold()
    }

    /// Chooses the blocks of a commit. Nothing is written yet but what growth writes.
    fn plan(&mut self, request: &CommitRequest<'_>) -> Result<Plan, CommitError> {
        let mut body = RecordBody {
            roots: request.roots.clone(),
            operation: request.operation.clone(),
            ..RecordBody::default()
        };
        let gather = GATHERED.contains(&request.pages.len());
        self.gathered.truncate(1);
        for (page, bytes) in &request.pages {
            match bytes {
                Some(bytes) if !is_zero(bytes) => {
                    body.pages.push((*page, page_checksum(bytes)));
                    if gather {
                        self.gathered.resize(self.gathered.len().max(1), Block::ZERO);
                        self.gathered.push(Block::ZERO);
                        self.gathered.last_mut().expect("pushed above").0.copy_from_slice(bytes);
                    }
                }
                _ => body.zeroes.push(*page),
            }
        }
        let pages = body.pages.len() as u64;
        let segment = self.options.segment_blocks;
        let LogPosition { next: at, segment_end: end, chain } = self.log;
        let (mut next, mut segment_end) = (at + 1, end);
        // One run fits the header block up to some hundred pages: the usual commit is one write.
        let inline = RecordHeader::body_fits_inline(body.encode().len() + 12);
        if pages == 0 {
        } else if inline && pages < end - at {
            body.runs.push((at + 1, pages as u32));
            next = at + 1 + pages;
        } else if inline && pages <= self.options.segment_blocks / 2 {
            let (start, length) = self.blocks().run(segment, pages)?;
            if length >= pages {
                body.runs.push((start, pages as u32));
                (next, segment_end) = (start + pages, start + length);
            }
        }
        if body.runs.is_empty() {
            let mut left = pages;
            while left > 0 {
                let (start, length) = self.blocks().run(left, 1)?;
                body.runs.push((start, length as u32));
                left -= length;
            }
        }
        let encoded = body.encode();
        let mut body_block = 0;
        if !RecordHeader::body_fits_inline(encoded.len()) {
            let blocks = (encoded.len() as u64).div_ceil(BLOCK);
            body_block = self.blocks().whole(blocks)?;
        }
        if next == segment_end {
            let (start, length) = self.blocks().run(segment, 1)?;
            (next, segment_end) = (start, start + length);
        }
        let header = RecordHeader {
            uuid: self.meta.identity.uuid,
            transaction: self.position.transaction + 1,
            chain,
            epoch: request.epoch,
            event: request.event,
            next,
            segment_end,
            body_bytes: encoded.len() as u64,
            body_block,
            body_checksum: checksum(&encoded),
        };
        let (block, sum) = header.encode(&encoded);
        Ok(Plan { header, block, sum, body, encoded })
    }

    /// Writes a planned record and its pages, and syncs once.
    fn write_record(&mut self, request: &CommitRequest<'_>, plan: &Plan) -> std::io::Result<()> {
        let mut gathered = std::mem::take(&mut self.gathered);
        let written = self.write_pieces(request, plan, &mut gathered);
        self.gathered = gathered;
        written
    }

    fn write_pieces(
        &mut self,
        request: &CommitRequest<'_>,
        plan: &Plan,
        gathered: &mut [Block],
    ) -> std::io::Result<()> {
        let mut runs: Vec<(u64, Vec<&[u8]>)> = Vec::with_capacity(plan.body.runs.len() + 2);
        if gathered.len() > 1 {
            gathered[0] = plan.block.clone();
            let (mut header, mut rest) = gathered.split_at(1);
            for (start, count) in &plan.body.runs {
                let (run, after) = rest.split_at(*count as usize);
                rest = after;
                if *start == self.log.next + 1 && !header.is_empty() {
                    // The header lies right before it in the buffer only if it is the first run.
                    runs.push((self.log.next, vec![header.as_bytes(), run.as_bytes()]));
                    header = &header[..0];
                } else {
                    runs.push((*start, vec![run.as_bytes()]));
                }
            }
            if !header.is_empty() {
                runs.insert(0, (self.log.next, vec![header.as_bytes()]));
            }
        } else {
            runs.push((self.log.next, vec![&plan.block.0]));
            let mut pages =
                request.pages.iter().filter_map(|(_, bytes)| bytes.filter(|bytes| !is_zero(bytes)));
            for (start, count) in &plan.body.runs {
                let pieces: Vec<&[u8]> = pages.by_ref().take(*count as usize).collect();
                match runs.last_mut() {
                    Some((first, before)) if *first + before.len() as u64 == *start => before.extend(pieces),
                    _ => runs.push((*start, pieces)),
                }
            }
        }
        let outside = plan.header.body_block != 0;
        let padded = if outside { blocks_of(&plan.encoded) } else { Vec::new() };
        if outside {
            runs.push((plan.header.body_block, padded.iter().map(|block| &block.0[..]).collect()));
        }
        self.statistics.bytes_written +=
            runs.iter().flat_map(|(_, pieces)| pieces).map(|piece| piece.len() as u64).sum::<u64>();
        let skip_sync = self.sabotaged(Sabotage::SkipCommitSync);
        if let ([(start, pieces)], false) = (runs.as_slice(), skip_sync) {
            return self.committed.disk.write_durable_at(start * BLOCK, pieces);
        }
        let runs: Vec<(u64, Vec<&[u8]>)> =
            runs.into_iter().map(|(start, pieces)| (start * BLOCK, pieces)).collect();
        self.committed.disk.write_scattered(&runs)?;
        if skip_sync {
            return Ok(());
        }
        self.committed.disk.sync()
    }

    /// Takes a durable record into the state: used by a commit and by the replay alike.
    fn accept(
        &mut self,
        position: Position,
        header: &RecordHeader,
        sum: u64,
        body: RecordBody,
    ) -> Result<(), ReadError> {
        let LogPosition { next: at, segment_end: end, .. } = self.log;
        let body_blocks = if header.body_block == 0 { 0 } else { header.body_bytes.div_ceil(BLOCK) };
        // What was reserved and stays unused is free again; then everything the record names is in use.
        self.space.set(&self.committed.disk, at, end - at, false)?;
        self.space.set(&self.committed.disk, at, 1, true)?;
        self.space.set(&self.committed.disk, header.next, header.segment_end - header.next, true)?;
        let mut overhead = vec![(at, 1)];
        if body_blocks > 0 {
            self.space.set(&self.committed.disk, header.body_block, body_blocks, true)?;
            overhead.push((header.body_block, body_blocks));
        }
        let mut pages = Vec::with_capacity(body.pages.len() + body.zeroes.len());
        let mut numbers = body.pages.iter();
        for (start, count) in &body.runs {
            self.space.set(&self.committed.disk, *start, u64::from(*count), true)?;
            for (offset, (page, checksum)) in (0..u64::from(*count)).zip(numbers.by_ref()) {
                let entry =
                    PageEntry { block: start + offset, birth: header.transaction, checksum: *checksum };
                pages.push((*page, Some(entry)));
            }
        }
        pages.extend(body.zeroes.iter().map(|page| (*page, None)));
        self.committed.view().overlay.extend(pages.iter().copied());
        self.tail.blocks += 1 + body_blocks + body.pages.len() as u64;
        match &body.operation {
            SnapshotOperation::None => {}
            SnapshotOperation::Retain(name) => {
                self.retained.insert(name.clone(), header.transaction);
            }
            SnapshotOperation::Drop(name) => {
                self.retained.remove(name);
            }
        }
        self.tail.records.push(TailRecord {
            position: position.clone(),
            operation: body.operation,
            overhead,
            pages,
        });
        self.position = position;
        self.log = LogPosition { next: header.next, segment_end: header.segment_end, chain: sum };
        Ok(())
    }

    fn blocks(&mut self) -> Blocks<'_, D> {
        let Store { committed, options, space, statistics, .. } = self;
        Blocks { disk: &committed.disk, options, space, statistics }
    }
}

/// The parts of a store that hand out blocks, borrowed apart from the rest.
struct Blocks<'a, D: Disk> {
    disk: &'a D,
    options: &'a StoreOptions,
    space: &'a mut Space,
    statistics: &'a mut StoreStatistics,
}

impl<D: Disk> Blocks<'_, D> {
    /// A run of `want` blocks, or of at least `minimum`; grows the file rather than scatter a commit,
    /// while a good part of the file is in use.
    fn run(&mut self, want: u64, minimum: u64) -> Result<(u64, u64), CommitError> {
        // A file that is half empty is used up in smaller pieces before it grows again.
        let roomy = self.space.free() > self.space.total / 2 && self.space.free() > 4 * want;
        let acceptable = if roomy { minimum } else { minimum.max(want.min(self.options.segment_blocks) / 4) };
        if let Some(run) = self.space.allocate(self.disk, want, acceptable)? {
            return Ok(run);
        }
        match self.grow(want) {
            Ok(()) => {}
            Err(error @ CommitError::Io(_)) => return Err(error),
            Err(error) => {
                return self.space.allocate(self.disk, want, minimum)?.ok_or(error);
            }
        }
        let found = self.space.allocate(self.disk, want, minimum)?;
        found.ok_or_else(|| CommitError::DiskFull {
            needed: want * BLOCK,
            source: std::io::ErrorKind::StorageFull.into(),
        })
    }

    /// A run of exactly `count` blocks.
    fn whole(&mut self, count: u64) -> Result<u64, CommitError> {
        if let Some((start, _)) = self.space.allocate(self.disk, count, count)? {
            return Ok(start);
        }
        self.grow(count)?;
        // A run lies inside one group of the map: the growth may have straddled the boundary of two.
        for _ in 0..2 {
            if let Some((start, _)) = self.space.allocate(self.disk, count, count)? {
                return Ok(start);
            }
            self.grow(count)?;
        }
        let source = std::io::ErrorKind::StorageFull.into();
        Err(CommitError::DiskFull { needed: count * BLOCK, source })
    }

    fn grow(&mut self, want: u64) -> Result<(), CommitError> {
        let step = (self.space.total / 8).clamp(self.options.growth_blocks, 8 * self.options.growth_blocks);
        // Small steps are written with zeroes, so that the commits into them need no journal commit;
        // for a huge commit that would be the second write that the design avoids.
        let write_zeroes = want <= step;
        for blocks in [want.max(step), want] {
            let total = self.space.total + blocks;
            match self.disk.grow(total * BLOCK, write_zeroes) {
                Ok(()) => {
                    // The length is durable before anything is written behind the old end: a second guard, beside
                    // the erased header, against a record that a short file hides and a growth brings back.
                    self.disk.sync().map_err(CommitError::Io)?;
                    self.statistics.bytes_grown += blocks * BLOCK;
                    self.space.extend(total);
                    return Ok(());
                }
                Err(source) if blocks == want => {
                    return Err(CommitError::DiskFull { needed: want * BLOCK, source });
                }
                Err(_) => {}
            }
        }
        Ok(())
    }
}

struct Plan {
    header: RecordHeader,
    block: Block,
    sum: u64,
    body: RecordBody,
    encoded: Vec<u8>,
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
pub(crate) fn is_zero(page: &[u8]) -> bool {
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
