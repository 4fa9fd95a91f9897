//! Where everything lies in a heap's file, and the decoder of its header.
//!
//! The first part is metadata, words of 64 bits in fixed places; the users' part follows, in granules of 64
//! KiB. Sizes depend on the number of granules alone. Not for what the words mean: the table's own module
//! says.
//!
//! Invariant: nothing of the metadata lies in the users' part, so a program that writes past the end of an
//! object damages other objects, never the allocator.

/// Bytes of a page.
pub(crate) const PAGE: usize = 4096;
/// Bytes of a granule.
pub(crate) const GRANULE: usize = 64 << 10;
/// Bytes of a cell that a lock takes; locks are aligned to it.
pub(crate) const LOCK_BYTES: usize = 64;

/// The second word of a barrier's cell, see `sync::cell`.
pub(crate) const BARRIER_TAG: u64 = u64::from_le_bytes(*b"BNKBARR1");
/// In the third word of a barrier: a process that uses it died.
pub(crate) const BARRIER_BROKEN: u64 = 1;

/// First word: what kind of file, and the version of its layout.
const MAGIC: u64 = u64::from_le_bytes(*b"BnyHeap\x01");

// Words of the header.
const WORD_MAGIC: usize = 0;
const WORD_BASE: usize = 1;
const WORD_GRANULES: usize = 2;
const WORD_MODEL: usize = 3;
/// Nanoseconds for which the heap outlives its last user; `u64::MAX`: until it is unlinked.
pub(crate) const WORD_LEASE: usize = 4;
/// When the heap was first seen without users (`CLOCK_BOOTTIME`); 0 while it has some.
pub(crate) const WORD_UNUSED_SINCE: usize = 5;
const WORD_ROOM: usize = 6;
/// Granules below this number were handed out.
pub(crate) const WORD_FRONTIER: usize = 8;
/// Bytes in use by objects.
pub(crate) const WORD_USED: usize = 9;
/// Processes that ended without saying so.
pub(crate) const WORD_DEATHS: usize = 10;
/// Changes with every root that is set; threads wait for it.
pub(crate) const WORD_ROOTS_CHANGED: usize = 11;
/// The lock of allocator and roots, with a cache line of its own.
pub(crate) const WORD_LOCK: usize = 16;
/// For each size class, the first span that has room, as a granule number plus 1.
pub(crate) const WORD_PARTIAL: usize = 32;
/// Size classes.
pub(crate) const CLASSES: usize = 32;
/// Free runs of granules by the power of two of their length, as a granule number plus 1.
pub(crate) const WORD_BINS: usize = WORD_PARTIAL + CLASSES;
/// Powers of two.
pub(crate) const BINS: usize = 28;

/// Processes that can be attached at a time.
pub(crate) const PARTICIPANTS: usize = 1024;
/// Words of each.
pub(crate) const PARTICIPANT_WORDS: usize = 8;
/// Words of their table.
pub(crate) const WORD_PARTICIPANTS: usize = PAGE / 8;

/// Buckets of the table of readers.
pub(crate) const HOLD_BUCKETS: usize = 64;
/// Places in each.
pub(crate) const HOLD_PLACES: usize = 512;
/// Where it begins.
pub(crate) const WORD_HOLDS: usize = WORD_PARTICIPANTS + PARTICIPANTS * PARTICIPANT_WORDS;

/// Threads whose waits are recorded at a time.
pub(crate) const WAITS: usize = 512;
/// Words of each.
pub(crate) const WAIT_WORDS: usize = 4;
/// Where their table begins.
pub(crate) const WORD_WAITS: usize = WORD_HOLDS + HOLD_BUCKETS * HOLD_PLACES;

/// Named roots.
pub(crate) const ROOTS: usize = 1024;
/// Words of each.
pub(crate) const ROOT_WORDS: usize = 16;
/// Where their table begins.
pub(crate) const WORD_ROOTS: usize = WORD_WAITS + WAITS * WAIT_WORDS;

/// Where the log of the change that is under way begins: how many entries, then pairs of place and old value.
pub(crate) const WORD_LOG: usize = WORD_ROOTS + ROOTS * ROOT_WORDS;
/// Pairs.
pub(crate) const LOG_ENTRIES: usize = 255;

/// Where the table of granules begins.
pub(crate) const WORD_GRANULE_TABLE: usize = 128 * PAGE / 8;
/// Words of each granule's descriptor.
pub(crate) const GRANULE_WORDS: usize = 4;
/// Words of each granule's bitmap: a bit for each of its smallest objects.
pub(crate) const BITMAP_WORDS: usize = GRANULE / 16 / 64;

const _: () = assert!(WORD_BINS + BINS <= WORD_PARTICIPANTS);
const _: () = assert!(WORD_LOG + 1 + 2 * LOG_ENTRIES <= WORD_GRANULE_TABLE);

/// Bytes that every heap has in its file from the start.
pub(crate) const FIXED_BYTES: usize = WORD_GRANULE_TABLE * 8;
/// Most granules of a heap: as many as the range for heaps has.
pub(crate) const GRANULES_MAX: usize =
    (banyan_wire::address_space::EXPLICIT_HEAPS.bytes() as usize) / GRANULE;

/// The places that depend on the number of granules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Geometry {
    /// Granules of the users' part.
    pub(crate) granules: usize,
}

impl Geometry {
    /// First word of the bitmaps.
    pub(crate) const fn bitmaps(self) -> usize {
        WORD_GRANULE_TABLE + self.granules * GRANULE_WORDS
    }

