//! What a fuzzer calls: a heap whose words another process has written over, and the header of its file.
//!
//! Whatever is written there, what this process is given lies in the users' part, and what cannot be so is
//! refused. Not for what users do to each other's objects.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::ptr::NonNull;
use std::sync::OnceLock;
use std::time::Duration;

use crate::layout::{
    Geometry, HEADER_BYTES, Header, WORD_BINS, WORD_FRONTIER, WORD_GRANULE_TABLE, WORD_HOLDS, WORD_LOCK,
    WORD_LOG, WORD_PARTIAL, WORD_PARTICIPANTS, WORD_ROOTS, WORD_WAITS,
};
use crate::{Existing, Heap, Options, TypeOf};

/// Bytes of the users' part of the heap that is written over.
const SIZE: u64 = 2 << 20;
const GRANULES: usize = SIZE as usize / crate::layout::GRANULE;
/// Where the heap lies: no other one does.
const BASE: u64 = 0x6f00_0000_0000;
const NAME: &str = "fuzzed";
/// How long a lock is waited for that a living thread seems to have.
const PATIENCE: Option<Duration> = Some(Duration::from_millis(1));
/// Objects of each way in which memory is given.
const SIZES: [(usize, usize); 7] =
    [(16, 16), (100, 4), (5000, 8), (8000, 4096), (9000, 16), (70_000, 64), (200_000, 65_536)];
/// Bytes of one change of a word: its number and its value.
const PATCH_BYTES: usize = 12;

/// Decodes the header of a heap's file from bytes that are not to be believed; whether it is one.
#[must_use]
pub fn header(bytes: &[u8; HEADER_BYTES], file_bytes: u64) -> bool {
    Header::decode(bytes, file_bytes).is_some()
}

/// A heap as it may be left, with objects of each kind, names and locks, in parts that are not zero.
fn sample(directory: &Path) -> io::Result<Vec<(u64, Vec<u8>)>> {
    let options = Options::new().size(SIZE).directory(directory).address(BASE).existing(Existing::Create);
    let make = || -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let heap = Heap::open(NAME, &options)?;
        heap.slice::<u64>("field", 100)?;
        heap.slice::<u8>("large", 150_000)?;
        *heap.mutex("total", 5_u64)?.lock()?.repaired(|_| {})? += 1;
        heap.barrier("barrier", 1)?;
        heap.once("once")?;
        for (bytes, align) in SIZES {
            let object = heap.allocate(bytes, align)?;
            heap.allocate(bytes, align)?;
            heap.free_object(object.as_ptr().addr())?;
        }
        Ok(())
    };
    make().map_err(io::Error::other)?;
    let path = directory.join(NAME);
    let bytes = std::fs::read(&path)?;
    std::fs::remove_file(path)?;
    let pieces = (0_u64..).zip(bytes.chunks(4096)).filter(|(_, piece)| piece.iter().any(|byte| *byte != 0));
    Ok(pieces.map(|(number, piece)| (number * 4096, piece.to_vec())).collect())
}

/// Opens a heap of which words are changed: for each its number in four bytes, and its value in eight. Uses
/// it in every way. `directory` is of a memory file system, and of this caller alone.
///
/// # Panics
/// When something outside of the users' part is given, or the file system fails.
pub fn words(bytes: &[u8], directory: &Path) {
    static SAMPLE: OnceLock<Vec<(u64, Vec<u8>)>> = OnceLock::new();
    let sample = SAMPLE.get_or_init(|| sample(directory).expect("memory has room"));
    let path = directory.join(NAME);
    let write = || -> io::Result<()> {
        let file = File::create(&path)?;
        let length = Geometry { granules: GRANULES }.file_bytes() as u64;
        file.set_len(length)?;
        for (offset, piece) in sample {
            file.write_all_at(piece, *offset)?;
        }
        for patch in bytes.chunks_exact(PATCH_BYTES) {
            let (number, value) = patch.split_at(4);
            let number = u64::from(number.iter().rev().fold(0_u32, |all, byte| all << 8 | u32::from(*byte)));
            let mut value: [u8; 8] = value.try_into().expect("eight bytes are left");
            if number == WORD_LOCK as u64 {
                // Who lives may have the heap's lock for as long as it likes; these are dead.
                value[4..].copy_from_slice(&u32::MAX.to_le_bytes());
            }
            file.write_all_at(&value, number * 8 % (length - 8) / 8 * 8)?;
        }
        Ok(())
    };
    write().expect("memory has room");
    let options = Options::new().directory(directory).existing(Existing::Attach);
    // Why it is refused is for people. A header that is good elsewhere would be mapped elsewhere.
    if let Ok(heap) = Heap::open(NAME, &options).map_err(|error| error.to_string()) {
        use_it(&heap);
    }
    std::fs::remove_file(path).expect("it is there");
}

