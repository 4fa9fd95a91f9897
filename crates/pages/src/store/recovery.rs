//! Opening: the newest intact meta, then the log behind it, record by record.
//!
//! A record counts if its header is intact, repeats the checksum of the one before, and its body is
//! intact. Its pages need checking only if it is the last: the one after it was written only once it
//! was durable. So opening reads headers, not pages. One sync makes durable what
//! a killed process had written and recovery has just relied on. The one thing that may be written is
//! ones, over the header of a record that was dropped, or where a failed sync had something taken back.
//!
//! A record that is broken although a later one is intact is not a crash's doing: it is reported as
//! damage, never taken for the end of the log. A later one is looked for in the rest of the segment, and,
//! where the log leaves it, where the header's second copy in the segment's last block says. An intact record
//! that speaks of blocks behind the file's end is no end either: the file was cut.

use super::codec::{checksum, page_checksum};
use super::error::{Damage, OpenError, ReadError};
use super::fold::{SnapshotTable, decode_runs, read_blob};
use super::format::{
    BlobPointer, FORMAT_VERSION, META_SLOTS, Meta, MetaFault, Position, RecordBody, RecordHeader,
};
use super::free_space::FreeSpace;
use super::witness::read_witnesses;
use super::{BLOCK, LogPosition, Mutation, Store, StoreOptions, TAKEN_BACK};
use crate::disk::{Block, Disk};

/// What opening found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecoveryReport {
    /// Log records replayed.
    pub records: u64,
    /// A record that a crash left unfinished, or that rotted as the last one: not counted.
    pub dropped: Option<Damage>,
    /// A meta slot that is not intact. A crash during a fold leaves one; it costs nothing.
    pub broken_slot: Option<Damage>,
    /// The second header of the last record, if it is not the same as the first: a crash between the two
    /// leaves it so. The record counts, and opening to write has written it again.
    pub broken_repeat: Option<Damage>,
    /// A witness of the last commit that is not intact. It costs nothing while the other one is; opening to
    /// write has written it again.
    pub broken_witness: Option<Damage>,
}

/// Whether a writer may have the file open meanwhile, so that what is missing may be there at the next look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Motion {
    Still,
    Moving,
}

/// Whether damage is looked for where the log ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogEnd {
    /// It is: that costs a read of the segment's rest.
    Checked,
    /// The first record that is not intact is taken for it: for a reader to whom the newest commits are
    /// nothing.
    Taken,
}

enum Found {
    Record(Box<RecordHeader>, u64, RecordBody),
    /// The header is intact, the body is not.
    BrokenBody(Box<RecordHeader>, u64),
    Nothing,
}

impl<D: Disk> Store<D> {
    /// Opens a store and brings it to its last durable commit.
    ///
    /// # Errors
    /// Everything that makes the file not a sound arena, see [`OpenError`]. Nothing is changed then.
    pub fn open(disk: D, options: StoreOptions) -> Result<(Self, RecoveryReport), OpenError> {
        let mut opened = Self::open_read_only(disk, options)?;
        if !opened.0.is_mutated(Mutation::SkipOpenSync) {
            opened.0.committed.disk.sync()?;
        }
        opened.0.erase_dropped()?;
        opened.0.erase_taken_back()?;
        opened.0.write_repeat(&opened.1)?;
        opened.0.mend_witnesses()?;
        Ok(opened)
    }

    /// Writes the second header of the last record, if its writer ended between the two. Without it, damage
    /// to the first would be the end of the log, once that goes on in another segment.
    fn write_repeat(&self, report: &RecoveryReport) -> Result<(), OpenError> {
        let (Some(repeat), Some(record)) = (&report.broken_repeat, self.tail.records.last()) else {
            return Ok(());
        };
        let mut block = Block::ZERO;
        self.committed.disk.read_at(record.overhead[0].0 * BLOCK, &mut block.0)?;
        self.committed.disk.write_durable_at(repeat.offset, &[&block.0])?;
        Ok(())
    }

    /// The second header of the last record, if it should be there and is not.
    fn missing_repeat(&self) -> Result<Option<Damage>, OpenError> {
        let Some(record) = self.tail.records.last() else { return Ok(None) };
        let (mut first, mut second) = (Block::ZERO, Block::ZERO);
        self.committed.disk.read_at(record.overhead[0].0 * BLOCK, &mut first.0)?;
        let repeat = RecordHeader::decode(&first, true).map_or(0, |(header, ..)| header.repeat);
        if repeat == 0 {
            return Ok(None);
        }
        self.committed.disk.read_at(repeat * BLOCK, &mut second.0)?;
        let what = "second header of a log record".to_owned();
        let damage = Damage { offset: repeat * BLOCK, length: BLOCK, what };
        Ok((first.0 != second.0).then_some(damage))
    }

