//! A commit: its blocks are planned, record and pages are written and synced once, and what is durable is
//! taken into the state. The replay takes records in by the same function ([`Store::accept`]).
//!
//! Not for folding: `fold`.

use zerocopy::IntoBytes;

use super::codec::{checksum, page_checksum};
use super::error::{CommitError, ReadError};
use super::format::{
    LogPosition, Position, REPEATING_VERSION, RecordBody, RecordHeader, Roots, SNAPSHOT_NAME_MAX,
    SnapshotOperation, roots_fit,
};
use super::free_space::BlockUse;
use super::tree::PageEntry;
use super::{BLOCK, Mutation, Store, TAKEN_BACK, TailRecord, blocks_in, blocks_of, is_zero};
use crate::disk::{Block, Disk};

/// Commits of this many pages are gathered in one buffer: the disk takes a long piece faster than many short
/// ones, and a page that was just hashed costs little to copy. Larger ones are written from where they are.
const GATHERED: std::ops::RangeInclusive<usize> = 8..=4096;

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

struct Plan {
    header: RecordHeader,
    block: Block,
    sum: u64,
    body: RecordBody,
    encoded: Vec<u8>,
}

/// Covers a header or a meta whose write or sync has failed: what is cached of it need not be on the disk,
/// though the next open would read it, and commits would build on it. [`Store::open`] makes this durable.
/// If it fails as well, the disk is read as it is.
pub(super) fn take_back(disk: &impl Disk, block: u64) {
    let _as_it_is = disk.write_at(block * BLOCK, &[&TAKEN_BACK.0]);
}

