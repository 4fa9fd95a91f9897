//! The allocator: where in the heap an object goes. Its whole state lies in the heap itself, so it is
//! committed, rolled back and kept in snapshots like any other page.
//!
//! The heap is cut into granules of 64 KiB, each with a 16-byte descriptor in a table at the heap's start. A
//! small object (up to 8 KiB) lies in a span, a granule of one size class, whose free objects are linked
//! through themselves; a larger one takes whole granules. Addresses are cheap: a page that is never touched
//! costs neither memory nor file, so large objects are rounded up. Nouns have spans of their own (`spans`),
//! since they are found and freed by a collector.
//!
//! Not for several threads: the owner of the arena allocates.

use std::alloc::Layout;

use super::page_runs::PageRuns;
use crate::sys::scratch_stack::Shield;

/// Bytes in a granule.
pub(crate) const GRANULE: usize = 64 << 10;
/// Bytes of the largest small object.
pub(crate) const SMALL_MAX: usize = 8 << 10;
/// First words of the heap.
const MAGIC: u64 = 0x3250_4145_4859_4e42;
/// Alignment of every object; also the smallest size.
const UNIT: usize = 16;
/// Bytes at the start of a span that its header takes.
const SPAN_HEADER: usize = 64;
const BINS: usize = 32;

/// Size classes: four to a power of two above 128 bytes, every 16 bytes below.
pub(crate) const CLASS_COUNT: usize = 8 + 24;
pub(crate) static CLASS_SIZES: [u32; CLASS_COUNT] = class_sizes();

pub(crate) const fn class_sizes() -> [u32; CLASS_COUNT] {
    let mut sizes = [0; CLASS_COUNT];
    let mut at = 0;
    while at < 8 {
        sizes[at] = (at as u32 + 1) * 16;
        at += 1;
    }
    while at < CLASS_COUNT {
        let power = (at as u32 - 8) / 4;
        let quarter = (at as u32 - 8) % 4 + 1;
        sizes[at] = (128 << power) + quarter * (32 << power);
        at += 1;
    }
    sizes
}

/// The class whose objects have at least `size` bytes (at most `SMALL_MAX`).
pub(crate) fn class_of(size: usize) -> usize {
    if size <= 128 {
        return size.div_ceil(16).max(1) - 1;
    }
    let power = (usize::BITS - 1 - (size - 1).leading_zeros()) as usize;
    8 + (power - 7) * 4 + (((size - 1) >> (power - 2)) & 3)
}

/// The allocator's state at the heap's start.
#[repr(C)]
pub(crate) struct Header {
    magic: u64,
    /// Granules handed out so far; those above were never used.
    frontier: u32,
    /// Granules in the reservation.
    granules: u32,
    /// Bytes in use by objects, rounded to their class or granules.
    used: u64,
    /// For each class, the first span that has room, as a granule number; 0 is none.
    partial: [u32; CLASS_COUNT],
    /// Free runs of granules by the power of two of their length.
    bins: [u32; BINS],
    /// For each class, the first span of nouns that has room; 0 is none.
    pub(crate) noun_partial: [u32; CLASS_COUNT],
    /// Bytes in nouns, rounded as `used`, which does not count them.
    pub(crate) noun_used: u64,
    /// What `noun_used` was when the last collection ended.
    pub(crate) noun_survived: u64,
}

/// What a granule is used for.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub(crate) struct Granule {
    pub(crate) kind: u32,
    /// Granules in the run, at its first and last granule.
    pub(crate) length: u32,
    next: u32,
    previous: u32,
}

const UNUSED: u32 = 0;
const FREE: u32 = 1;
const SPAN: u32 = 2;
const LARGE: u32 = 3;
/// A span of nouns. No other granule's descriptor has this kind, nor the next, even inside a run.
pub(crate) const NOUN_SPAN: u32 = 4;
/// The first granule of one noun that is larger than `SMALL_MAX`.
pub(crate) const NOUN_LARGE: u32 = 5;
/// The last granule of one.
pub(crate) const NOUN_TAIL: u32 = 6;

