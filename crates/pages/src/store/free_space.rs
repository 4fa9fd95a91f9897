//! The space map: which blocks of the file are in use, one bit a block, in groups of 128 MiB.
//!
//! Groups are read when first needed, so opening costs a 20-byte index entry a group and no more.
//! The map decides nothing about *when* a block may be freed: that is the fold's business.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use super::codec::{Reader, Writer, checksum};
use super::error::{Damage, ReadError};
use crate::disk::{BLOCK_SIZE, Block, Disk};

/// What a block is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BlockUse {
    /// It holds something.
    Used,
    /// It may be written.
    Free,
}

/// Blocks that one group covers: the bits of one block.
pub(crate) const GROUP_BLOCKS: u64 = BLOCK_SIZE as u64 * 8;
const WORDS: usize = BLOCK_SIZE / 8;

/// Where a group's bits lie.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct GroupEntry {
    /// 0: never written, all free.
    pub(crate) block: u64,
    pub(crate) checksum: u64,
    pub(crate) used: u32,
}

struct Group {
    bits: Box<[u64; WORDS]>,
    dirty: bool,
    /// No run in the group is longer than this.
    longest: u64,
}

/// The space map of one file.
pub(crate) struct FreeSpace {
    pub(crate) total: u64,
    pub(crate) index: Vec<GroupEntry>,
    groups: BTreeMap<usize, Group>,
    cursor: usize,
    /// Runs marked since [`FreeSpace::begin`], to be taken back if the operation cannot go on.
    journal: Vec<(u64, u64)>,
}

fn group_of(block: u64) -> usize {
    // Files stay below 2^48 blocks, so a group's number fits any 64-bit usize.
    (block / GROUP_BLOCKS) as usize
}

impl FreeSpace {
    pub(crate) fn new(total: u64) -> Self {
        let mut space =
            Self { total: 0, index: Vec::new(), groups: BTreeMap::new(), cursor: 0, journal: Vec::new() };
        space.extend(total);
        space
    }

    pub(crate) fn decode_index(bytes: &[u8], total: u64) -> Option<Self> {
        let mut space = FreeSpace::new(0);
        space.index.clear();
        let mut reader = Reader { bytes };
        while !reader.bytes.is_empty() {
            let (block, checksum, used) = (reader.u64()?, reader.u64()?, reader.u32()?);
            if block >= total || u64::from(used) > GROUP_BLOCKS {
                return None;
            }
            space.index.push(GroupEntry { block, checksum, used });
        }
        space.extend(total);
        Some(space)
    }

    pub(crate) fn encode_index(index: &[GroupEntry]) -> Vec<u8> {
        let mut writer = Writer::default();
        for entry in index {
            writer.u64(entry.block);
            writer.u64(entry.checksum);
            writer.u32(entry.used);
        }
        writer.bytes
    }

    /// The file has grown to `total` blocks.
    pub(crate) fn extend(&mut self, total: u64) {
        self.total = self.total.max(total);
        let groups = group_of(self.total.saturating_sub(1)) + 1;
        if self.index.len() < groups {
            self.index.resize(groups, GroupEntry::default());
        }
        if let Some(group) = self.groups.values_mut().next_back() {
            group.longest = GROUP_BLOCKS;
        }
    }

    /// Free blocks, counting those that a group not yet read is known to have.
    pub(crate) fn free(&self) -> u64 {
        self.total.saturating_sub(self.index.iter().map(|entry| u64::from(entry.used)).sum())
    }

    fn group<D: Disk>(&mut self, disk: &D, number: usize) -> Result<&mut Group, ReadError> {
        let entry = self.index[number];
        let vacant = match self.groups.entry(number) {
            Entry::Occupied(group) => return Ok(group.into_mut()),
            Entry::Vacant(vacant) => vacant,
        };
        let mut bits = Box::new([0_u64; WORDS]);
        if entry.block != 0 {
            let mut block = Block::ZERO;
            let offset = entry.block * BLOCK_SIZE as u64;
            disk.read_at(offset, &mut block.0)?;
            if checksum(&block.0) != entry.checksum {
                let what = format!("space map of group {number}");
                return Err(ReadError::Damaged(Damage { offset, length: BLOCK_SIZE as u64, what }));
            }
            for (word, bytes) in bits.iter_mut().zip(block.0.as_chunks::<8>().0) {
                *word = u64::from_le_bytes(*bytes);
            }
        }
        Ok(vacant.insert(Group { bits, dirty: false, longest: GROUP_BLOCKS }))
    }

