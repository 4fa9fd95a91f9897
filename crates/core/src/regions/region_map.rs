//! The structure behind the map: regions by address, none of which overlap.
//!
//! Not here: any rule of a memory call.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

/// A stretch of memory with one set of access rights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Region {
    /// First byte.
    pub start: u64,
    /// First byte after it.
    pub end: u64,
    /// `PROT_` bits.
    pub protection: u32,
    /// Where its first contents came from.
    pub backing: Backing,
}

/// Where the first contents of a region came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backing {
    /// Zeroes.
    Anonymous,
    /// A file: discarding the region must not make it zero.
    File,
}

/// Regions by first byte; neighbours with equal properties are joined.
#[derive(Clone, Debug, Default)]
pub(super) struct RegionMap(BTreeMap<u64, Region>);

impl RegionMap {
    /// The region at `address`.
    pub(super) fn lookup(&self, address: u64) -> Option<Region> {
        let (_, region) = self.0.range(..=address).next_back()?;
        (address < region.end).then_some(*region)
    }

    /// All regions, by address.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Region> {
        self.0.values()
    }

    /// The pieces of regions within `[start, end)`.
    pub(super) fn pieces(&self, start: u64, end: u64) -> impl Iterator<Item = Region> {
        let first = self.0.range(..=start).next_back().map_or(start, |(&key, _)| key);
        self.0
            .range(first..end)
            .map(|(_, region)| *region)
            .filter(move |r| r.end > start)
            .map(move |r| Region { start: r.start.max(start), end: r.end.min(end), ..r })
    }

    /// Whether any of `[start, end)` is mapped.
    pub(super) fn overlaps(&self, start: u64, end: u64) -> bool {
        self.pieces(start, end).next().is_some()
    }

    /// Whether all of `[start, end)` is mapped.
    pub(super) fn covers(&self, start: u64, end: u64) -> bool {
        let mut at = start;
        for piece in self.pieces(start, end) {
            if piece.start != at {
                return false;
            }
            at = piece.end;
        }
        at == end
    }

    /// Inserts a region in place of whatever is there.
    pub(super) fn replace(&mut self, region: Region) {
        self.cut(region.start, region.end);
        self.join(region);
    }

    /// Removes `[start, end)` from the map, splitting regions at its ends.
    pub(super) fn cut(&mut self, start: u64, end: u64) {
        let first = self.0.range(..=start).next_back().map_or(start, |(&key, _)| key);
        let touched: Vec<Region> =
            self.0.range(first..end).map(|(_, r)| *r).filter(|r| r.end > start).collect();
        for region in touched {
            self.0.remove(&region.start);
            if region.start < start {
                self.0.insert(region.start, Region { end: start, ..region });
            }
            if region.end > end {
                self.0.insert(end, Region { start: end, ..region });
            }
        }
    }

    /// Inserts a region into free space and joins it with equal neighbours.
    pub(super) fn join(&mut self, mut region: Region) {
        let alike = |other: &Region| other.protection == region.protection && other.backing == region.backing;
        if let Some(before) = region.start.checked_sub(1).and_then(|at| self.lookup(at)).filter(alike) {
            self.0.remove(&before.start);
            region.start = before.start;
        }
        if let Some(after) = self.0.get(&region.end).copied().filter(alike) {
            self.0.remove(&after.start);
            region.end = after.end;
        }
        self.0.insert(region.start, region);
    }

    /// The first gap of `length` bytes in `[low, high)`.
    pub(super) fn gap(&self, low: u64, high: u64, length: u64, align: u64) -> Option<u64> {
        let mut at = low.next_multiple_of(align);
        for piece in self.pieces(low, high) {
            if piece.start >= at && piece.start - at >= length {
                return Some(at);
            }
            at = at.max(piece.end.next_multiple_of(align));
        }
        (at.checked_add(length)? <= high).then_some(at)
    }
}