    /// Bytes of the metadata: where the users' part begins in the file.
    pub(crate) const fn metadata_bytes(self) -> usize {
        ((self.bitmaps() + self.granules * BITMAP_WORDS) * 8).next_multiple_of(GRANULE)
    }

    /// Bytes of the users' part.
    pub(crate) const fn data_bytes(self) -> usize {
        self.granules * GRANULE
    }

    /// Bytes of the file.
    pub(crate) const fn file_bytes(self) -> usize {
        self.metadata_bytes() + self.data_bytes()
    }
}

/// What writes of the heap's users mean to each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Model {
    /// As on one machine: every write is seen by all, in one order.
    #[default]
    Sequential,
    /// Writes are seen by a thread that acquires what was released after them.
    Release,
    /// Writes are seen after a while, the last writer of a cell wins.
    Eventual,
}

impl Model {
    /// Its word on the command line and in other languages.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Sequential => "sequential",
            Self::Release => "release",
            Self::Eventual => "eventual",
        }
    }

    const fn number(self) -> u64 {
        match self {
            Self::Sequential => 0,
            Self::Release => 1,
            Self::Eventual => 2,
        }
    }
}

/// When memory is taken from the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Room {
    /// When it is allocated, so that an allocation fails where memory is short, and no later access does.
    #[default]
    Reserved,
    /// When it is touched: for large objects of which little is used. An access for which there is no memory
    /// ends in SIGBUS.
    OnTouch,
}

/// What the header says that does not change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) base: u64,
    pub(crate) geometry: Geometry,
    pub(crate) model: Model,
    pub(crate) room: Room,
    pub(crate) lease_ns: u64,
    pub(crate) unused_since_ns: u64,
}

/// Bytes of the header that its decoder reads.
pub(crate) const HEADER_BYTES: usize = 64;

impl Header {
    /// The words of a new file; the others are zero.
    pub(crate) fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        let room = u64::from(self.room == Room::OnTouch);
        for (word, value) in [
            (WORD_MAGIC, MAGIC),
            (WORD_BASE, self.base),
            (WORD_GRANULES, self.geometry.granules as u64),
            (WORD_MODEL, self.model.number()),
            (WORD_LEASE, self.lease_ns),
            (WORD_UNUSED_SINCE, self.unused_since_ns),
            (WORD_ROOM, room),
        ] {
            bytes[word * 8..word * 8 + 8].copy_from_slice(&value.to_le_bytes());
        }
        bytes
    }

    /// Reads what a file of `file_bytes` begins with. Believes nothing: everything that is computed from a
    /// header that this gives stays inside of the file and of the address space.
    pub(crate) fn decode(bytes: &[u8; HEADER_BYTES], file_bytes: u64) -> Option<Self> {
        let word = |number: usize| {
            let mut word = [0; 8];
            word.copy_from_slice(&bytes[number * 8..number * 8 + 8]);
            u64::from_le_bytes(word)
        };
        let granules = usize::try_from(word(WORD_GRANULES)).ok()?;
        if word(WORD_MAGIC) != MAGIC || granules == 0 || granules > GRANULES_MAX {
            return None;
        }
        let header = Self {
            base: word(WORD_BASE),
            geometry: Geometry { granules },
            model: [Model::Sequential, Model::Release, Model::Eventual]
                .into_iter()
                .find(|model| model.number() == word(WORD_MODEL))?,
            room: match word(WORD_ROOM) {
                0 => Room::Reserved,
                1 => Room::OnTouch,
                _ => return None,
            },
            lease_ns: word(WORD_LEASE),
            unused_since_ns: word(WORD_UNUSED_SINCE),
        };
        let length = header.geometry.file_bytes() as u64;
        let end = header.base.checked_add(length)?;
        let is_possible = header.base >= 1 << 16
            && header.base.is_multiple_of(GRANULE as u64)
            && end <= 1 << 47
            && file_bytes == length;
        is_possible.then_some(header)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> Header {
        Header {
            base: 0x6800_0000_0000,
            geometry: Geometry { granules: 100 },
            model: Model::Release,
            room: Room::OnTouch,
            lease_ns: 7,
            unused_since_ns: 8,
        }
    }

    #[test]
    fn tables_are_where_the_document_has_them() {
        let words = [WORD_PARTICIPANTS, WORD_HOLDS, WORD_WAITS, WORD_ROOTS, WORD_LOG, WORD_GRANULE_TABLE];
        assert_eq!(words.map(|word| word * 8), [4096, 69_632, 331_776, 348_160, 479_232, 524_288]);
        assert_eq!((WORD_BINS, WORD_BINS + BINS), (64, 92));
    }

    #[test]
    fn a_header_survives_its_bytes() {
        let bytes = header().encode();
        let length = header().geometry.file_bytes() as u64;
        assert_eq!(Header::decode(&bytes, length), Some(header()));
        assert_eq!(Header::decode(&bytes, length + 1), None, "a file of another length");
        assert_eq!(Header::decode(&[0; HEADER_BYTES], length), None);
    }

    #[test]
    fn a_damaged_header_is_refused_or_stays_inside() {
        let length = header().geometry.file_bytes() as u64;
        for bit in 0..HEADER_BYTES * 8 {
            let mut bytes = header().encode();
            bytes[bit / 8] ^= 1 << (bit % 8);
            if let Some(damaged) = Header::decode(&bytes, length) {
                assert_eq!(damaged.geometry.file_bytes() as u64, length);
                assert!(damaged.base + length <= 1 << 47);
            }
        }
    }
}
