//! The witnesses: two blocks, far from each other and from the log, which say how far the log goes.
//!
//! A log's end cannot be told from a log whose end was damaged: the newest record has none behind it, and
//! where one wound takes the last headers of a segment with their copies, nothing in the log leads on. So
//! after each commit both witnesses get its number. They cost no sync: they go through the page cache
//! ([`Disk::note_at`]), which outlives the process, and reach the disk with the next sync of the whole file,
//! or when the kernel writes them. So what they say is never ahead of the log, and where it is more than what
//! the log shows, acknowledged commits are damaged.
//!
//! Behind after a power cut, they then vouch for what is older. The change to another segment of the log,
//! where most would be lost, syncs them.

use super::error::{Damage, OpenError};
use super::format::{FIRST_WITNESSES, META_SLOTS, Meta, WITNESSED_VERSION, decode_witness, make_witness};
use super::free_space::BlockUse;
use super::recovery::RecoveryReport;
use super::{BLOCK, Mutation, Store};
use crate::disk::{Block, Disk};
use crate::store::{CommitError, ReadError};

/// Blocks between the two at least, so that no wound of fewer takes both.
pub(super) const WITNESS_DISTANCE: u64 = FIRST_WITNESSES[1] - FIRST_WITNESSES[0];

/// What the witnesses that a meta names say of the last commit; `None` if it names some and all are broken. A
/// broken one is reported.
pub(super) fn read_witnesses<D: Disk>(
    disk: &D,
    meta: &Meta,
    report: &mut RecoveryReport,
) -> Result<Option<u64>, OpenError> {
    if meta.witnesses == [0; 2] {
        return Ok(Some(0));
    }
    let mut newest = None;
    let mut block = Block::zeroed(1);
    for at in meta.witnesses.into_iter().filter(|at| *at != 0) {
        disk.read_at(at * BLOCK, &mut block[0].0)?;
        match decode_witness(&block[0], &meta.identity.uuid) {
            Some(transaction) => newest = newest.max(Some(transaction)),
            None => report.broken_witness = Some(witness_damage(at)),
        }
    }
    Ok(newest)
}

pub(super) fn witness_damage(block: u64) -> Damage {
    Damage { offset: block * BLOCK, length: BLOCK, what: "witness of the last commit".to_owned() }
}

impl<D: Disk> Store<D> {
    /// Whether builds before this version of the format would refuse the file.
    pub(super) fn slots_know(&self, version: u32) -> bool {
        self.slot_versions.iter().all(|slot| *slot >= version)
    }

    /// Has the witnesses say what the last commit is. It is durable; if they cannot be written they lag, and
    /// vouch for less.
    pub(super) fn note_position(&mut self) {
        if self.meta.witnesses == [0; 2] || self.is_mutated(Mutation::SkipWitness) {
            return;
        }
        make_witness(&mut self.witness[0], &self.meta.identity.uuid, self.position.transaction);
        for at in self.meta.witnesses.into_iter().filter(|at| *at != 0) {
            let _lagging = self.committed.disk.note_at(at * BLOCK, &self.witness[0]);
        }
    }

    /// Has witnesses that lag or are broken say what the last commit is. One after the other, so that a crash
    /// breaks one at most.
    pub(super) fn mend_witnesses(&mut self) -> Result<(), OpenError> {
        make_witness(&mut self.witness[0], &self.meta.identity.uuid, self.position.transaction);
        let right = &self.witness[0];
        let mut found = Block::zeroed(1);
        for at in self.meta.witnesses.into_iter().filter(|at| *at != 0) {
            self.committed.disk.read_at(at * BLOCK, &mut found[0].0)?;
            if found[0].0 != right.0 {
                self.committed.disk.write_durable_at(at * BLOCK, &[&right.0])?;
            }
        }
        Ok(())
    }

    /// Finds places for the witnesses that a new meta is to name, as far as there are some: those that are
    /// there, and new ones instead of those behind `limit`. None while an old build would still take the
    /// file, and write over them. The new ones are written with the meta's other blocks.
    pub(super) fn place_witnesses(
        &mut self,
        limit: u64,
        released: &mut Vec<(u64, u64)>,
        written: &mut Vec<(u64, Block)>,
    ) -> Result<[u64; 2], CommitError> {
        let mut witnesses = self.meta.witnesses;
        if !self.slots_know(WITNESSED_VERSION) {
            return Ok(witnesses);
        }
        for number in 0..2 {
            let (at, other) = (witnesses[number], witnesses[1 - number]);
            if at != 0 && at < limit {
                continue;
            }
            let Some(to) = self.place_far_from(other, limit)? else { continue };
            if at != 0 {
                released.push((at, 1));
            }
            witnesses[number] = to;
            make_witness(&mut self.witness[0], &self.meta.identity.uuid, self.position.transaction);
            written.push((to, self.witness[0].clone()));
        }
        Ok(witnesses)
    }

    fn place_far_from(&mut self, other: u64, limit: u64) -> Result<Option<u64>, ReadError> {
        let disk = &self.committed.disk;
        let (before, behind) = (other.saturating_sub(WITNESS_DISTANCE - 1), other + WITNESS_DISTANCE);
        if other != 0
            && let Some(at) = self.space.take_first(disk, 0, before.min(limit))?
        {
            return Ok(Some(at));
        }
        self.space.take_first(disk, if other == 0 { 0 } else { behind }, limit)
    }

    /// Marks the blocks of an arena that was never folded: the slots, the witnesses, the first segment.
    pub(super) fn mark_first_blocks(&mut self) -> Result<(), ReadError> {
        let disk = &self.committed.disk;
        let log = self.meta.log;
        self.space.set(disk, 0, META_SLOTS, BlockUse::Used)?;
        self.space.set(disk, log.next, log.segment_end - log.next, BlockUse::Used)?;
        for at in self.meta.witnesses.into_iter().filter(|at| *at != 0) {
            self.space.set(disk, at, 1, BlockUse::Used)?;
        }
        Ok(())
    }
}