    /// Marks a run as used or free, whatever it was before. Runs may cross groups.
    pub(crate) fn set<D: Disk>(
        &mut self,
        disk: &D,
        start: u64,
        count: u64,
        to: BlockUse,
    ) -> Result<(), ReadError> {
        let (mut block, end) = (start, start + count);
        while block < end {
            let number = group_of(block);
            let first = block % GROUP_BLOCKS;
            let last = (end - number as u64 * GROUP_BLOCKS).min(GROUP_BLOCKS);
            let group = self.group(disk, number)?;
            let mut changed = 0_u32;
            let mut bit = first;
            while bit < last {
                let word = (bit / 64) as usize;
                let low = bit % 64;
                let high = (low + last - bit).min(64);
                let mask = (u64::MAX >> (64 - (high - low))) << low;
                let before = group.bits[word];
                group.bits[word] = match to {
                    BlockUse::Used => before | mask,
                    BlockUse::Free => before & !mask,
                };
                changed += (before ^ group.bits[word]).count_ones();
                bit += high - low;
            }
            if changed != 0 {
                group.dirty = true;
                if to == BlockUse::Free {
                    group.longest = GROUP_BLOCKS;
                }
                let entry = &mut self.index[number];
                // A count in the file may be wrong; the bits are what counts.
                entry.used = match to {
                    BlockUse::Used => entry.used + changed,
                    BlockUse::Free => entry.used.saturating_sub(changed),
                };
            }
            block = number as u64 * GROUP_BLOCKS + last;
        }
        Ok(())
    }

    /// Whether the block is in use.
    pub(crate) fn is_used<D: Disk>(&mut self, disk: &D, block: u64) -> Result<bool, ReadError> {
        let bit = block % GROUP_BLOCKS;
        let group = self.group(disk, group_of(block))?;
        Ok(group.bits[(bit / 64) as usize] >> (bit % 64) & 1 == 1)
    }

    /// Counts the groups of a run as differing from what the file holds.
    pub(crate) fn touch<D: Disk>(&mut self, disk: &D, start: u64, count: u64) -> Result<(), ReadError> {
        for number in group_of(start)..=group_of(start + count.max(1) - 1) {
            self.group(disk, number)?.dirty = true;
        }
        Ok(())
    }

    /// From here, runs that are allocated can be taken back by [`FreeSpace::revert`].
    pub(crate) fn begin(&mut self) {
        self.journal.clear();
    }

    /// Frees every run allocated since [`FreeSpace::begin`].
    pub(crate) fn revert<D: Disk>(&mut self, disk: &D) -> Result<(), ReadError> {
        for (start, count) in std::mem::take(&mut self.journal) {
            self.set(disk, start, count, BlockUse::Free)?;
        }
        Ok(())
    }

    /// Takes a run of `want` blocks, or the longest there is if it has at least `minimum`.
    /// `None`: the file must grow first.
    pub(crate) fn allocate<D: Disk>(
        &mut self,
        disk: &D,
        want: u64,
        minimum: u64,
    ) -> Result<Option<(u64, u64)>, ReadError> {
        let groups = self.index.len();
        let want = want.min(GROUP_BLOCKS);
        let mut best: Option<(u64, u64)> = None;
        for step in 0..groups {
            let number = (self.cursor + step) % groups;
            let bound = self.total.saturating_sub(number as u64 * GROUP_BLOCKS).min(GROUP_BLOCKS);
            let free = bound.saturating_sub(u64::from(self.index[number].used));
            let enough = best.map_or(minimum, |(_, length)| length + 1);
            if free < enough || self.groups.get(&number).is_some_and(|group| group.longest < enough) {
                continue;
            }
            let group = self.group(disk, number)?;
            let (start, length) = longest_run(&group.bits, bound, want);
            if length < want {
                group.longest = length;
            }
            if length >= enough {
                best = Some((number as u64 * GROUP_BLOCKS + start, length));
            }
            if length >= want {
                self.cursor = number;
                break;
            }
        }
        if let Some((start, length)) = best {
            self.set(disk, start, length, BlockUse::Used)?;
            self.journal.push((start, length));
        }
        Ok(best)
    }