/// The start of a span.
#[repr(C)]
struct Span {
    /// Offset in the span of the first free object; 0 is none.
    free: u32,
    /// Offset of the first object that was never handed out.
    fresh: u32,
    size: u32,
    used: u32,
    class: u32,
    /// Whether the span is on its class's list.
    listed: u32,
    next: u32,
    previous: u32,
}

/// A heap's allocator. Holds addresses only; the memory must outlive it.
#[derive(Debug)]
pub(crate) struct Allocator {
    pub(crate) base: usize,
    pub(crate) first: u32,
    /// Granules that were freed and not taken again, whose pages still hold what was there.
    emptied: PageRuns,
}

/// The heap was laid out by another version, or is not a heap at all.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ForeignHeap;

/// Something the owner of the memory must do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fresh {
    pub(crate) offset: usize,
    pub(crate) length: usize,
}

/// Bytes at the heap's start for the header and the table.
fn table_bytes(granules: usize) -> usize {
    (size_of::<Header>() + granules * size_of::<Granule>()).next_multiple_of(GRANULE)
}

impl Allocator {
    /// The allocator of a heap at `base`; sets it up if the heap is all zero.
    ///
    /// # Safety
    /// `length` bytes at `base` are readable and writable, by this allocator alone, for as long as it lives,
    /// and are zero or hold what an allocator left there.
    pub(crate) unsafe fn attach(base: usize, length: usize) -> Result<Self, ForeignHeap> {
        let granules = length / GRANULE;
        let first = (table_bytes(granules) / GRANULE) as u32;
        let allocator = Self { base, first, emptied: PageRuns::default() };
        let header = allocator.header();
        // SAFETY: `header` points into the memory that the caller vouches for.
        unsafe {
            match (*header).magic {
                0 => {
                    (*header).magic = MAGIC;
                    (*header).frontier = first;
                    (*header).granules = granules as u32;
                }
                MAGIC if (*header).granules == granules as u32 => {}
                _ => return Err(ForeignHeap),
            }
        }
        Ok(allocator)
    }

    #[inline]
    pub(crate) fn header(&self) -> *mut Header {
        std::ptr::with_exposed_provenance_mut(self.base)
    }
    #[inline]
    pub(crate) fn granule(&self, number: u32) -> *mut Granule {
        let offset = size_of::<Header>() + number as usize * size_of::<Granule>();
        std::ptr::with_exposed_provenance_mut(self.base + offset)
    }
    fn span(&self, number: u32) -> *mut Span {
        std::ptr::with_exposed_provenance_mut(self.base + number as usize * GRANULE)
    }

    /// Granules that were ever handed out end here.
    #[inline]
    pub(crate) fn frontier(&self) -> u32 {
        // SAFETY: the header is valid since `attach`.
        unsafe { (*self.header()).frontier }
    }

    /// The addresses between which everything lies.
    pub(crate) fn reach(&self) -> (usize, usize) {
        (self.base, self.base + self.frontier() as usize * GRANULE)
    }

    /// Bytes in use by objects, nouns apart.
    pub(crate) fn used(&self) -> u64 {
        // SAFETY: the header is valid since `attach`.
        unsafe { (*self.header()).used }
    }

    /// Bytes of the heap that may have been written: the table as far as it is used, and the granules.
    pub(crate) fn extent(&self) -> [Fresh; 2] {
        // SAFETY: the header is valid since `attach`.
        let frontier = unsafe { (*self.header()).frontier } as usize;
        let table = size_of::<Header>() + frontier * size_of::<Granule>();
        let first = self.first as usize * GRANULE;
        [Fresh { offset: 0, length: table }, Fresh { offset: first, length: frontier * GRANULE - first }]
    }

    /// Calls `found` with each range that the allocator itself may have written: its table, and all spans,
    /// whose free objects hold its links.
    pub(crate) fn own_ranges(&self, found: &mut dyn FnMut(Fresh)) {
        let [table, granules] = self.extent();
        found(table);
        let end = ((granules.offset + granules.length) / GRANULE) as u32;
        let mut number = self.first;
        while number < end {
            // SAFETY: the granule lies below the frontier, so its descriptor is in the table.
            let Granule { kind, length, .. } = unsafe { *self.granule(number) };
            if kind != FREE && kind != LARGE {
                found(Fresh { offset: number as usize * GRANULE, length: length.max(1) as usize * GRANULE });
            }
            number += length.max(1);
        }
    }

