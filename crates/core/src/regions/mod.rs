//! The authoritative map of a process's memory regions, kept by its home daemon.
//!
//! [`Regions::call`] takes a memory call of the program and answers with its result and the kernel operations
//! that the home replica must perform. It decides addresses, so that every extent holds the mappings of one
//! node only, and it never touches memory itself.
//!
//! Not here: who holds which page (`coherence`), and the other replicas, which learn a region when they fault in
//! it ([`Regions::lookup`]) and forget it when it shrinks ([`Effect::forget`]).

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use banyan_wire::layout::{
    EXTENT_SIZE, LARGE_START, LOW_END, LOW_START, PAGE_SIZE, POOL_SIZE, PROGRAM_END, page_down, page_up,
    pool_start, range_in_program,
};
use banyan_wire::stub::{Action, ActionKind};

/// Access rights: `PROT_READ | PROT_WRITE | PROT_EXEC`.
pub const PROTECTION_MASK: u32 = 7;
const READ_WRITE: u32 = 3;

const MAP_SHARED: u64 = 1;
const MAP_PRIVATE: u64 = 2;
const MAP_TYPE: u64 = 0xf;
const MAP_FIXED: u64 = 0x10;
const MAP_ANONYMOUS: u64 = 0x20;
const MAP_32BIT: u64 = 0x40;
const MAP_NORESERVE: u64 = 0x4000;
const MAP_HUGETLB: u64 = 0x4_0000;
const MAP_FIXED_NOREPLACE: u64 = 0x10_0000;
const MREMAP_MAYMOVE: u64 = 1;
const MREMAP_FIXED: u64 = 2;

const ENOMEM: i64 = -12;
const EFAULT: i64 = -14;
const EEXIST: i64 = -17;
const EINVAL: i64 = -22;
const ENOSYS: i64 = -38;

/// System call numbers that [`Regions::call`] understands.
pub mod number {
    #![expect(missing_docs, reason = "the names are the kernel's")]
    pub const MMAP: u64 = 9;
    pub const MPROTECT: u64 = 10;
    pub const MUNMAP: u64 = 11;
    pub const BRK: u64 = 12;
    pub const MREMAP: u64 = 25;
    pub const MSYNC: u64 = 26;
    pub const MINCORE: u64 = 27;
    pub const MADVISE: u64 = 28;
    pub const MLOCK: u64 = 149;
    pub const MUNLOCK: u64 = 150;
    pub const MLOCKALL: u64 = 151;
    pub const MUNLOCKALL: u64 = 152;
    pub const MLOCK2: u64 = 325;
}

/// A stretch of memory with one set of access rights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Region {
    /// First byte.
    pub start: u64,
    /// First byte after it.
    pub end: u64,
    /// `PROT_` bits.
    pub protection: u32,
    /// It was filled from a file, so discarding it must not zero it.
    pub file: bool,
}

/// A stretch of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// First byte.
    pub start: u64,
    /// Bytes.
    pub length: u64,
}

/// What a memory call comes to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Effect {
    /// The call's result: a value or a negated errno.
    pub result: i64,
    /// What the home replica does, in order, before the call returns.
    pub actions: Vec<Action>,
    /// Other replicas must unmap this range, and have said so, before the actions are performed.
    pub forget: Option<Range>,
}

impl Effect {
    fn result(result: i64) -> Self {
        Self { result, ..Self::default() }
    }

    fn act(&mut self, kind: ActionKind, address: u64, length: u64, extra: u64) {
        self.actions.push(Action::new(kind, address, length, extra));
    }
}

/// The map.
#[derive(Clone, Debug)]
pub struct Regions {
    /// By first byte; neighbours with equal properties are joined.
    map: BTreeMap<u64, Region>,
    /// Where the next search for free addresses begins, by node.
    cursors: BTreeMap<u8, u64>,
    break_start: u64,
    break_end: u64,
    /// Bytes that one writable mapping may ask for at most: what all nodes have.
    memory_total: u64,
    version: u64,
}

impl Regions {
    /// An empty map for a cluster with `memory_total` bytes.
    #[must_use]
    pub fn new(memory_total: u64) -> Self {
        Self {
            map: BTreeMap::new(),
            cursors: BTreeMap::new(),
            break_start: 0,
            break_end: 0,
            memory_total,
            version: 0,
        }
    }