    /// Erases the header of a record that was dropped. Without this its missing sectors could be supplied
    /// by the next record, which is written over it: a crash in that commit would then bring back a
    /// commit that the program was told had not happened.
    fn erase_dropped(&self) -> Result<(), OpenError> {
        if self.log.next >= self.space.total || self.is_mutated(Mutation::KeepDropped) {
            return Ok(());
        }
        let mut block = Block::ZERO;
        self.committed.disk.read_at(self.log.next * BLOCK, &mut block.0)?;
        let Some((header, ..)) = RecordHeader::decode(&block, false) else { return Ok(()) };
        if header.uuid == self.meta.identity.uuid && header.transaction > self.position.transaction {
            self.committed.disk.write_durable_at(self.log.next * BLOCK, &[&TAKEN_BACK.0])?;
        }
        Ok(())
    }

    /// A header or a meta that was taken back after a failed sync is so in the cache alone: the disk may
    /// have it whole, and a power cut would bring it back after others were built on what was before it.
    fn erase_taken_back(&self) -> Result<(), OpenError> {
        if self.is_mutated(Mutation::TrustTakenBack) {
            return Ok(());
        }
        let disk = &self.committed.disk;
        for at in (0..META_SLOTS).chain([self.log.next]).filter(|at| *at < self.space.total) {
            let mut block = Block::ZERO;
            disk.read_at(at * BLOCK, &mut block.0)?;
            if block.0 == TAKEN_BACK.0 {
                disk.write_durable_at(at * BLOCK, &[&block.0])?;
            }
        }
        Ok(())
    }