    /// An address for an object, or `None` if the reservation is used up. `fresh` gets memory
    /// that is handed out for the first time.
    pub(crate) fn allocate(&mut self, layout: Layout, fresh: &mut dyn FnMut(Fresh)) -> Option<usize> {
        let size = layout.size().max(UNIT);
        if size <= SMALL_MAX && layout.align() <= UNIT {
            return self.allocate_small(class_of(size), fresh);
        }
        if layout.align() > GRANULE {
            return None;
        }
        let count = u32::try_from(size.div_ceil(GRANULE)).ok()?;
        let number = self.allocate_run(count, LARGE, fresh)?;
        // SAFETY: the header is valid since `attach`.
        unsafe { (*self.header()).used += u64::from(count) * GRANULE as u64 };
        Some(self.base + number as usize * GRANULE)
    }

    #[inline]
    fn allocate_small(&mut self, class: usize, fresh: &mut dyn FnMut(Fresh)) -> Option<usize> {
        // SAFETY: the header, and every span on a class's list, lie in this allocator's memory, and offsets
        // in a span stay below the granule's end by construction.
        unsafe {
            let header = self.header();
            let mut number = (*header).partial[class];
            if number == 0 {
                number = self.new_span(class, fresh)?;
            }
            let span = self.span(number);
            let size = (*span).size;
            let offset = if (*span).free != 0 {
                let offset = (*span).free;
                let object: *const u32 = span.cast::<u8>().add(offset as usize).cast();
                (*span).free = object.read();
                offset
            } else {
                let offset = (*span).fresh;
                (*span).fresh += size;
                offset
            };
            (*span).used += 1;
            (*header).used += u64::from(size);
            if (*span).free == 0 && (*span).fresh + size > GRANULE as u32 {
                self.unlist(number);
            }
            Some(self.base + number as usize * GRANULE + offset as usize)
        }
    }

    fn new_span(&mut self, class: usize, fresh: &mut dyn FnMut(Fresh)) -> Option<u32> {
        let number = self.allocate_run(1, SPAN, fresh)?;
        // SAFETY: the run was just taken, so the granule is ours to lay out.
        unsafe {
            let size = CLASS_SIZES[class];
            self.span(number).write(Span {
                free: 0,
                fresh: SPAN_HEADER as u32,
                size,
                used: 0,
                class: class as u32,
                listed: 0,
                next: 0,
                previous: 0,
            });
        }
        self.list(number);
        Some(number)
    }

    /// Puts a span at the head of its class's list.
    fn list(&mut self, number: u32) {
        // SAFETY: `number` is a span, and so is everything on its class's list.
        unsafe {
            let span = self.span(number);
            let head = &raw mut (*self.header()).partial[(*span).class as usize];
            (*span).listed = 1;
            (*span).previous = 0;
            (*span).next = *head;
            if *head != 0 {
                (*self.span(*head)).previous = number;
            }
            *head = number;
        }
    }

    fn unlist(&mut self, number: u32) {
        // SAFETY: `number` is a span on its class's list, and its neighbours are spans.
        unsafe {
            let span = self.span(number);
            (*span).listed = 0;
            match (*span).previous {
                0 => (*self.header()).partial[(*span).class as usize] = (*span).next,
                previous => (*self.span(previous)).next = (*span).next,
            }
            if (*span).next != 0 {
                (*self.span((*span).next)).previous = (*span).previous;
            }
        }
    }

