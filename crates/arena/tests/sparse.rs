//! Heaps that are mostly holes, and the largest there are.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::alloc::Layout;

use banyan_arena::inspect::{self, Export};
use banyan_arena::{Arena, ArenaOptions, Loading};

/// What is freed costs what was in it, not its size.
#[test]
fn freeing_holes_costs_nothing() {
    for loading in [Loading::Eager, Loading::Lazy] {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a");
        let options =
            ArenaOptions { base: 0x2f00_0000_0000, reservation: 1 << 39, loading, ..ArenaOptions::default() };
        let mut arena = Arena::create(&path, options).unwrap();
        let layout = Layout::from_size_align(200 << 30, 16).unwrap();
        let object = arena.allocate(layout).unwrap();
        let pages = [0_usize, 12_345, (200 << 18) - 1];
        for page in pages {
            // SAFETY: the page lies in the object.
            unsafe { object.as_ptr().add(page * 4096).write(7) };
        }
        arena.commit(1, 1).unwrap();
        let before = arena.store().statistics();
        // SAFETY: the object was allocated with this layout and is used no more.
        unsafe { arena.free(object, layout) };
        match loading {
            Loading::Eager => drop(arena.commit(1, 2).unwrap()),
            _ => {
                arena.begin_commit(1, 2).unwrap();
                arena.wait().unwrap();
            }
        }
        let after = arena.store().statistics();
        assert!(after.bytes_written - before.bytes_written < 1 << 20, "{before:?} {after:?}");
        // The pages are zero: in memory, after a rollback, and when opened again.
        let again = arena.allocate(layout).unwrap();
        let read = |page: usize| {
            // SAFETY: the page lies in the object, which has the place of the one before.
            unsafe { again.as_ptr().add(page * 4096).read_volatile() }
        };
        assert_eq!((again, pages.map(read)), (object, [0; 3]), "{loading:?}");
        arena.rollback().unwrap();
        assert_eq!(pages.map(read), [0; 3], "{loading:?}");
        drop(arena);
        let arena = Arena::open(&path, options).unwrap();
        assert_eq!((arena.position().event, pages.map(read)), (2, [0; 3]), "{loading:?}");
        assert!(arena.used() < 1 << 20);
    }
}

/// What many small objects had is in no commit once they are freed, and is there for others.
#[test]
fn small_objects_that_are_freed_leave_no_pages() {
    for (number, loading) in [Loading::Eager, Loading::Lazy].into_iter().enumerate() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a");
        let base = 0x2e00_0000_0000 + ((number as u64) << 38);
        let options = ArenaOptions { base, reservation: 1 << 36, loading, ..ArenaOptions::default() };
        let mut arena = Arena::create(&path, options).unwrap();
        arena.commit(0, 0).unwrap();
        let empty = arena.store().pages().unwrap().len();
        let layout = Layout::from_size_align(64, 8).unwrap();
        let mut objects: Vec<std::ptr::NonNull<u8>> = Vec::new();
        for round in 1..4 {
            for at in 0..200_000_u64 {
                let object = arena.allocate(layout).unwrap();
                // SAFETY: the object has 64 bytes.
                unsafe { object.cast::<[u64; 8]>().write([at | 1; 8]) };
                objects.push(object);
            }
            arena.commit(1, round).unwrap();
            assert!(arena.store().pages().unwrap().len() > 3000);
            // In an order in which spans empty late.
            for half in [0, 1] {
                for object in objects.iter().skip(half).step_by(2) {
                    // SAFETY: the object was allocated above with this layout, and is used no more.
                    unsafe { arena.free(*object, layout) };
                }
            }
            objects.clear();
            match loading {
                Loading::Eager => drop(arena.commit(2, round).unwrap()),
                _ => {
                    arena.begin_commit(2, round).unwrap();
                    arena.wait().unwrap();
                }
            }
            let left = arena.store().pages().unwrap().len();
            assert!(left <= empty + 40, "{left} pages after round {round}, {empty} before");
            // What is there again is not given back.
            let large = Layout::from_size_align(4 << 20, 16).unwrap();
            let object = arena.allocate(large).unwrap();
            // SAFETY: the object has this size.
            unsafe { object.write_bytes(round as u8, 4 << 20) };
            arena.commit(3, round).unwrap();
            drop(arena);
            arena = Arena::open(&path, options).unwrap();
            // SAFETY: as above; the heap is where it was.
            let bytes = unsafe { std::slice::from_raw_parts(object.as_ptr(), 4 << 20) };
            assert!(bytes.iter().all(|byte| *byte == round as u8), "{loading:?}");
            // SAFETY: as above, and it is used no more.
            unsafe { arena.free(object, large) };
        }
    }
}