impl<D: Disk> Store<D> {
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
            SnapshotOperation::Drop(name) if self.holds.are_on(name) => {
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
                // The commit is durable however the fold ends: a full disk only puts it off, and a
                // failed one has poisoned the store, which the next call reports.
                Ok(()) | Err(CommitError::DiskFull { .. } | CommitError::Io(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(position)
    }

    /// As [`Store::commit`], without the fold: for folding in another thread, see [`Store::begin_fold`].
    ///
    /// # Errors
    /// As [`Store::commit`].
    pub fn commit_record(&mut self, request: &CommitRequest<'_>) -> Result<Position, CommitError> {
        self.check_request(request)?;
        let dropped = match &request.operation {
            SnapshotOperation::Drop(name) => self.claim(name)?,
            _ => None,
        };
        let mut committed = self.write_commit(request);
        if matches!(committed, Err(CommitError::DiskFull { .. })) && self.make_room()? {
            committed = self.write_commit(request);
        }
        if let Some(transaction) = dropped {
            self.committed.disk.release_snapshot(transaction);
        }
        committed
    }

    /// Keeps readers in other processes off a snapshot that is to be dropped; gives its commit's number.
    pub(super) fn claim(&self, name: &str) -> Result<Option<u64>, CommitError> {
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
            if !self.is_mutated(Mutation::KeepFailed) {
                take_back(&self.committed.disk, self.log.next);
            }
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
        if let Err(error) = self.accept(position.clone(), &plan.header, plan.sum, plan.body) {
            // It is durable, but not in the state: the next commit would be written over it.
            self.poisoned = true;
            return Err(error.into());
        }
        self.note_position();
        Ok(position)
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
        let reserve = self.fold_reserve(request);
        let segment = self.options.segment_blocks;
        let LogPosition { next: at, segment_end: end, chain } = self.log;
        // The last block of a segment is for the header behind which the log leaves it.
        let repeats = self.slots_know(REPEATING_VERSION) && !self.is_mutated(Mutation::SkipRepeat);
        let kept = u64::from(repeats);
        let limit = end - kept;
        let (mut next, mut segment_end) = (at + 1, end);
        // One run fits the header block up to some hundred pages: the usual commit is one write.
        let inline = RecordHeader::body_fits_inline(body.encode().len() + 12);
        if pages == 0 {
        } else if inline && at + pages < limit {
            body.runs.push((at + 1, pages as u32));
            next = at + 1 + pages;
        } else if inline && pages <= self.options.segment_blocks / 2 {
            let (start, length) = self.blocks_above(reserve).run(segment, pages)?;
            if length >= pages {
                body.runs.push((start, pages as u32));
                (next, segment_end) = (start + pages, start + length);
            }
        }
        if body.runs.is_empty() {
            let mut left = pages;
            while left > 0 {
                let (start, length) = self.blocks_above(reserve).run(left, 1)?;
                body.runs.push((start, length as u32));
                left -= length;
            }
        }
        let encoded = body.encode();
        let mut body_block = 0;
        if !RecordHeader::body_fits_inline(encoded.len()) {
            let blocks = (encoded.len() as u64).div_ceil(BLOCK);
            body_block = self.blocks_above(reserve).whole(blocks)?;
        }
        if next + kept >= segment_end {
            let (unused, count) = (next, segment_end - next);
            let (start, length) = self.blocks_above(reserve).run(segment, 1 + kept)?;
            if segment_end != end {
                self.space.set(&self.committed.disk, unused, count, BlockUse::Free)?;
            }
            (next, segment_end) = (start, start + length);
        }
        let repeat = if repeats && segment_end != end && at < limit { limit } else { 0 };
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
            repeat,
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
        if plan.header.repeat != 0 {
            runs.push((plan.header.repeat, vec![&plan.block.0]));
        }
        self.statistics.bytes_written +=
            runs.iter().flat_map(|(_, pieces)| pieces).map(|piece| piece.len() as u64).sum::<u64>();
        let skip_sync = self.is_mutated(Mutation::SkipCommitSync);
        // The first record of a segment has the witnesses synced, which have just heard of the last record of
        // the segment before.
        if let ([(start, pieces)], false, false) = (runs.as_slice(), skip_sync, self.segment_is_new) {
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
    pub(super) fn accept(
        &mut self,
        position: Position,
        header: &RecordHeader,
        sum: u64,
        body: RecordBody,
    ) -> Result<(), ReadError> {
        let LogPosition { next: at, segment_end: end, .. } = self.log;
        let body_blocks = if header.body_block == 0 { 0 } else { header.body_bytes.div_ceil(BLOCK) };
        // What was reserved and stays unused is free again; then everything the record names is in use.
        self.space.set(&self.committed.disk, at, end - at, BlockUse::Free)?;
        self.space.set(&self.committed.disk, at, 1, BlockUse::Used)?;
        self.space.set(
            &self.committed.disk,
            header.next,
            header.segment_end - header.next,
            BlockUse::Used,
        )?;
        let mut overhead = vec![(at, 1)];
        if header.repeat != 0 {
            self.space.set(&self.committed.disk, header.repeat, 1, BlockUse::Used)?;
            overhead.push((header.repeat, 1));
        }
        if body_blocks > 0 {
            self.space.set(&self.committed.disk, header.body_block, body_blocks, BlockUse::Used)?;
            overhead.push((header.body_block, body_blocks));
        }
        let mut pages = Vec::with_capacity(body.pages.len() + body.zeroes.len());
        let mut numbers = body.pages.iter();
        for (start, count) in &body.runs {
            self.space.set(&self.committed.disk, *start, u64::from(*count), BlockUse::Used)?;
            for (offset, (page, checksum)) in (0..u64::from(*count)).zip(numbers.by_ref()) {
                let entry =
                    PageEntry { block: start + offset, birth: header.transaction, checksum: *checksum };
                pages.push((*page, Some(entry)));
            }
        }
        pages.extend(body.zeroes.iter().map(|page| (*page, None)));
        self.committed.view().overlay.extend(pages.iter().copied());
        self.tail.blocks += blocks_in(&overhead) + body.pages.len() as u64;
        match &body.operation {
            SnapshotOperation::None => {}
            SnapshotOperation::Retain(name) => {
                self.retained.insert(name.clone(), header.transaction);
            }
            SnapshotOperation::Drop(name) => {
                self.retained.remove(name);
            }
        }
        self.tail.push(TailRecord { position: position.clone(), operation: body.operation, overhead, pages });
        self.position = position;
        self.segment_is_new = header.segment_end != end;
        self.log = LogPosition { next: header.next, segment_end: header.segment_end, chain: sum };
        Ok(())
    }
}