    /// As [`Store::open`] on a disk that is only read: commits on it fail.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub fn open_read_only(disk: D, options: StoreOptions) -> Result<(Self, RecoveryReport), OpenError> {
        Self::open_as(disk, options, Motion::Still, LogEnd::Checked)
    }

    /// As [`Store::open_read_only`], of a file that is being written: see `concurrent`.
    pub(super) fn open_moving(
        disk: D,
        options: StoreOptions,
        end: LogEnd,
    ) -> Result<(Self, RecoveryReport), OpenError> {
        Self::open_as(disk, options, Motion::Moving, end)
    }

    fn open_as(
        disk: D,
        options: StoreOptions,
        motion: Motion,
        end: LogEnd,
    ) -> Result<(Self, RecoveryReport), OpenError> {
        let mut report = RecoveryReport::default();
        let (meta, slot_versions) = newest_meta(&disk, disk.length()?, options, &mut report)?;
        // After the meta: a file in motion may have grown before it was written.
        let length = disk.length()?;
        let ignore_length = cfg!(test) && options.mutation == Mutation::IgnoreLength;
        let expected = meta.total_blocks.saturating_mul(BLOCK);
        if length < expected && !ignore_length {
            return Err(OpenError::Truncated { found: length, expected });
        }
        let total = if ignore_length { u64::MAX >> 16 } else { length / BLOCK };
        let damaged = |pointer: BlobPointer, what: &str| {
            let (offset, length) = pointer.range();
            OpenError::Damaged(Damage { offset, length, what: what.to_owned() })
        };
        let slot = meta.generation % 2;
        if !meta.is_sane(length / BLOCK) && !ignore_length {
            let what = "meta slot".to_owned();
            return Err(OpenError::Damaged(Damage { offset: slot * BLOCK, length: BLOCK, what }));
        }
        let index = read_blob(&disk, meta.space_index, "index of the space map")?;
        let file_total = length / BLOCK;
        // Before the log: its writer may go on.
        let witnessed = read_witnesses(&disk, &meta, &mut report)?;
        let space = FreeSpace::decode_index(&index, file_total)
            .ok_or_else(|| damaged(meta.space_index, "index of the space map"))?;
        let pending_free = decode_runs(&read_blob(&disk, meta.pending_free, "list of freed blocks")?)
            .filter(|runs| {
                runs.iter().all(|(at, count)| at.checked_add(*count).is_some_and(|end| end <= file_total))
            })
            .ok_or_else(|| damaged(meta.pending_free, "list of freed blocks"))?;
        let table = read_blob(&disk, meta.snapshots, "snapshot table")?;
        let table = if meta.snapshots.block == 0 {
            SnapshotTable::default()
        } else {
            SnapshotTable::decode(&table)
                .filter(|table| table.snapshots.iter().all(|snapshot| snapshot.tree.block < file_total))
                .ok_or_else(|| damaged(meta.snapshots, "snapshot table"))?
        };
        let mut store = Self::assemble(disk, options, meta, space, pending_free, table);
        store.slot_versions = slot_versions;
        if store.meta.space_index.block == 0 {
            // Never folded.
            store.mark_first_blocks()?;
        }
        if !store.is_mutated(Mutation::ForgetLogTail) {
            store.replay(total, motion, end, &mut report)?;
            store.check_witnessed(witnessed, end, &report)?;
        }
        if motion == Motion::Still {
            report.broken_repeat = store.missing_repeat()?;
        }
        Ok((store, report))
    }

    /// The log must go as far as the witnesses say: what is missing was acknowledged. Without any of them,
    /// and with nothing in the log, all that came behind the slots may be gone. A crash does not leave it so:
    /// a witness is written after a record, and synced by the fold that takes it in.
    fn check_witnessed(
        &self,
        witnessed: Option<u64>,
        end: LogEnd,
        report: &RecoveryReport,
    ) -> Result<(), OpenError> {
        let is_enough = match witnessed {
            Some(witnessed) => self.position.transaction >= witnessed,
            None => report.records > 0,
        };
        if end == LogEnd::Taken || is_enough || self.is_mutated(Mutation::SkipWitness) {
            return Ok(());
        }
        let broken = if witnessed.is_none() { &report.broken_witness } else { &report.dropped };
        let damage = broken.clone().unwrap_or_else(|| self.record_damage("log record"));
        Err(OpenError::Damaged(damage))
    }

    fn replay(
        &mut self,
        total: u64,
        motion: Motion,
        end: LogEnd,
        report: &mut RecoveryReport,
    ) -> Result<(), OpenError> {
        let mut found = self.record_at(self.log, self.position.transaction + 1, total)?;
        loop {
            let (header, sum, body) = match found {
                Found::Record(header, sum, body) => (header, sum, body),
                Found::BrokenBody(header, sum) => {
                    let follower = self.record_at(follow(&header, sum), header.transaction + 1, total)?;
                    let damage = self.record_damage("body of a log record");
                    if matches!(follower, Found::Nothing) {
                        self.check_last(&header, end, total)?;
                        report.dropped = Some(damage);
                        return Ok(());
                    }
                    return Err(OpenError::Damaged(damage));
                }
                Found::Nothing if end == LogEnd::Taken => return Ok(()),
                Found::Nothing => match self.check_end(total, report) {
                    Err(error @ OpenError::Damaged(_)) if motion == Motion::Moving => {
                        // It may have been written while the rest was looked at. Then the log goes on, but
                        // what was read is as new as this look: its writer is not run after.
                        let again = self.record_at(self.log, self.position.transaction + 1, total)?;
                        return if matches!(again, Found::Nothing) { Err(error) } else { Ok(()) };
                    }
                    checked => return checked,
                },
            };
            let after = self.record_at(follow(&header, sum), header.transaction + 1, total)?;
            if matches!(after, Found::Nothing)
                && let Some(damage) = self.broken_page(&body)?
            {
                self.check_last(&header, end, total)?;
                report.dropped = Some(damage);
                return Ok(());
            }
            let position = Position {
                transaction: header.transaction,
                epoch: header.epoch,
                event: header.event,
                roots: body.roots.clone(),
            };
            self.accept(position, &header, sum, body)?;
            report.records += 1;
            // Each record has its own header block, so this many cannot be.
            if report.records > self.space.total {
                return Err(OpenError::Damaged(self.record_damage("log record")));
            }
            found = after;
        }
    }

    /// The record that the log expects at a place, if one is there.
    fn record_at(&self, log: LogPosition, transaction: u64, total: u64) -> Result<Found, OpenError> {
        if log.next >= total {
            return Ok(Found::Nothing);
        }
        let mut block = Block::ZERO;
        self.committed.disk.read_on_at(log.next * BLOCK, &mut block.0)?;
        let check = !self.is_mutated(Mutation::SkipHeaderChecksum);
        let is_next = |(header, ..): &(RecordHeader, u64, Option<&[u8]>)| header.transaction == transaction;
        if RecordHeader::decode(&block, check).as_ref().is_none_or(|found| !is_next(found)) {
            // What was fetched ahead may be older than the record: its writer goes on.
            self.committed.disk.read_at(log.next * BLOCK, &mut block.0)?;
        }
        let Some((header, sum, inline)) = RecordHeader::decode(&block, check) else {
            return Ok(Found::Nothing);
        };
        let chained = header.transaction == transaction && header.chain == log.chain;
        let last = log.segment_end.saturating_sub(1);
        let in_place = header.repeat == 0 || (log.next < last && header.repeat == last);
        let sane = header.next < header.segment_end && header.next >= 2 && in_place;
        if header.uuid != self.meta.identity.uuid
            || !(chained || self.is_mutated(Mutation::SkipChainCheck))
            || !sane
        {
            return Ok(Found::Nothing);
        }
        self.check_reach(header.segment_end, total)?;
        let body = match inline {
            Some(bytes) => RecordBody::decode(bytes),
            None => {
                let pointer = BlobPointer {
                    block: header.body_block,
                    bytes: header.body_bytes,
                    checksum: header.body_checksum,
                };
                self.check_reach(pointer.block.saturating_add(pointer.blocks()), total)?;
                match read_blob(&self.committed.disk, pointer, "log record") {
                    Ok(bytes) => RecordBody::decode(&bytes),
                    Err(ReadError::Io(error)) => return Err(error.into()),
                    Err(_) => None,
                }
            }
        };
        let Some(body) = body.filter(|body| body.runs.iter().all(|(start, _)| *start >= 2)) else {
            return Ok(Found::BrokenBody(Box::new(header), sum));
        };
        for (start, count) in &body.runs {
            self.check_reach(start.saturating_add(u64::from(*count)), total)?;
        }
        Ok(Found::Record(Box::new(header), sum, body))
    }

    /// An intact record speaks of blocks up to here: a file grows durably before it is spoken of, so one that
    /// is shorter was cut.
    fn check_reach(&self, end: u64, total: u64) -> Result<(), OpenError> {
        if end <= total || self.is_mutated(Mutation::TakeCutForEnd) {
            return Ok(());
        }
        Err(OpenError::Truncated { found: total * BLOCK, expected: end.saturating_mul(BLOCK) })
    }

    /// The first page of a record that does not match its checksum.
    fn broken_page(&self, body: &RecordBody) -> Result<Option<Damage>, OpenError> {
        if self.is_mutated(Mutation::SkipPageChecksum) {
            return Ok(None);
        }
        let mut numbers = body.pages.iter();
        let mut block = Block::ZERO;
        for (start, count) in &body.runs {
            for (at, (page, sum)) in (*start..*start + u64::from(*count)).zip(numbers.by_ref()) {
                self.committed.disk.read_at(at * BLOCK, &mut block.0)?;
                if page_checksum(&block.0) != *sum {
                    let what = format!("page {page} of the last log record");
                    return Ok(Some(Damage { offset: at * BLOCK, length: BLOCK, what }));
                }
            }
        }
        Ok(None)
    }

    fn record_damage(&self, what: &str) -> Damage {
        Damage { offset: self.log.next * BLOCK, length: BLOCK, what: what.to_owned() }
    }

    /// A record that is to be dropped is the last: unless later ones than its follower are there.
    fn check_last(&self, header: &RecordHeader, end: LogEnd, total: u64) -> Result<(), OpenError> {
        match end {
            LogEnd::Checked => {
                self.scan_for_later(header.next, header.segment_end, header.transaction + 1, total)
            }
            LogEnd::Taken => Ok(()),
        }
    }

    /// The log ends where the next header is missing: unless later ones are there.
    fn check_end(&self, total: u64, report: &mut RecoveryReport) -> Result<(), OpenError> {
        let LogPosition { next, segment_end, chain } = self.log;
        let transaction = self.position.transaction + 1;
        self.scan_for_later(next + 1, segment_end, transaction, total)?;
        if let Some(header) = self.repeated(total)? {
            self.scan_for_later(header.next, header.segment_end, transaction, total)?;
            report.dropped = Some(self.record_damage("log record"));
        }
        if next < total {
            let mut block = Block::ZERO;
            self.committed.disk.read_at(next * BLOCK, &mut block.0)?;
            if RecordHeader::is_trace(&block, &self.meta.identity.uuid, transaction, chain) {
                report.dropped = Some(self.record_damage("log record"));
            }
        }
        Ok(())
    }

    /// The header that is missing at the log's end, from the last block of its segment, if there it is.
    fn repeated(&self, total: u64) -> Result<Option<RecordHeader>, OpenError> {
        let LogPosition { next, segment_end, chain } = self.log;
        let at = segment_end.saturating_sub(1);
        if at <= next || at >= total || self.is_mutated(Mutation::SkipRepeat) {
            return Ok(None);
        }
        let mut block = Block::ZERO;
        self.committed.disk.read_at(at * BLOCK, &mut block.0)?;
        let found = RecordHeader::decode(&block, true).map(|(header, ..)| header);
        Ok(found.filter(|header| {
            header.uuid == self.meta.identity.uuid
                && header.transaction == self.position.transaction + 1
                && header.chain == chain
                && header.repeat == at
        }))
    }

    /// Looks in a log segment for intact headers of commits after `transaction`.
    fn scan_for_later(&self, from: u64, to: u64, transaction: u64, total: u64) -> Result<(), OpenError> {
        const STRIDE: u64 = 1024;
        let end = to.min(total);
        let mut at = from;
        let mut blocks = Block::zeroed(STRIDE.min(end.saturating_sub(from)) as usize);
        while at < end {
            let count = STRIDE.min(end - at);
            let part = &mut blocks[..count as usize];
            self.committed.disk.read_at(at * BLOCK, zerocopy::IntoBytes::as_mut_bytes(part))?;
            for block in part.iter() {
                if let Some((header, ..)) = RecordHeader::decode(block, true)
                    && header.uuid == self.meta.identity.uuid
                    && header.transaction > transaction
                {
                    return Err(OpenError::Damaged(self.record_damage("log record")));
                }
            }
            at += count;
        }
        Ok(())
    }
}