/// Bytes of this process's memory that a range of addresses takes.
fn resident(range: std::ops::Range<u64>) -> u64 {
    let maps = std::fs::read_to_string("/proc/self/smaps").unwrap();
    let mut is_inside = false;
    let mut kilobytes = 0;
    for line in maps.lines() {
        let first = line.split(' ').next().unwrap();
        if let Some((start, _)) = first.split_once('-') {
            is_inside = range.contains(&u64::from_str_radix(start, 16).unwrap());
        } else if is_inside && first == "Rss:" {
            kilobytes += line.split_ascii_whitespace().nth(1).unwrap().parse::<u64>().unwrap();
        }
    }
    kilobytes << 10
}

/// Small objects that come and go by the hundred thousand: memory, export and a compacted file are as small
/// as before, and the file itself grows in the first rounds only.
#[test]
fn rounds_of_small_objects_leave_memory_file_and_export_as_they_were() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a");
    let base = 0x2d00_0000_0000;
    let options = ArenaOptions { base, reservation: 1 << 36, ..ArenaOptions::default() };
    let mut arena = Arena::create(&path, options).unwrap();
    let layout = Layout::from_size_align(48, 16).unwrap();
    let empty = std::fs::metadata(&path).unwrap().len();
    let mut lengths = Vec::new();
    for round in 1..=8 {
        // 12 MB and more.
        let objects: Vec<_> = (0..250_000 + round * 1000).map(|_| arena.allocate(layout).unwrap()).collect();
        for object in &objects {
            // SAFETY: the object has 48 bytes.
            unsafe { object.cast::<[u64; 6]>().write([round; 6]) };
        }
        arena.commit(1, round).unwrap();
        assert!(resident(base..base + (1 << 36)) > 12_000_000);
        for object in objects {
            // SAFETY: the object was allocated above with this layout, and is used no more.
            unsafe { arena.free(object, layout) };
        }
        arena.commit(2, round).unwrap();
        let resident = resident(base..base + (1 << 36));
        assert!(resident < 1 << 20, "{resident} bytes of memory after round {round}");
        lengths.push(std::fs::metadata(&path).unwrap().len());
    }
    assert!(lengths[7] <= lengths[3], "the file grows with every round: {lengths:?}");
    drop(arena);
    let output = directory.path().join("export");
    inspect::export(&path, Export::default(), &output, &mut |_, _| {}).unwrap();
    let exported = std::fs::metadata(&output).unwrap().len();
    assert!(exported < 1 << 20, "{exported} bytes are exported");
    // An arena that holds nothing has a segment of its log.
    let compacted = inspect::compact(&path, &mut |_, _| {}).unwrap().after;
    assert!(compacted < empty + (1 << 20), "{compacted} bytes are left of {lengths:?}, {empty} at first");
}

/// The last page of the largest reservation has the largest number that there is.
#[test]
fn the_last_page_of_the_largest_heap_is_in_use() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a");
    let options = ArenaOptions { base: 0x3000_0000_0000, reservation: 16 << 40, ..ArenaOptions::default() };
    let mut arena = Arena::create(&path, options).unwrap();
    *arena.boxed("n", || 0_u64).unwrap() = 42;
    let (mut size, mut last) = (8_usize << 40, None);
    while size >= 65536 {
        let layout = Layout::from_size_align(size, 16).unwrap();
        match arena.allocate(layout) {
            Ok(object) => last = Some((object, layout)),
            Err(_) => size /= 2,
        }
    }
    let (object, layout) = last.unwrap();
    // SAFETY: the word is the object's last.
    let word = unsafe { object.cast::<u64>().as_ptr().add(layout.size() / 8 - 1) };
    assert_eq!(word as u64 + 8, options.base + options.reservation);
    // SAFETY: as above.
    unsafe { word.write(9) };
    arena.commit(1, 1).unwrap();
    let used = arena.used();
    for folded in [false, true] {
        if folded {
            arena.fold().unwrap();
        }
        drop(arena);
        arena = Arena::open(&path, ArenaOptions { loading: Loading::Lazy, ..options }).unwrap();
        assert_eq!((arena.used(), *arena.boxed("n", || 0_u64).unwrap()), (used, 42), "folded: {folded}");
        // SAFETY: as above.
        assert_eq!(unsafe { word.read_volatile() }, 9, "folded: {folded}");
    }
    // SAFETY: the object was allocated with this layout and is used no more.
    unsafe { arena.free(object, layout) };
    arena.commit(1, 2).unwrap();
    drop(arena);
    let arena = Arena::open(&path, ArenaOptions { loading: Loading::Lazy, ..options }).unwrap();
    assert!(arena.used() < used);
}