    /// Counts the changes so far.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Enters a region that the loader makes. Whole pages; overlapping regions are replaced.
    pub fn insert(&mut self, region: Region) {
        self.cut(region.start, region.end);
        self.join(region);
        self.version += 1;
    }

    /// Sets where the heap of `brk` begins.
    pub fn set_break(&mut self, address: u64) {
        self.break_start = address;
        self.break_end = address;
    }

    /// Lets a node's mappings begin at `address`, above what the loader placed.
    pub fn start_mappings(&mut self, node: u8, address: u64) {
        self.cursors.insert(node, address);
    }

    /// The region at `address`.
    #[must_use]
    pub fn lookup(&self, address: u64) -> Option<Region> {
        let (_, region) = self.map.range(..=address).next_back()?;
        (address < region.end).then_some(*region)
    }

    /// All regions, by address.
    pub fn iter(&self) -> impl Iterator<Item = &Region> {
        self.map.values()
    }

    /// Free addresses for `length` bytes in a node's pool.
    pub fn place(&mut self, node: u8, length: u64) -> Option<u64> {
        if length > POOL_SIZE / 2 {
            return self.gap(LARGE_START, PROGRAM_END, length, EXTENT_SIZE);
        }
        let (low, high) = (pool_start(node), pool_start(node) + POOL_SIZE);
        let align = if length >= EXTENT_SIZE { EXTENT_SIZE } else { PAGE_SIZE };
        let cursor = self.cursors.get(&node).copied().unwrap_or(low);
        let start = self.gap(cursor, high, length, align).or_else(|| self.gap(low, high, length, align))?;
        self.cursors.insert(node, start + length);
        Some(start)
    }

    /// Performs a memory call of a thread on `node`.
    pub fn call(&mut self, number: u64, arguments: [u64; 6], node: u8) -> Effect {
        let [a, b, c, d, e, offset] = arguments;
        let effect = match number {
            number::MMAP => self.map_call(a, b, c, d, offset, node),
            number::MUNMAP => self.unmap_call(a, b),
            number::MPROTECT => self.protect_call(a, b, c),
            number::BRK => self.break_call(a),
            number::MREMAP => self.remap_call(a, b, c, d, e, node),
            number::MADVISE => self.advise_call(a, b, c),
            number::MSYNC | number::MINCORE | number::MLOCK | number::MUNLOCK | number::MLOCK2 => {
                self.no_effect_call(a, b)
            }
            number::MLOCKALL | number::MUNLOCKALL => Effect::result(0),
            _ => Effect::result(ENOSYS),
        };
        if !effect.actions.is_empty() {
            self.version += 1;
        }
        effect
    }

    fn map_call(
        &mut self,
        hint: u64,
        length: u64,
        protection: u64,
        flags: u64,
        offset: u64,
        node: u8,
    ) -> Effect {
        let Some(length) = page_up(length).filter(|&l| l != 0) else {
            return Effect::result(if length == 0 { EINVAL } else { ENOMEM });
        };
        let shared = match flags & MAP_TYPE {
            MAP_PRIVATE => false,
            // MAP_SHARED_VALIDATE is MAP_SHARED that refuses unknown flags.
            MAP_SHARED | 3 => true,
            _ => return Effect::result(EINVAL),
        };
        let protection = protection as u32 & PROTECTION_MASK;
        let file = flags & MAP_ANONYMOUS == 0;
        if file && offset & (PAGE_SIZE - 1) != 0 {
            return Effect::result(EINVAL);
        }
        // The kernel's heuristic overcommit refuses what can never be backed; so does huge-page memory here.
        let counted = !shared && protection & 2 != 0 && flags & MAP_NORESERVE == 0;
        if flags & MAP_HUGETLB != 0 || (counted && length > self.memory_total) {
            return Effect::result(ENOMEM);
        }
        let fixed = flags & (MAP_FIXED | MAP_FIXED_NOREPLACE) != 0;
        let (start, replaced) = if fixed {
            if hint & (PAGE_SIZE - 1) != 0 {
                return Effect::result(EINVAL);
            }
            if !range_in_program(hint, length) {
                return Effect::result(ENOMEM);
            }
            let occupied = self.overlaps(hint, hint + length);
            if occupied && flags & MAP_FIXED_NOREPLACE != 0 {
                return Effect::result(EEXIST);
            }
            (hint, occupied)
        } else {
            match self.choose(page_down(hint), length, flags, node) {
                Some(start) => (start, false),
                None => return Effect::result(ENOMEM),
            }
        };
        let mut effect = Effect::result(start as i64);
        if replaced {
            effect.forget = Some(Range { start, length });
        }
        effect.act(ActionKind::Reserve, start, length, 0);
        if replaced {
            effect.act(ActionKind::Discard, start, length, 0);
        }
        effect.act(ActionKind::Confirm, start, length, 0);
        if file {
            effect.act(ActionKind::Protect, start, length, u64::from(READ_WRITE));
            effect.act(ActionKind::ReadFile, start, length, offset);
        }
        effect.act(ActionKind::Protect, start, length, u64::from(protection));
        self.cut(start, start + length);
        self.join(Region { start, end: start + length, protection, file });
        effect
    }

