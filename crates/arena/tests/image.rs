//! The conformance suite of `Image`: every mechanism is held to the same.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use banyan_arena::image::{Image, InMemory, JamDoubleBuffer, Pma, Saved};
use banyan_arena::{Arena, ArenaOptions, DEFAULT_BASE};

/// `reopen` drops the place and opens it again, or gives it back as it is.
fn conforms(mut place: Box<dyn Image>, reopen: &mut dyn FnMut(Box<dyn Image>) -> Box<dyn Image>) {
    assert_eq!(place.load().unwrap(), None);
    let mut seed = 1_u64;
    for event in 0..60 {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let length = [0, 1, 100, 5000, 200_000][(seed >> 33) as usize % 5] + event as usize;
        let bytes: Vec<u8> = (0..length).map(|at| ((at as u64).wrapping_mul(seed) >> 7) as u8).collect();
        place.save(3, event, &bytes).unwrap();
        if event % 3 == 0 {
            place = reopen(place);
        }
        assert_eq!(place.load().unwrap(), Some(Saved { epoch: 3, event, bytes }));
    }
}

#[test]
fn in_memory_conforms() {
    conforms(Box::new(InMemory::default()), &mut |place| place);
}

#[test]
fn an_arena_conforms() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("state.arena");
    let base = DEFAULT_BASE + (64 << 36);
    let options = ArenaOptions { base, reservation: 1 << 32, ..ArenaOptions::default() };
    let open = || Box::new(Pma::open(&path, options).unwrap());
    conforms(open(), &mut |place| {
        drop(place);
        open()
    });
    let audit = Arena::open(&path, options).unwrap().store_mut().audit().unwrap();
    assert_eq!(audit.faults, Vec::<String>::new());
}

#[test]
fn a_double_buffer_conforms() {
    let directory = tempfile::tempdir().unwrap();
    let open = || Box::new(JamDoubleBuffer::open(directory.path()).unwrap());
    conforms(open(), &mut |place| {
        drop(place);
        open()
    });
}

/// A save that failed is not the state, although its file could be read: not in this handle, nor in the next.
#[test]
fn a_save_that_failed_is_not_loaded() {
    let directory = tempfile::tempdir().unwrap();
    let mut place = JamDoubleBuffer::open(directory.path()).unwrap();
    place.save(0, 1, b"first").unwrap();
    place.save(0, 2, b"second").unwrap();
    // What the failed save of the third left whole in the cache.
    let mut other = JamDoubleBuffer::open(directory.path()).unwrap();
    other.save(0, 3, b"third").unwrap();
    assert_eq!(place.load().unwrap().unwrap().event, 2);
    // One that cannot be written leaves no file behind.
    let third = directory.path().join("1.jam");
    std::fs::remove_file(&third).unwrap();
    std::os::unix::fs::symlink("/dev/full", &third).unwrap();
    place.save(0, 3, b"third").unwrap_err();
    assert_eq!(place.load().unwrap().unwrap().event, 2);
    assert_eq!(JamDoubleBuffer::open(directory.path()).unwrap().load().unwrap().unwrap().event, 2);
    place.save(0, 4, b"fourth").unwrap();
    assert_eq!(place.load().unwrap().unwrap().event, 4);
}

/// However the write of one file ends, the other file is there.
#[test]
fn a_torn_double_buffer_gives_the_state_before() {
    let directory = tempfile::tempdir().unwrap();
    let mut place = JamDoubleBuffer::open(directory.path()).unwrap();
    place.save(0, 1, b"first").unwrap();
    place.save(0, 2, b"second").unwrap();
    let newest = directory.path().join("0.jam");
    let whole = std::fs::read(&newest).unwrap();
    for length in 0..whole.len() {
        std::fs::write(&newest, &whole[..length]).unwrap();
        let saved = JamDoubleBuffer::open(directory.path()).unwrap().load().unwrap().unwrap();
        assert_eq!((saved.event, saved.bytes.as_slice()), (1, &b"first"[..]));
    }
    for byte in 0..whole.len() {
        let mut flipped = whole.clone();
        flipped[byte] ^= 1;
        std::fs::write(&newest, flipped).unwrap();
        assert_eq!(JamDoubleBuffer::open(directory.path()).unwrap().load().unwrap().unwrap().event, 1);
    }
}
