//! Where nouns lie: spans of their own in the heap, so that the collector finds each of them, and frees them
//! without touching them.
//!
//! A span is a granule of one size class. Its header holds a bit for each 16 bytes, set where a free slot
//! starts: freeing every dead noun of a span writes this bitmap and nothing else, so it dirties one page of
//! the sixteen. A noun above 8 KiB is a run of granules. Not for objects of the program, which free
//! themselves.

use super::allocator::{
    Allocator, CLASS_COUNT, CLASS_SIZES, Fresh, GRANULE, NOUN_LARGE, NOUN_SPAN, NOUN_TAIL, SMALL_MAX,
    class_of, class_sizes,
};

/// Words of a span's bitmap: a bit for each 16 bytes.
pub(crate) const WORDS: usize = GRANULE / 16 / 64;
/// A bit for each 16 bytes of a granule.
pub(crate) type Bitmap = [u64; WORDS];

/// The start of a span of nouns.
#[repr(C)]
struct NounSpan {
    class: u32,
    free_slots: u32,
    /// Whether the span is on its class's list.
    listed: u32,
    next: u32,
    previous: u32,
    /// No word of the bitmap before this one has a free slot.
    hint: u32,
    reserved: [u32; 10],
    free: Bitmap,
}

/// Offset of a span's first slot.
const FIRST: usize = size_of::<NounSpan>();

/// For each class, where its slots start.
static SLOTS: [Bitmap; CLASS_COUNT] = slots();

const fn slots() -> [Bitmap; CLASS_COUNT] {
    let sizes = class_sizes();
    let mut slots = [[0; WORDS]; CLASS_COUNT];
    let mut class = 0;
    while class < CLASS_COUNT {
        let size = sizes[class] as usize;
        let mut offset = FIRST;
        while offset + size <= GRANULE {
            slots[class][offset / 1024] |= 1 << (offset / 16 % 64);
            offset += size;
        }
        class += 1;
    }
    slots
}

/// A noun that was just given room, or one that was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Slot {
    /// The granule that it starts in.
    pub(crate) granule: u32,
    /// Where in the granule, in units of 16 bytes.
    pub(crate) unit: u32,
}

/// Room for some nouns of one size, side by side in a span.
#[derive(Default)]
pub(crate) struct Slots {
    /// The address of the first of these 64 units of 16 bytes, and where they are.
    address: usize,
    granule: u32,
    unit: u32,
    /// Units at which a slot starts.
    bits: u64,
}

impl Slots {
    /// The next one's address and place.
    #[inline]
    pub(crate) fn take(&mut self) -> Option<(usize, Slot)> {
        if self.bits == 0 {
            return None;
        }
        let unit = self.bits.trailing_zeros();
        self.bits &= self.bits - 1;
        Some((self.address + unit as usize * 16, Slot { granule: self.granule, unit: self.unit + unit }))
    }
}

/// What a sweep did to a granule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Swept {
    /// It holds no nouns.
    Other,
    /// This many bytes of nouns are free now.
    Freed(u64),
    /// It held none that lives; the run of granules is free.
    Emptied { bytes: u64, granules: u32 },
}

impl Allocator {
    fn noun_span(&self, number: u32) -> *mut NounSpan {
        std::ptr::with_exposed_provenance_mut(self.base + number as usize * GRANULE)
    }

    /// Bytes in nouns.
    pub(crate) fn noun_used(&self) -> u64 {
        // SAFETY: the header is valid since `attach`.
        unsafe { (*self.header()).noun_used }
    }

    /// What `noun_used` was when the last collection ended.
    pub(crate) fn noun_survived(&self) -> u64 {
        // SAFETY: the header is valid since `attach`.
        unsafe { (*self.header()).noun_survived }
    }

    /// A collection has ended.
    pub(crate) fn remember_survivors(&mut self) {
        // SAFETY: the header is valid since `attach`.
        unsafe { (*self.header()).noun_survived = (*self.header()).noun_used };
    }

    /// Room for a noun of `size` bytes, or `None` if the reservation is used up.
    #[inline]
    pub(crate) fn allocate_noun(
        &mut self,
        size: usize,
        fresh: &mut dyn FnMut(Fresh),
    ) -> Option<(usize, Slot)> {
        if size > SMALL_MAX {
            return self.allocate_large_noun(size, fresh);
        }
        self.allocate_nouns(class_of(size), 1, fresh)?.take()
    }