fn use_it(heap: &Heap) {
    let (first, last) = heap.attachment().memory().data();
    let inside = |address: usize, bytes: usize| {
        let end = address.checked_add(bytes).expect("an object ends before the addresses do");
        assert!(address >= first && end <= last, "{address:#x} and {bytes} bytes are outside of the heap");
    };
    if let Ok(info) = heap.info() {
        for root in info.roots {
            inside(heap.address() + root.offset, root.bytes);
        }
    }
    let mut objects: Vec<NonNull<u8>> = Vec::new();
    for (bytes, align) in SIZES {
        match heap.allocate(bytes, align) {
            Ok(object) => {
                let address = object.as_ptr().addr();
                inside(address, bytes);
                assert!(address.is_multiple_of(align));
                objects.push(object);
            }
            Err(error) => assert!(!error.to_string().is_empty()),
        }
    }
    // What its words say that they are objects: those of this process, and any other place.
    let granules = (first..last).step_by(crate::layout::GRANULE);
    let places = objects.iter().map(|object| object.as_ptr().addr()).chain(granules);
    for address in places.collect::<Vec<_>>() {
        let object = NonNull::new(std::ptr::without_provenance_mut(address)).expect("a heap begins above 0");
        if let Ok(bytes) = heap.usable_size(object) {
            inside(address, bytes);
        }
        let _ = heap.free_object(address);
    }
    for name in ["field", "total", "new"] {
        if let Ok(Some(root)) = heap.root(name) {
            inside(heap.address() + root.offset, root.bytes);
        }
        let _ = heap.root_or_new(name, &TypeOf::new("u64", 8, 8), 8, 8);
    }
    if let Ok(field) = heap.slice::<u64>("field", 100) {
        assert!(field.set(99, 1) && field.get(100).is_none());
    }
    if let Ok(total) = heap.mutex("total", 5_u64) {
        let _ = total.lock_within(PATIENCE).map(drop);
    }
    let _ = heap.rwlock("shared", 5_u64).and_then(|lock| Ok(lock.read(PATIENCE).map(drop)?));
    let _ = heap.barrier("barrier", 1).and_then(|barrier| Ok(barrier.wait(PATIENCE)?));
    let _ = heap.once("once").and_then(|once| Ok(once.is_done()?));
    let _ = heap.remove_root("field");
}

/// Changes in each part of the metadata, each to a word that it may well have.
#[must_use]
pub fn word_inputs() -> Vec<Vec<u8>> {
    let granules = GRANULES as u64;
    let descriptor = |granule: usize, word: usize| WORD_GRANULE_TABLE + granule * 4 + word;
    let changes: [&[(usize, u64)]; 9] = [
        &[(WORD_FRONTIER, granules), (WORD_FRONTIER + 1, 1)],
        &[(WORD_LOCK, 1), (WORD_LOG, 1), (WORD_LOG + 1, WORD_FRONTIER as u64), (WORD_LOG + 2, 3)],
        &[(WORD_PARTIAL, 1), (WORD_PARTIAL + 7, 3), (WORD_PARTIAL + 31, 2)],
        &[(WORD_BINS, 2), (WORD_BINS + 1, 4), (WORD_BINS + 2, 8)],
        &[(WORD_PARTICIPANTS, 5), (WORD_PARTICIPANTS + 8, 5), (WORD_HOLDS + 3, 1 << 40)],
        &[(WORD_WAITS, 1 << 42 | 7), (WORD_WAITS + 1, BASE + (1 << 19)), (WORD_WAITS + 2, 9)],
        &[(WORD_ROOTS + 1, u64::MAX), (WORD_ROOTS + 18, SIZE), (WORD_ROOTS + 3, 64)],
        &[(descriptor(0, 0), 3), (descriptor(0, 1), 2), (descriptor(0, 3), 1 << 40)],
        &[(descriptor(3, 0), 4), (descriptor(4, 2), 1 << 32 | 2), (descriptor(9, 0), 0x105)],
    ];
    let bytes =
        |(word, value): &(usize, u64)| [&(*word as u32).to_le_bytes()[..], &value.to_le_bytes()].concat();
    changes.iter().map(|changes| changes.iter().flat_map(bytes).collect()).collect()
}