    fn choose(&mut self, hint: u64, length: u64, flags: u64, node: u8) -> Option<u64> {
        if flags & MAP_32BIT != 0 {
            return self.gap(LOW_START, LOW_END, length, PAGE_SIZE);
        }
        if hint != 0 && range_in_program(hint, length) && !self.overlaps(hint, hint + length) {
            return Some(hint);
        }
        self.place(node, length)
    }

    fn unmap_call(&mut self, start: u64, length: u64) -> Effect {
        let Some(length) = page_up(length).filter(|&l| l != 0 && start & (PAGE_SIZE - 1) == 0) else {
            return Effect::result(EINVAL);
        };
        // Nothing of the program lies outside its memory, and unmapping nothing is no error.
        if !range_in_program(start, length) {
            return Effect::result(if start.checked_add(length).is_some() { 0 } else { EINVAL });
        }
        if !self.overlaps(start, start + length) {
            return Effect::result(0);
        }
        let mut effect = Effect::result(0);
        self.unmap(&mut effect, start, length);
        effect
    }

    fn unmap(&mut self, effect: &mut Effect, start: u64, length: u64) {
        effect.forget = Some(Range { start, length });
        effect.act(ActionKind::Unmap, start, length, 0);
        effect.act(ActionKind::Discard, start, length, 0);
        self.cut(start, start + length);
    }

    fn protect_call(&mut self, start: u64, length: u64, protection: u64) -> Effect {
        if start & (PAGE_SIZE - 1) != 0 || protection & !u64::from(PROTECTION_MASK) != 0 {
            return Effect::result(EINVAL);
        }
        let Some(length) = page_up(length) else { return Effect::result(ENOMEM) };
        if length == 0 {
            return Effect::result(0);
        }
        let Some(end) = start.checked_add(length) else { return Effect::result(ENOMEM) };
        if !self.covers(start, end) {
            return Effect::result(ENOMEM);
        }
        let protection = protection as u32;
        let mut effect = Effect::result(0);
        let pieces: Vec<Region> = self.pieces(start, end).collect();
        if pieces.iter().any(|piece| piece.protection & !protection != 0) {
            effect.forget = Some(Range { start, length });
        }
        self.cut(start, end);
        for piece in pieces {
            self.join(Region { protection, ..piece });
        }
        effect.act(ActionKind::Protect, start, length, u64::from(protection));
        effect
    }

    fn break_call(&mut self, wanted: u64) -> Effect {
        let mut effect = Effect::result(self.break_end as i64);
        let (Some(new), Some(old)) = (page_up(wanted), page_up(self.break_end)) else { return effect };
        if wanted < self.break_start {
            return effect;
        }
        if new > old {
            let fits = range_in_program(old, new - old)
                && !self.overlaps(old, new)
                && new - self.break_start <= self.memory_total;
            if !fits {
                return effect;
            }
            effect.act(ActionKind::Reserve, old, new - old, 0);
            effect.act(ActionKind::Confirm, old, new - old, 0);
            effect.act(ActionKind::Protect, old, new - old, u64::from(READ_WRITE));
            self.join(Region { start: old, end: new, protection: READ_WRITE, file: false });
        } else if new < old {
            self.unmap(&mut effect, new, old - new);
        }
        self.break_end = wanted;
        effect.result = wanted as i64;
        effect
    }

