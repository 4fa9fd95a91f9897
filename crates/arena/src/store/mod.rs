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
mod codec;
mod error;
mod fold;
mod format;
mod recovery;
mod space;
mod tree;

use std::collections::{BTreeMap, HashMap};

use zerocopy::IntoBytes;

pub use self::audit::{Audit, VerifyReport};
use self::codec::checksum;
pub(crate) use self::codec::page_checksum;
pub use self::error::{CommitError, CreateError, Damage, OpenError, ReadError};
use self::fold::SnapshotTable;
use self::format::{BlobPointer, LogPosition, Meta, NodePointer, RecordBody, RecordHeader, roots_fit};
pub use self::format::{FORMAT_VERSION, Identity, Position, Roots, SNAPSHOT_NAME_MAX, SnapshotOperation};
pub use self::recovery::RecoveryReport;
use self::space::Space;
pub use self::tree::PageEntry;
use self::tree::{NodeCache, TreeReader};
use crate::disk::{BLOCK_SIZE, Block, Disk};

/// Bytes in a page, as an offset.
pub(crate) const BLOCK: u64 = BLOCK_SIZE as u64;

/// What may be chosen when a store is opened. The defaults suit a local SSD.
#[derive(Clone, Copy, Debug)]
pub struct StoreOptions {
    /// Blocks of log that are reserved at a time.
    pub segment_blocks: u64,
    /// Blocks of log after which a commit also folds.
    pub fold_blocks: u64,
    /// The file grows by at least this many blocks.
    pub growth_blocks: u64,
    pub(crate) sabotage: Sabotage,
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self { segment_blocks: 1024, fold_blocks: 32_768, growth_blocks: 2048, sabotage: Sabotage::None }
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
    /// The newest entry of each page that they changed.
    overlay: HashMap<u32, Option<PageEntry>>,
    blocks: u64,
}

/// A store of pages on a disk.
pub struct Store<D: Disk> {
    disk: D,
    options: StoreOptions,
    meta: Meta,
    position: Position,
    log: LogPosition,
    space: Space,
    tail: Tail,
    /// Runs that the meta before the newest still refers to.
    limbo: Vec<(u64, u64)>,
    snapshots: SnapshotTable,
    cache: NodeCache,
    poisoned: bool,
    readers: BTreeMap<String, usize>,
    statistics: StoreStatistics,
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
        let total = (format::META_SLOTS + options.segment_blocks).max(options.growth_blocks);
        disk.grow(total * BLOCK, true)?;
        let log = LogPosition {
            next: format::META_SLOTS,
            segment_end: format::META_SLOTS + options.segment_blocks,
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
        Self {
            disk,
            options,
            position: meta.position.clone(),
            log: meta.log,
            meta,
            space,
            tail: Tail::default(),
            limbo,
            snapshots,
            cache: NodeCache::default(),
            poisoned: false,
            readers: BTreeMap::new(),
            statistics: StoreStatistics::default(),
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
        &self.disk
    }

    pub(crate) fn sabotaged(&self, which: Sabotage) -> bool {
        cfg!(test) && self.options.sabotage == which
    }

    fn reader(&self) -> TreeReader<'_, D> {
        TreeReader { disk: &self.disk, cache: &self.cache }
    }

    /// Where the last commit keeps a page; `None` for a page of zeroes.
    ///
    /// # Errors
    /// [`ReadError`] if the directory cannot be read.
    pub fn locate(&self, page: u32) -> Result<Option<PageEntry>, ReadError> {
        match self.tail.overlay.get(&page) {
            Some(entry) => Ok(*entry),
            None => self.reader().lookup(self.meta.tree, page),
        }
    }

    /// Every page of the last commit that is not zero, ascending.
    ///
    /// # Errors
    /// [`ReadError`] if the directory cannot be read.
    pub fn pages(&self) -> Result<Vec<(u32, PageEntry)>, ReadError> {
        let mut pages = BTreeMap::new();
        self.reader().walk(self.meta.tree, &mut |_| true, &mut |page, entry| {
            pages.insert(page, entry);
        })?;
        for (page, entry) in &self.tail.overlay {
            match entry {
                Some(entry) => pages.insert(*page, *entry),
                None => pages.remove(page),
            };
        }
        Ok(pages.into_iter().collect())
    }