    /// Room for one noun or more of a class, but for no more than `most`, which is at least 1.
    #[inline]
    pub(crate) fn allocate_nouns(
        &mut self,
        class: usize,
        most: usize,
        fresh: &mut dyn FnMut(Fresh),
    ) -> Option<Slots> {
        // SAFETY: the header, and every span on a class's list, lie in this allocator's memory; a listed span
        // has a free slot at or behind its hint, and bits of the bitmap are slots inside the span.
        unsafe {
            let header = self.header();
            let mut number = (*header).noun_partial[class];
            if number == 0 {
                number = self.new_noun_span(class, fresh)?;
            }
            let span = self.noun_span(number);
            let mut at = (*span).hint as usize;
            while (*span).free[at] == 0 {
                at += 1;
            }
            (*span).hint = at as u32;
            let free = (*span).free[at];
            let mut left = free & (free - 1);
            let mut count = 1;
            while count < most && left != 0 {
                left &= left - 1;
                count += 1;
            }
            (*span).free[at] = left;
            (*span).free_slots -= count as u32;
            (*header).noun_used += count as u64 * u64::from(CLASS_SIZES[class]);
            if (*span).free_slots == 0 {
                self.unlist_noun_span(number);
            }
            let unit = at as u32 * 64;
            let address = self.base + number as usize * GRANULE + unit as usize * 16;
            Some(Slots { address, granule: number, unit, bits: free & !left })
        }
    }

    #[cold]
    fn allocate_large_noun(&mut self, size: usize, fresh: &mut dyn FnMut(Fresh)) -> Option<(usize, Slot)> {
        let count = u32::try_from(size.div_ceil(GRANULE)).ok()?;
        let number = self.allocate_run(count, NOUN_LARGE, fresh)?;
        if count > 1 {
            // Only the first granule is where a noun starts.
            // SAFETY: the run was just taken, so its last descriptor is in the table.
            unsafe { (*self.granule(number + count - 1)).kind = NOUN_TAIL };
        }
        // SAFETY: the header is valid since `attach`.
        unsafe { (*self.header()).noun_used += u64::from(count) * GRANULE as u64 };
        Some((self.base + number as usize * GRANULE, Slot { granule: number, unit: 0 }))
    }

    #[cold]
    fn new_noun_span(&mut self, class: usize, fresh: &mut dyn FnMut(Fresh)) -> Option<u32> {
        let number = self.allocate_run(1, NOUN_SPAN, fresh)?;
        let free = SLOTS[class];
        // SAFETY: the run was just taken, so the granule is ours to lay out.
        unsafe {
            self.noun_span(number).write(NounSpan {
                class: class as u32,
                free_slots: free.iter().map(|word| word.count_ones()).sum(),
                listed: 0,
                next: 0,
                previous: 0,
                hint: 0,
                reserved: [0; 10],
                free,
            });
        }
        self.list_noun_span(number);
        Some(number)
    }

    fn list_noun_span(&mut self, number: u32) {
        // SAFETY: `number` is a span of nouns, and so is everything on its class's list.
        unsafe {
            let span = self.noun_span(number);
            let head = &raw mut (*self.header()).noun_partial[(*span).class as usize];
            (*span).listed = 1;
            (*span).previous = 0;
            (*span).next = *head;
            if *head != 0 {
                (*self.noun_span(*head)).previous = number;
            }
            *head = number;
        }
    }

    fn unlist_noun_span(&mut self, number: u32) {
        // SAFETY: `number` is a span on its class's list, and its neighbours are spans of nouns.
        unsafe {
            let span = self.noun_span(number);
            (*span).listed = 0;
            match (*span).previous {
                0 => (*self.header()).noun_partial[(*span).class as usize] = (*span).next,
                previous => (*self.noun_span(previous)).next = (*span).next,
            }
            if (*span).next != 0 {
                (*self.noun_span((*span).next)).previous = (*span).previous;
            }
        }
    }