    fn remap_call(
        &mut self,
        old: u64,
        old_length: u64,
        new_length: u64,
        flags: u64,
        target: u64,
        node: u8,
    ) -> Effect {
        let (Some(old_length), Some(new_length)) = (page_up(old_length), page_up(new_length)) else {
            return Effect::result(EINVAL);
        };
        let known = MREMAP_MAYMOVE | MREMAP_FIXED;
        if old & (PAGE_SIZE - 1) != 0 || old_length == 0 || new_length == 0 || flags & !known != 0 {
            return Effect::result(EINVAL);
        }
        if flags & MREMAP_FIXED != 0
            && (flags & MREMAP_MAYMOVE == 0
                || target & (PAGE_SIZE - 1) != 0
                || !range_in_program(target, new_length)
                || (target < old.saturating_add(old_length) && old < target.saturating_add(new_length)))
        {
            return Effect::result(EINVAL);
        }
        let Some(region) = self.lookup(old).filter(|r| old + old_length <= r.end) else {
            return Effect::result(EFAULT);
        };
        if new_length > self.memory_total {
            return Effect::result(ENOMEM);
        }
        let mut effect = Effect::result(old as i64);
        if flags & MREMAP_FIXED == 0 {
            if new_length <= old_length {
                if new_length < old_length {
                    self.unmap(&mut effect, old + new_length, old_length - new_length);
                }
                return effect;
            }
            let (tail, end) = (old + old_length, old + new_length);
            if range_in_program(old, new_length) && !self.overlaps(tail, end) {
                effect.act(ActionKind::Reserve, tail, end - tail, 0);
                effect.act(ActionKind::Confirm, tail, end - tail, 0);
                effect.act(ActionKind::Protect, tail, end - tail, u64::from(region.protection));
                self.join(Region { start: tail, end, ..region });
                return effect;
            }
            if flags & MREMAP_MAYMOVE == 0 {
                return Effect::result(ENOMEM);
            }
        }
        let new = if flags & MREMAP_FIXED != 0 {
            target
        } else {
            match self.place(node, new_length) {
                Some(new) => new,
                None => return Effect::result(ENOMEM),
            }
        };
        // Memory has the offset of its address, so moving is copying. What lay at the target goes first.
        effect.result = new as i64;
        effect.act(ActionKind::Reserve, new, new_length, 0);
        let replaced = self.overlaps(new, new + new_length);
        if replaced {
            effect.act(ActionKind::Discard, new, new_length, 0);
        }
        effect.act(ActionKind::Confirm, new, new_length, 0);
        effect.act(ActionKind::Protect, new, new_length, u64::from(READ_WRITE));
        if region.protection & 1 == 0 {
            effect.act(ActionKind::Protect, old, old_length, 1);
        }
        effect.act(ActionKind::Copy, new, old_length.min(new_length), old);
        effect.act(ActionKind::Protect, new, new_length, u64::from(region.protection));
        effect.act(ActionKind::Unmap, old, old_length, 0);
        effect.act(ActionKind::Discard, old, old_length, 0);
        // One range to forget covers both ends: a replica that unmaps too much only learns it again.
        let (low, high) = if replaced {
            (old.min(new), (old + old_length).max(new + new_length))
        } else {
            (old, old + old_length)
        };
        effect.forget = Some(Range { start: low, length: high - low });
        self.cut(old, old + old_length);
        self.cut(new, new + new_length);
        self.join(Region { start: new, end: new + new_length, ..region });
        effect
    }