    /// Fills `buffer` with a page and checks it.
    ///
    /// # Errors
    /// [`ReadError::Damaged`] names the byte range if the checksum does not match.
    pub fn read_entry(&self, page: u32, entry: PageEntry, buffer: &mut [u8]) -> Result<(), ReadError> {
        let offset = entry.block * BLOCK;
        self.disk.read_at(offset, buffer)?;
        check_page(page, entry, buffer)
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
        let exists = |name: &String| self.snapshots().iter().any(|info| info.name == *name);
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

    /// Makes the pages, roots and numbers durable, all or none. One sync.
    ///
    /// # Errors
    /// [`CommitError::DiskFull`] and the errors on names leave everything as it was. [`CommitError::Io`]
    /// poisons the store: it must be opened again, and is then at this commit or at the one before.
    pub fn commit(&mut self, request: &CommitRequest<'_>) -> Result<Position, CommitError> {
        self.check_request(request)?;
        self.space.begin();
        let plan = match self.plan(request) {
            Ok(plan) => plan,
            Err(error) => {
                self.poisoned |= matches!(error, CommitError::Io(_));
                self.space.revert(&self.disk)?;
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
        if self.tail.blocks >= self.options.fold_blocks {
            match self.fold() {
                // The commit is durable whatever becomes of the fold: a full disk only puts it off, and a
                // failed one has poisoned the store, which the next call reports.
                Ok(()) | Err(CommitError::DiskFull { .. } | CommitError::Io(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(position)
    }

    /// Chooses the blocks of a commit. Nothing is written yet but what growth writes.
    fn plan(&mut self, request: &CommitRequest<'_>) -> Result<Plan, CommitError> {
        let mut body = RecordBody {
            roots: request.roots.clone(),
            operation: request.operation.clone(),
            ..RecordBody::default()
        };
        for (page, bytes) in &request.pages {
            match bytes {
                Some(bytes) if !is_zero(bytes) => body.pages.push((*page, page_checksum(bytes))),
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
        let mut runs: Vec<(u64, Vec<&[u8]>)> = vec![(self.log.next, vec![&plan.block.0])];
        let mut pages = request.pages.iter().filter_map(|(_, bytes)| bytes.filter(|bytes| !is_zero(bytes)));
        for (start, count) in &plan.body.runs {
            let pieces: Vec<&[u8]> = pages.by_ref().take(*count as usize).collect();
            match runs.last_mut() {
                Some((first, before)) if *first + before.len() as u64 == *start => before.extend(pieces),
                _ => runs.push((*start, pieces)),
            }
        }
        let padded = blocks_of(&plan.encoded);
        if plan.header.body_block != 0 {
            runs.push((plan.header.body_block, padded.iter().map(|block| &block.0[..]).collect()));
        }
        self.statistics.bytes_written +=
            runs.iter().map(|(_, pieces)| pieces.len() as u64 * BLOCK).sum::<u64>();
        let skip_sync = self.sabotaged(Sabotage::SkipCommitSync);
        if let ([(start, pieces)], false) = (runs.as_slice(), skip_sync) {
            return self.disk.write_durable_at(start * BLOCK, pieces);
        }
        for (start, pieces) in &runs {
            self.disk.write_at(start * BLOCK, pieces)?;
        }
        if skip_sync {
            return Ok(());
        }
        self.disk.sync()
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
        self.space.set(&self.disk, at, end - at, false)?;
        self.space.set(&self.disk, at, 1, true)?;
        self.space.set(&self.disk, header.next, header.segment_end - header.next, true)?;
        let mut overhead = vec![(at, 1)];
        if body_blocks > 0 {
            self.space.set(&self.disk, header.body_block, body_blocks, true)?;
            overhead.push((header.body_block, body_blocks));
        }
        let mut pages = Vec::with_capacity(body.pages.len() + body.zeroes.len());
        let mut numbers = body.pages.iter();
        for (start, count) in &body.runs {
            self.space.set(&self.disk, *start, u64::from(*count), true)?;
            for (offset, (page, checksum)) in (0..u64::from(*count)).zip(numbers.by_ref()) {
                let entry =
                    PageEntry { block: start + offset, birth: header.transaction, checksum: *checksum };
                pages.push((*page, Some(entry)));
            }
        }
        pages.extend(body.zeroes.iter().map(|page| (*page, None)));
        for (page, entry) in &pages {
            self.tail.overlay.insert(*page, *entry);
        }
        self.tail.blocks += 1 + body_blocks + body.pages.len() as u64;
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
        let Store { disk, options, space, statistics, .. } = self;
        Blocks { disk, options, space, statistics }
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
        let step = (self.space.total / 8).clamp(self.options.growth_blocks, 32 * self.options.growth_blocks);
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