    /// Frees an object. Gives the range of a large object, which the owner may discard.
    ///
    /// # Safety
    /// `address` came from [`Allocator::allocate`] with this layout and was not freed since.
    pub(crate) unsafe fn free(&mut self, address: usize, layout: Layout) -> Option<Fresh> {
        let number = ((address - self.base) / GRANULE) as u32;
        let size = layout.size().max(UNIT);
        if size <= SMALL_MAX && layout.align() <= UNIT {
            // SAFETY: the caller's object lies in a span, whose header starts its granule.
            unsafe {
                let span = self.span(number);
                let object: *mut u32 = std::ptr::with_exposed_provenance_mut(address);
                object.write((*span).free);
                (*span).free = (address - self.base - number as usize * GRANULE) as u32;
                (*span).used -= 1;
                (*self.header()).used -= u64::from((*span).size);
                if (*span).listed == 0 {
                    self.list(number);
                } else if (*span).used == 0 && ((*span).next != 0 || (*span).previous != 0) {
                    // The last span of a class stays, so that one object to and fro costs nothing.
                    self.unlist(number);
                    self.free_run(number, 1);
                    self.note_emptied(number, 1);
                }
            }
            return None;
        }
        let count = size.div_ceil(GRANULE) as u32;
        // SAFETY: the header is valid since `attach`.
        unsafe { (*self.header()).used -= u64::from(count) * GRANULE as u64 };
        self.free_run(number, count);
        self.note_emptied(number, count);
        Some(Fresh { offset: number as usize * GRANULE, length: count as usize * GRANULE })
    }

    fn note_emptied(&mut self, number: u32, count: u32) {
        // It is no part of the heap: an event that is stopped here would leave it half changed.
        let _shield = Shield::new();
        self.emptied.insert(number.into()..u64::from(number + count), 0);
    }

    /// The pages of a freed range are gone.
    pub(crate) fn is_discarded(&mut self, Fresh { offset, length }: Fresh) {
        let _shield = Shield::new();
        let first = (offset / GRANULE) as u64;
        self.emptied.remove(first..first + (length / GRANULE) as u64);
    }

    /// Free ranges whose pages may be given back, if there are at least `least` bytes of them. The caller
    /// gives them back.
    pub(crate) fn take_emptied(&mut self, least: usize) -> Vec<Fresh> {
        let granules: u64 = self.emptied.iter().map(|run| run.end - run.start).sum();
        if granules == 0 || granules < (least / GRANULE) as u64 {
            return Vec::new();
        }
        let mut ranges: Vec<Fresh> = Vec::new();
        for run in self.emptied.iter() {
            let (offset, length) = (run.start as usize * GRANULE, (run.end - run.start) as usize * GRANULE);
            match ranges.last_mut() {
                Some(last) if last.offset + last.length == offset => last.length += length,
                _ => ranges.push(Fresh { offset, length }),
            }
        }
        self.emptied.clear();
        ranges
    }

    /// Bytes that an object of this layout may use without moving.
    pub(crate) fn capacity(layout: Layout) -> usize {
        let size = layout.size().max(UNIT);
        if size <= SMALL_MAX && layout.align() <= UNIT {
            CLASS_SIZES[class_of(size)] as usize
        } else {
            size.next_multiple_of(GRANULE)
        }
    }

    pub(crate) fn allocate_run(
        &mut self,
        count: u32,
        kind: u32,
        fresh: &mut dyn FnMut(Fresh),
    ) -> Option<u32> {
        // SAFETY: the header and the table are valid since `attach`; numbers on the bins' lists are free
        // runs.
        unsafe {
            let header = self.header();
            for bin in bin_of(count)..BINS {
                let mut number = (*header).bins[bin];
                // In the first bin a run may be too short; a look at a few is enough.
                for _ in 0..16 {
                    if number == 0 {
                        break;
                    }
                    let length = (*self.granule(number)).length;
                    if length >= count {
                        self.take_free(number);
                        if length > count {
                            self.put_free(number + count, length - count);
                        }
                        self.mark(number, count, kind);
                        if !self.emptied.is_empty() {
                            let _shield = Shield::new();
                            self.emptied.remove(number.into()..u64::from(number + count));
                        }
                        return Some(number);
                    }
                    number = (*self.granule(number)).next;
                }
            }
            let number = (*header).frontier;
            let end = number.checked_add(count)?;
            if end > (*header).granules {
                return None;
            }
            fresh(Fresh {
                offset: size_of::<Header>() + number as usize * size_of::<Granule>(),
                length: count as usize * size_of::<Granule>(),
            });
            fresh(Fresh { offset: number as usize * GRANULE, length: count as usize * GRANULE });
            (*header).frontier = end;
            self.mark(number, count, kind);
            Some(number)
        }
    }