    fn advise_call(&mut self, start: u64, length: u64, advice: u64) -> Effect {
        const DONTNEED: u64 = 4;
        const REMOVE: u64 = 9;
        let Some(length) = page_up(length).filter(|_| start & (PAGE_SIZE - 1) == 0) else {
            return Effect::result(EINVAL);
        };
        if advice > 25 {
            return Effect::result(EINVAL);
        }
        if length == 0 {
            return Effect::result(0);
        }
        let Some(end) = start.checked_add(length) else { return Effect::result(EINVAL) };
        if !self.covers(start, end) {
            return Effect::result(ENOMEM);
        }
        let mut effect = Effect::result(0);
        if matches!(advice, DONTNEED | REMOVE) {
            // Pages of a file were copied when it was mapped and are as good as re-read ones.
            let pieces: Vec<Region> = self.pieces(start, end).filter(|piece| !piece.file).collect();
            for piece in pieces.iter().take(banyan_wire::stub::ACTIONS_MAX) {
                effect.act(ActionKind::Discard, piece.start, piece.end - piece.start, 0);
            }
        }
        effect
    }

    fn no_effect_call(&self, start: u64, length: u64) -> Effect {
        let start_page = page_down(start);
        let Some(end) = start.checked_add(length).and_then(page_up) else { return Effect::result(ENOMEM) };
        Effect::result(if end == start_page || self.covers(start_page, end) { 0 } else { ENOMEM })
    }

    /// The pieces of regions within `[start, end)`.
    fn pieces(&self, start: u64, end: u64) -> impl Iterator<Item = Region> {
        let first = self.map.range(..=start).next_back().map_or(start, |(&key, _)| key);
        self.map
            .range(first..end)
            .map(|(_, region)| *region)
            .filter(move |r| r.end > start)
            .map(move |r| Region { start: r.start.max(start), end: r.end.min(end), ..r })
    }

    fn overlaps(&self, start: u64, end: u64) -> bool {
        self.pieces(start, end).next().is_some()
    }

    fn covers(&self, start: u64, end: u64) -> bool {
        let mut at = start;
        for piece in self.pieces(start, end) {
            if piece.start != at {
                return false;
            }
            at = piece.end;
        }
        at == end
    }

    /// Removes `[start, end)` from the map, splitting regions at its ends.
    fn cut(&mut self, start: u64, end: u64) {
        let first = self.map.range(..=start).next_back().map_or(start, |(&key, _)| key);
        let touched: Vec<Region> =
            self.map.range(first..end).map(|(_, r)| *r).filter(|r| r.end > start).collect();
        for region in touched {
            self.map.remove(&region.start);
            if region.start < start {
                self.map.insert(region.start, Region { end: start, ..region });
            }
            if region.end > end {
                self.map.insert(end, Region { start: end, ..region });
            }
        }
    }

    /// Inserts a region into free space and joins it with equal neighbours.
    fn join(&mut self, mut region: Region) {
        let alike = |other: &Region| other.protection == region.protection && other.file == region.file;
        if let Some(before) = region.start.checked_sub(1).and_then(|at| self.lookup(at)).filter(alike) {
            self.map.remove(&before.start);
            region.start = before.start;
        }
        if let Some(after) = self.map.get(&region.end).copied().filter(alike) {
            self.map.remove(&after.start);
            region.end = after.end;
        }
        self.map.insert(region.start, region);
    }

