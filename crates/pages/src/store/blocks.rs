//! Blocks for commits and folds: from the free space, or from a file that grows.

use super::error::CommitError;
use super::free_space::FreeSpace;
use super::{BLOCK, Store, StoreOptions, StoreStatistics};
use crate::disk::{Disk, Room};

impl<D: Disk> Store<D> {
    pub(super) fn blocks(&mut self) -> Blocks<'_, D> {
        self.blocks_above(0)
    }

    /// Blocks of which so many stay free.
    pub(super) fn blocks_above(&mut self, reserve: u64) -> Blocks<'_, D> {
        let Store { committed, options, space, statistics, .. } = self;
        Blocks { disk: &committed.disk, options, space, statistics, reserve }
    }
}

/// The parts of a store that hand out blocks, borrowed apart from the rest.
pub(super) struct Blocks<'a, D: Disk> {
    disk: &'a D,
    options: &'a StoreOptions,
    space: &'a mut FreeSpace,
    statistics: &'a mut StoreStatistics,
    reserve: u64,
}

impl<D: Disk> Blocks<'_, D> {
    /// A run of `want` blocks, or of at least `minimum`; grows the file rather than scatter a commit,
    /// while a good part of the file is in use.
    pub(super) fn run(&mut self, want: u64, minimum: u64) -> Result<(u64, u64), CommitError> {
        // A file that is half empty is used up in smaller pieces before it grows again.
        let roomy = self.space.free() > self.space.total / 2 && self.space.free() > 4 * want;
        let acceptable = if roomy { minimum } else { minimum.max(want.min(self.options.segment_blocks) / 4) };
        if let Some(run) = self.find(want, acceptable)? {
            return Ok(run);
        }
        match self.grow(want) {
            Ok(()) => {}
            Err(error @ CommitError::Io(_)) => return Err(error),
            Err(error) => return self.find(want, minimum)?.ok_or(error),
        }
        let found = self.find(want, minimum)?;
        found.ok_or_else(|| CommitError::DiskFull {
            needed: want * BLOCK,
            source: std::io::ErrorKind::StorageFull.into(),
        })
    }

    /// A run of exactly `count` blocks.
    pub(super) fn whole(&mut self, count: u64) -> Result<u64, CommitError> {
        if let Some((start, _)) = self.find(count, count)? {
            return Ok(start);
        }
        self.grow(count)?;
        // A run lies inside one group of the map: the growth may have straddled the boundary of two.
        for _ in 0..2 {
            if let Some((start, _)) = self.find(count, count)? {
                return Ok(start);
            }
            self.grow(count)?;
        }
        let source = std::io::ErrorKind::StorageFull.into();
        Err(CommitError::DiskFull { needed: count * BLOCK, source })
    }

    /// A run of the free space that leaves the reserve alone.
    fn find(&mut self, want: u64, minimum: u64) -> Result<Option<(u64, u64)>, CommitError> {
        let spare = self.space.free().saturating_sub(self.reserve);
        if spare < minimum {
            return Ok(None);
        }
        Ok(self.space.allocate(self.disk, want.min(spare), minimum)?)
    }

    fn grow(&mut self, want: u64) -> Result<(), CommitError> {
        let step = (self.space.total / 8).clamp(self.options.growth_blocks, 8 * self.options.growth_blocks);
        // Small steps are written with zeroes, so that the commits into them need no journal commit;
        // for a huge commit that would be the second write that the design avoids.
        let least = want + self.reserve.saturating_sub(self.space.free());
        let room = if least <= step { Room::Written } else { Room::Reserved };
        for blocks in [least.max(step), least] {
            let total = self.space.total + blocks;
            match self.disk.grow(total * BLOCK, room) {
                Ok(()) => {
                    // The length is durable before anything is written behind the old end: a second guard,
                    // beside the erased header, against a record that a short file hides and a growth brings
                    // back.
                    self.disk.sync().map_err(CommitError::Io)?;
                    self.statistics.bytes_grown += blocks * BLOCK;
                    self.space.extend(total);
                    return Ok(());
                }
                Err(source) if blocks == least => {
                    return Err(CommitError::DiskFull { needed: least * BLOCK, source });
                }
                Err(_) => {}
            }
        }
        Ok(())
    }
}