    /// Writes the first and last descriptor of a run.
    fn mark(&mut self, number: u32, count: u32, kind: u32) {
        let descriptor = Granule { kind, length: count, next: 0, previous: 0 };
        // SAFETY: the run lies below the frontier, so its descriptors are in the table.
        unsafe {
            self.granule(number).write(descriptor);
            self.granule(number + count - 1).write(descriptor);
        }
    }

    pub(crate) fn free_run(&mut self, mut number: u32, mut count: u32) {
        // SAFETY: neighbours below the frontier have valid descriptors, and a free one is on its bin's list.
        unsafe {
            if number > self.first {
                let before = *self.granule(number - 1);
                if before.kind == FREE {
                    number -= before.length;
                    count += before.length;
                    self.take_free(number);
                }
            }
            if number + count < (*self.header()).frontier {
                let after = *self.granule(number + count);
                if after.kind == FREE {
                    self.take_free(number + count);
                    count += after.length;
                }
            }
        }
        self.put_free(number, count);
    }

    fn put_free(&mut self, number: u32, count: u32) {
        self.mark(number, count, FREE);
        // SAFETY: the bins hold free runs only, whose descriptors are in the table.
        unsafe {
            let head = &raw mut (*self.header()).bins[bin_of(count)];
            (*self.granule(number)).next = *head;
            if *head != 0 {
                (*self.granule(*head)).previous = number;
            }
            *head = number;
        }
    }

    fn take_free(&mut self, number: u32) {
        // SAFETY: `number` is a free run on its bin's list, and so are its neighbours there.
        unsafe {
            let Granule { length, next, previous, .. } = *self.granule(number);
            match previous {
                0 => (*self.header()).bins[bin_of(length)] = next,
                previous => (*self.granule(previous)).next = next,
            }
            if next != 0 {
                (*self.granule(next)).previous = previous;
            }
            self.mark(number, length, UNUSED);
        }
    }
}

fn bin_of(count: u32) -> usize {
    (31 - count.leading_zeros()) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::mapping::Mapping;

    #[test]
    fn classes_hold_their_sizes() {
        for size in 1..=SMALL_MAX {
            let class = class_of(size);
            assert!(CLASS_SIZES[class] as usize >= size, "{size}");
            assert!(class == 0 || (CLASS_SIZES[class - 1] as usize) < size, "{size}");
        }
    }

    /// Objects never overlap, keep what was written to them, and all space comes back.
    #[test]
    fn objects_are_disjoint() {
        let mapping = Mapping::reserve(0x6300_0000_0000, 64 << 20).unwrap();
        // SAFETY: the mapping is fresh and used by nothing else in this test.
        let mut allocator = unsafe { Allocator::attach(mapping.base(), mapping.length()) }.unwrap();
        let mut live: Vec<(usize, Layout, u8)> = Vec::new();
        let mut seed = 1_u64;
        let mut next = |bound: u64| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (seed >> 33) % bound
        };
        for round in 0..20_000_u64 {
            if live.len() < 200 || next(2) == 0 {
                let size = if next(10) == 0 { next(300_000) } else { next(600) } as usize + 1;
                let layout = Layout::from_size_align(size, 1 << next(5)).unwrap();
                let Some(address) = allocator.allocate(layout, &mut |_| {}) else { continue };
                assert_eq!(address % layout.align(), 0);
                let fill = round as u8;
                // SAFETY: the object was just allocated with this size.
                unsafe {
                    std::ptr::write_bytes(std::ptr::with_exposed_provenance_mut::<u8>(address), fill, size);
                };
                live.push((address, layout, fill));
            } else {
                let (address, layout, fill) = live.swap_remove(next(live.len() as u64) as usize);
                // SAFETY: the object is live and has this size.
                let bytes = unsafe {
                    std::slice::from_raw_parts(
                        std::ptr::with_exposed_provenance::<u8>(address),
                        layout.size(),
                    )
                };
                assert!(bytes.iter().all(|byte| *byte == fill), "an object was overwritten");
                // SAFETY: the object is live, was allocated with this layout, and is forgotten now.
                unsafe { allocator.free(address, layout) };
            }
        }
        for (address, layout, _) in live.drain(..) {
            // SAFETY: as above.
            unsafe { allocator.free(address, layout) };
        }
        assert_eq!(allocator.used(), 0);
    }
}