    /// The first gap of `length` bytes in `[low, high)`.
    fn gap(&self, low: u64, high: u64, length: u64, align: u64) -> Option<u64> {
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

#[cfg(test)]
mod tests {
    use super::*;

    const ANONYMOUS: u64 = MAP_PRIVATE | MAP_ANONYMOUS;

    fn mapped(regions: &mut Regions, length: u64, node: u8) -> u64 {
        let effect = regions.call(number::MMAP, [0, length, 3, ANONYMOUS, u64::MAX, 0], node);
        assert!(effect.result > 0);
        effect.result as u64
    }

    #[test]
    fn mappings_of_different_nodes_never_share_an_extent() {
        let mut regions = Regions::new(1 << 30);
        let (a, b) = (mapped(&mut regions, 4096, 0), mapped(&mut regions, 4096, 1));
        assert_ne!(a / EXTENT_SIZE, b / EXTENT_SIZE);
        assert_eq!(banyan_wire::layout::pool_node(b), 1);
    }

    #[test]
    fn unmapping_the_middle_splits_and_is_forgotten_elsewhere() {
        let mut regions = Regions::new(1 << 30);
        let a = mapped(&mut regions, 3 * PAGE_SIZE, 0);
        let effect = regions.call(number::MUNMAP, [a + PAGE_SIZE, PAGE_SIZE, 0, 0, 0, 0], 0);
        assert_eq!(effect.forget, Some(Range { start: a + PAGE_SIZE, length: PAGE_SIZE }));
        assert!(regions.lookup(a).is_some() && regions.lookup(a + PAGE_SIZE).is_none());
        assert!(regions.lookup(a + 2 * PAGE_SIZE).is_some());
    }

    #[test]
    fn only_taking_rights_away_is_forgotten_elsewhere() {
        let mut regions = Regions::new(1 << 30);
        let a = mapped(&mut regions, 4 * PAGE_SIZE, 0);
        let less = regions.call(number::MPROTECT, [a, PAGE_SIZE, 1, 0, 0, 0], 0);
        assert!(less.forget.is_some());
        let more = regions.call(number::MPROTECT, [a, PAGE_SIZE, 3, 0, 0, 0], 0);
        assert_eq!(more.forget, None);
        assert_eq!(
            regions.lookup(a).map(|r| r.end),
            Some(a + 4 * PAGE_SIZE),
            "equal neighbours are joined again"
        );
    }

    #[test]
    fn what_no_memory_can_back_is_refused_and_a_reservation_is_not() {
        let mut regions = Regions::new(1 << 30);
        let huge = regions.call(number::MMAP, [0, 1 << 40, 3, ANONYMOUS, u64::MAX, 0], 0);
        assert_eq!(huge.result, ENOMEM);
        let reserved = regions.call(number::MMAP, [0, 1 << 40, 0, ANONYMOUS, u64::MAX, 0], 0);
        assert!(reserved.result > 0);
    }

    #[test]
    fn fixed_mappings_replace_and_no_replace_refuses() {
        let mut regions = Regions::new(1 << 30);
        let a = mapped(&mut regions, 2 * PAGE_SIZE, 0);
        let flags = ANONYMOUS | MAP_FIXED_NOREPLACE;
        assert_eq!(regions.call(number::MMAP, [a, PAGE_SIZE, 3, flags, 0, 0], 0).result, EEXIST);
        let over = regions.call(number::MMAP, [a, PAGE_SIZE, 1, ANONYMOUS | MAP_FIXED, 0, 0], 0);
        assert_eq!(over.result as u64, a);
        assert!(over.actions.iter().any(|action| action.kind == ActionKind::Discard as u32));
        assert_eq!(regions.lookup(a).map(|r| r.protection), Some(1));
    }

    #[test]
    fn remap_grows_in_place_or_moves() {
        let mut regions = Regions::new(1 << 30);
        let a = mapped(&mut regions, PAGE_SIZE, 0);
        let grown = regions.call(number::MREMAP, [a, PAGE_SIZE, 2 * PAGE_SIZE, MREMAP_MAYMOVE, 0, 0], 0);
        assert_eq!(grown.result as u64, a);
        let b = mapped(&mut regions, PAGE_SIZE, 0);
        assert_eq!(b, a + 2 * PAGE_SIZE);
        let _ = regions.call(number::MPROTECT, [b, PAGE_SIZE, 1, 0, 0, 0], 0);
        let moved = regions.call(number::MREMAP, [a, 2 * PAGE_SIZE, 8 * PAGE_SIZE, MREMAP_MAYMOVE, 0, 0], 0);
        assert_ne!(moved.result as u64, a);
        assert!(regions.lookup(a).is_none());
        assert!(moved.actions.len() <= banyan_wire::stub::ACTIONS_MAX);
    }

    #[test]
    fn the_break_moves_both_ways() {
        let mut regions = Regions::new(1 << 30);
        regions.set_break(pool_start(0) + 0x100);
        let start = regions.call(number::BRK, [0; 6], 0).result as u64;
        let up = regions.call(number::BRK, [start + 10_000, 0, 0, 0, 0, 0], 0);
        assert_eq!((up.result as u64, up.actions.len()), (start + 10_000, 3));
        let down = regions.call(number::BRK, [start, 0, 0, 0, 0, 0], 0);
        assert_eq!(down.result as u64, start);
        assert!(regions.lookup(start + 8192).is_none());
    }
}