    /// From here the search for room begins at the file's start.
    pub(crate) fn rewind(&mut self) {
        self.cursor = 0;
    }

    /// Takes the first free block from `from` on, below `end`.
    pub(crate) fn take_first<D: Disk>(
        &mut self,
        disk: &D,
        from: u64,
        end: u64,
    ) -> Result<Option<u64>, ReadError> {
        let mut at = from;
        let end = end.min(self.total);
        while at < end {
            let number = group_of(at);
            let start = number as u64 * GROUP_BLOCKS;
            let bound = (end - start).min(GROUP_BLOCKS);
            let group = self.group(disk, number)?;
            let mut bit = at - start;
            while bit < bound {
                let free = !group.bits[(bit / 64) as usize] >> (bit % 64);
                if free != 0 {
                    bit += u64::from(free.trailing_zeros());
                    break;
                }
                bit = (bit / 64 + 1) * 64;
            }
            if bit < bound {
                self.set(disk, start + bit, 1, BlockUse::Used)?;
                self.journal.push((start + bit, 1));
                return Ok(Some(start + bit));
            }
            at = start + GROUP_BLOCKS;
        }
        Ok(None)
    }

    /// One more than the last block in use.
    pub(crate) fn end<D: Disk>(&mut self, disk: &D) -> Result<u64, ReadError> {
        for number in (0..self.index.len()).rev() {
            if self.index[number].used == 0 {
                continue;
            }
            let group = self.group(disk, number)?;
            if let Some(word) = group.bits.iter().rposition(|word| *word != 0) {
                let last = word as u64 * 64 + 63 - u64::from(group.bits[word].leading_zeros());
                return Ok(number as u64 * GROUP_BLOCKS + last + 1);
            }
        }
        Ok(0)
    }

    /// The file is to end after `total` blocks, behind which none is in use. Gives the entries of the groups
    /// that are no more.
    pub(crate) fn shrink(&mut self, total: u64) -> Vec<GroupEntry> {
        self.total = self.total.min(total);
        let groups = group_of(self.total.saturating_sub(1)) + 1;
        self.groups.retain(|number, _| *number < groups);
        self.cursor = 0;
        self.index.split_off(groups.min(self.index.len()))
    }

    /// Undoes [`FreeSpace::shrink`].
    pub(crate) fn unshrink(&mut self, total: u64, entries: Vec<GroupEntry>) {
        self.index.extend(entries);
        self.extend(total);
    }

    /// Numbers of the groups that differ from what the file holds.
    pub(crate) fn dirty_groups(&self) -> Vec<usize> {
        self.groups.iter().filter(|(_, group)| group.dirty).map(|(number, _)| *number).collect()
    }

    /// The block that holds a loaded group's bits.
    pub(crate) fn encode_group(&self, number: usize) -> Block {
        let mut block = Block::ZERO;
        if let Some(group) = self.groups.get(&number) {
            for (bytes, word) in block.0.as_chunks_mut::<8>().0.iter_mut().zip(group.bits.iter()) {
                *bytes = word.to_le_bytes();
            }
        }
        block
    }

    /// The file now holds every group as it is in memory.
    pub(crate) fn mark_clean(&mut self) {
        for group in self.groups.values_mut() {
            group.dirty = false;
        }
    }
}

/// First run of `want` free bits below `bound`, or the longest if none is that long.
fn longest_run(bits: &[u64; WORDS], bound: u64, want: u64) -> (u64, u64) {
    let (mut best_start, mut best) = (0, 0);
    let mut bit = 0;
    while bit < bound {
        // Skip used bits a word at a time.
        let free = !bits[(bit / 64) as usize] >> (bit % 64);
        if free == 0 {
            bit = (bit / 64 + 1) * 64;
            continue;
        }
        let start = bit + u64::from(free.trailing_zeros());
        if start >= bound {
            break;
        }
        let mut end = start;
        while end < bound && end - start < want {
            let rest = bits[(end / 64) as usize] >> (end % 64);
            if rest == 0 {
                end = (end / 64 + 1) * 64;
            } else {
                end += u64::from(rest.trailing_zeros());
                break;
            }
        }
        let length = end.min(bound).min(start + want) - start;
        if length > best {
            (best_start, best) = (start, length);
            if best >= want {
                break;
            }
        }
        bit = end.max(start + 1);
    }
    (best_start, best)
}