fn follow(header: &RecordHeader, sum: u64) -> LogPosition {
    LogPosition { next: header.next, segment_end: header.segment_end, chain: sum }
}

/// The generation of the newest meta that is intact.
pub(super) fn newest_generation<D: Disk>(disk: &D) -> Option<u64> {
    let mut report = RecoveryReport::default();
    let meta = newest_meta(disk, disk.length().ok()?, StoreOptions::default(), &mut report);
    meta.ok().map(|(meta, _)| meta.generation)
}

/// The newest of the two slots that is intact, and the versions of both: a broken one is read by no build.
fn newest_meta<D: Disk>(
    disk: &D,
    length: u64,
    options: StoreOptions,
    report: &mut RecoveryReport,
) -> Result<(Meta, [u32; 2]), OpenError> {
    let check = !(cfg!(test) && options.mutation == Mutation::SkipMetaChecksum);
    let mut best: Option<Meta> = None;
    let mut faults = Vec::new();
    let mut versions = [FORMAT_VERSION; 2];
    for slot in 0..2_u64 {
        let mut block = Block::ZERO;
        if (slot + 1) * BLOCK > length {
            faults.push((slot, MetaFault::NotAnArena));
            continue;
        }
        disk.read_at(slot * BLOCK, &mut block.0)?;
        let decoded = Meta::decode(&block, check);
        if let Ok(meta) = &decoded {
            versions[slot as usize] = meta.version;
        }
        match decoded {
            Ok(meta) if best.as_ref().is_none_or(|other| other.generation < meta.generation) => {
                best = Some(meta);
            }
            Ok(_) => {}
            Err(fault) => faults.push((slot, fault)),
        }
    }
    let damage = |slot: u64| Damage { offset: slot * BLOCK, length: BLOCK, what: "meta slot".to_owned() };
    if let Some(meta) = best {
        report.broken_slot = faults.first().map(|(slot, _)| damage(*slot));
        return Ok((meta, versions));
    }
    for (_, fault) in &faults {
        match fault {
            MetaFault::Version(found) => return Err(OpenError::UnsupportedVersion { found: *found }),
            MetaFault::PageSize(found) => return Err(OpenError::PageSize { found: *found }),
            _ => {}
        }
    }
    if faults.iter().all(|(_, fault)| *fault == MetaFault::NotAnArena) {
        return Err(OpenError::NotAnArena);
    }
    Err(OpenError::Damaged(damage(faults[0].0)))
}

impl<D: Disk> Store<D> {
    /// Whether a sum matches; kept beside the other checks so that `verify` and recovery agree.
    pub(crate) fn blob_is_intact(&self, pointer: BlobPointer) -> bool {
        pointer.block == 0
            || read_blob(&self.committed.disk, pointer, "")
                .is_ok_and(|bytes| checksum(&bytes) == pointer.checksum)
    }
}
