//! The structure behind the map: regions by address, none of which overlap.
//!
//! Not here: any rule of a memory call.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use linux_raw_sys::general::PROT_WRITE;

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

/// A file that the home daemon keeps open for a region, by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FileNumber(pub u32);

/// What is behind a region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backing {
    /// Zeroes at first, and private.
    Anonymous,
    /// The program's own segments, which the loader wrote.
    Image,
    /// A private copy of a file.
    File {
        /// The file.
        file: FileNumber,
        /// Where in the file the region's first byte is.
        offset: u64,
        /// Whether the program can have made the copy another one.
        copy: Copy,
    },
    /// The home kernel's own mapping, of which the map knows no more than the place. Other nodes have none.
    Kernel(KernelMapping),
}

/// Whether a copy of a file can differ from the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Copy {
    /// The program never had the right to write it.
    Clean,
    /// It had.
    Writable,
}

/// What a copy of a file is once the program has these rights.
pub(super) const fn copy_with(protection: u32) -> Copy {
    if protection & PROT_WRITE == 0 { Copy::Clean } else { Copy::Writable }
}

/// A mapping of the kernel's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KernelMapping {
    /// One that stays as it is.
    Plain,
    /// One that grows when something below it is touched: `MAP_GROWSDOWN`.
    Stack,
    /// A System V segment that was attached at this address, and is detached by it.
    Segment(u64),
}

/// How far below its first address a growing mapping may come to begin: what Linux lets a stack have.
const GROWTH_MAX: u64 = 8 << 20;

impl Region {
    /// The part of it in `[start, end)`, which meets it.
    fn part(self, start: u64, end: u64) -> Self {
        let (start, end) = (start.max(self.start), end.min(self.end));
        let backing = match self.backing {
            Backing::File { file, offset, copy } => {
                Backing::File { file, offset: offset + (start - self.start), copy }
            }
            other => other,
        };
        Self { start, end, backing, ..self }
    }

    /// The same region over `[start, end)`, which begins in it or at its end.
    pub(super) fn extended_by(self, start: u64, end: u64) -> Self {
        Self { end, ..self.part(start, self.end) }
    }

    /// Whether `next`, which begins where this one ends, is more of the same.
    fn continues_in(&self, next: &Self) -> bool {
        self.protection == next.protection && self.part(self.end, self.end).backing == next.backing
    }

    /// The address from which on nothing else may be placed.
    fn reserved_from(&self) -> u64 {
        match self.backing {
            Backing::Kernel(KernelMapping::Stack) => self.start.saturating_sub(GROWTH_MAX),
            _ => self.start,
        }
    }
}

/// Regions by first byte; neighbours with equal properties are joined.
#[derive(Clone, Debug, Default)]
pub(super) struct RegionMap {
    by_start: BTreeMap<u64, Region>,
    /// How many regions refer to each file.
    references: BTreeMap<FileNumber, usize>,
}

impl RegionMap {
    fn put(&mut self, region: Region) {
        if let Backing::File { file, .. } = region.backing {
            *self.references.entry(file).or_default() += 1;
        }
        self.by_start.insert(region.start, region);
    }

    fn take(&mut self, start: u64) {
        if let Some(Region { backing: Backing::File { file, .. }, .. }) = self.by_start.remove(&start)
            && let Some(count) = self.references.get_mut(&file)
        {
            *count -= 1;
            if *count == 0 {
                self.references.remove(&file);
            }
        }
    }

    /// The files that regions refer to.
    pub(super) fn files(&self) -> impl Iterator<Item = FileNumber> {
        self.references.keys().copied()
    }

    /// The region at `address`.
    pub(super) fn lookup(&self, address: u64) -> Option<Region> {
        let (_, region) = self.by_start.range(..=address).next_back()?;
        (address < region.end).then_some(*region)
    }

    /// The region at `address`, or the one that grows when `address` is touched.
    pub(super) fn reach(&self, address: u64) -> Option<Region> {
        self.lookup(address).or_else(|| {
            let (_, above) = self.by_start.range(address..).next()?;
            (above.reserved_from() <= address).then_some(*above)
        })
    }

    /// All regions, by address.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Region> {
        self.by_start.values()
    }

    /// Those that begin at `start` or above.
    pub(super) fn beginning_at(&self, start: u64) -> impl Iterator<Item = &Region> {
        self.by_start.range(start..).map(|(_, region)| region)
    }

    /// The pieces of regions within `[start, end)`.
    pub(super) fn pieces(&self, start: u64, end: u64) -> impl Iterator<Item = Region> {
        let first = self.by_start.range(..=start).next_back().map_or(start, |(&key, _)| key);
        self.by_start
            .range(first..end)
            .map(|(_, region)| *region)
            .filter(move |r| r.end > start)
            .map(move |r| r.part(start, end))
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
        let first = self.by_start.range(..=start).next_back().map_or(start, |(&key, _)| key);
        let touched: Vec<Region> =
            self.by_start.range(first..end).map(|(_, r)| *r).filter(|r| r.end > start).collect();
        for region in touched {
            self.take(region.start);
            if region.start < start {
                self.put(Region { end: start, ..region });
            }
            if region.end > end {
                self.put(region.part(end, region.end));
            }
        }
    }

    /// Inserts a region into free space and joins it with equal neighbours.
    pub(super) fn join(&mut self, mut region: Region) {
        let before = region.start.checked_sub(1).and_then(|at| self.lookup(at));
        if let Some(before) = before.filter(|before| before.continues_in(&region)) {
            self.take(before.start);
            region = Region { end: region.end, ..before };
        }
        if let Some(after) =
            self.by_start.get(&region.end).copied().filter(|after| region.continues_in(after))
        {
            self.take(after.start);
            region.end = after.end;
        }
        self.put(region);
    }

    /// The first gap of `length` bytes in `[low, high)`.
    pub(super) fn gap(&self, low: u64, high: u64, length: u64, align: u64) -> Option<u64> {
        let mut at = low.next_multiple_of(align);
        for piece in self.pieces(low, high) {
            let free_until = piece.reserved_from();
            if free_until >= at && free_until - at >= length {
                return Some(at);
            }
            at = at.max(piece.end.next_multiple_of(align));
        }
        (at.checked_add(length)? <= high).then_some(at)
    }
}