    /// Whether `size` bytes at `address` lie where nouns lie and nothing else does. A noun that was kept too
    /// long may pass, and is then some other noun.
    #[inline]
    pub(crate) fn holds_nouns(&self, address: usize, size: usize) -> bool {
        let offset = address.wrapping_sub(self.base);
        let number = offset / GRANULE;
        if number >= self.frontier() as usize || !address.is_multiple_of(16) {
            return false;
        }
        let within = offset % GRANULE;
        // SAFETY: descriptors below the frontier are valid.
        match unsafe { (*self.granule(number as u32)).kind } {
            NOUN_SPAN => within >= FIRST && within + size <= GRANULE,
            NOUN_LARGE => within == 0,
            _ => false,
        }
    }

    /// Whether an atom of `size` bytes, header included, fits where one lies at `address`.
    #[inline]
    pub(crate) fn is_noun_room(&self, address: usize, size: usize) -> bool {
        if !self.holds_nouns(address, 16) {
            return false;
        }
        let offset = address - self.base;
        // SAFETY: `holds_nouns` has found the granule below the frontier.
        let granule = unsafe { *self.granule((offset / GRANULE) as u32) };
        let room = if granule.kind == NOUN_LARGE { granule.length as usize * GRANULE } else { GRANULE };
        size <= room - offset % GRANULE
    }

    /// The slot that starts at `address` and is in use, if there is one.
    #[inline]
    pub(crate) fn slot_at(&self, address: usize) -> Option<Slot> {
        if !self.holds_nouns(address, 16) {
            return None;
        }
        let offset = address - self.base;
        let slot = Slot { granule: (offset / GRANULE) as u32, unit: (offset % GRANULE / 16) as u32 };
        if slot.unit > 0 {
            let (word, bit) = (slot.unit as usize / 64, 1 << (slot.unit % 64));
            let span = self.noun_span(slot.granule);
            // SAFETY: a slot that does not start its granule lies in a span, as `holds_nouns` has found.
            let (class, free) = unsafe { ((*span).class, (*span).free[word]) };
            if SLOTS[class as usize][word] & bit == 0 || free & bit != 0 {
                return None;
            }
        }
        Some(slot)
    }

    /// Frees every noun of a granule that is not marked.
    pub(crate) fn sweep(&mut self, number: u32, marks: &Bitmap) -> Swept {
        // SAFETY: the granule is below the frontier: the caller goes through the table.
        let (kind, granules) = unsafe { ((*self.granule(number)).kind, (*self.granule(number)).length) };
        match kind {
            NOUN_LARGE if marks[0] & 1 == 0 => {
                let bytes = u64::from(granules) * GRANULE as u64;
                self.release_nouns(number, granules, bytes);
                Swept::Emptied { bytes, granules }
            }
            NOUN_LARGE => Swept::Freed(0),
            NOUN_SPAN => self.sweep_span(number, marks),
            _ => Swept::Other,
        }
    }

    fn sweep_span(&mut self, number: u32, marks: &Bitmap) -> Swept {
        let span = self.noun_span(number);
        // SAFETY: the granule is a span of nouns, as its descriptor says.
        unsafe {
            let class = (*span).class as usize;
            let slots = &SLOTS[class];
            let mut freed = 0;
            let mut live = 0;
            for ((free, mark), slots) in (*span).free.iter().zip(marks).zip(slots) {
                freed += (slots & !mark & !free).count_ones();
                live += (slots & mark).count_ones();
            }
            let bytes = u64::from(freed) * u64::from(CLASS_SIZES[class]);
            if live == 0 {
                if (*span).listed != 0 {
                    self.unlist_noun_span(number);
                }
                self.release_nouns(number, 1, bytes);
                return Swept::Emptied { bytes, granules: 1 };
            }
            // A page is written only if there is something to say.
            if freed > 0 {
                for ((free, mark), slots) in (*span).free.iter_mut().zip(marks).zip(slots) {
                    *free |= slots & !mark;
                }
                (*span).free_slots += freed;
                (*span).hint = 0;
                (*self.header()).noun_used -= bytes;
                if (*span).listed == 0 {
                    self.list_noun_span(number);
                }
            }
            Swept::Freed(bytes)
        }
    }

    fn release_nouns(&mut self, number: u32, granules: u32, bytes: u64) {
        // SAFETY: the run is below the frontier, and the header is valid since `attach`.
        unsafe {
            // The kinds of nouns are cleared before the run can become the inside of another.
            (*self.granule(number)).kind = 0;
            (*self.header()).noun_used -= bytes;
        }
        self.free_run(number, granules);
    }
}
