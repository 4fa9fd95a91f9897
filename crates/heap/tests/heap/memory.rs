//! Allocations of several processes, some of which are killed.

use crate::raw;
use crate::support::{Place, eventually, hear, say};
use banyan_heap::{AllocateError, Heap, Room};
use std::ptr::NonNull;
use std::time::{Duration, Instant};

/// Allocates and frees at random until it is told to end or killed; what it has is filled with its number,
/// and must stay so.
pub(crate) fn churn(heap: &Heap, words: &[String]) {
    let seed: u64 = words[0].parse().unwrap();
    let rounds: u64 = words[1].parse().unwrap();
    let mut random = fastrand::Rng::with_seed(seed);
    let mut mine: Vec<(NonNull<u8>, usize, u8)> = Vec::new();
    say("begins");
    for round in 0..rounds {
        if mine.len() > 60 || (!mine.is_empty() && random.bool()) {
            let (object, bytes, value) = mine.swap_remove(random.usize(..mine.len()));
            assert!(raw::is_filled(object, bytes, value), "nobody else has written there");
            raw::free(heap, object).unwrap();
            continue;
        }
        let bytes = if random.u32(..20) == 0 { random.usize(1..200_000) } else { random.usize(1..3000) };
        let align = 1 << random.u32(..8);
        let object = heap.allocate(bytes, align).unwrap();
        assert!((object.as_ptr() as usize).is_multiple_of(align));
        assert!(heap.usable_size(object).unwrap() >= bytes);
        let value = (seed ^ round) as u8;
        raw::fill(object, bytes, value);
        mine.push((object, bytes, value));
    }
    for (object, bytes, value) in mine {
        assert!(raw::is_filled(object, bytes, value));
        raw::free(heap, object).unwrap();
    }
    say("done");
    hear();
}

#[test]
fn processes_that_are_killed_leave_the_others_their_memory() {
    let place = Place::new();
    let heap = place.open();
    let mut steady = place.start("churn", &["1", "4000"]);
    let mut random = fastrand::Rng::with_seed(7);
    for seed in 0..12_u32 {
        let mut victim = place.start("churn", &[&(seed + 2).to_string(), "1000000"]);
        victim.says("begins");
        std::thread::sleep(Duration::from_micros(random.u64(500..30_000)));
        victim.kill();
        let object = heap.allocate(100, 16).unwrap();
        raw::free(&heap, object).unwrap();
    }
    steady.says("begins");
    steady.says("done");
    steady.tell("end");
    steady.ends_well();
    assert_eq!(heap.info().unwrap().participants.len(), 1);
}

#[test]
fn a_full_heap_says_who_has_what_and_is_whole_after() {
    let place = Place::new();
    let heap = place.open();
    let _field = heap.slice::<u8>("field", 40 << 20).unwrap();
    let _table = heap.slice::<u8>("table", 1 << 20).unwrap();
    let error = heap.allocate(40 << 20, 16).unwrap_err();
    let text = error.to_string();
    assert!(text.contains("of which field has 41943040, table has 1048576"), "{text}");
    let mut objects = Vec::new();
    loop {
        match heap.allocate(8192, 16) {
            Ok(object) => objects.push(object),
            Err(AllocateError::NoRoom { .. }) => break,
            Err(error) => panic!("{error}"),
        }
    }
    assert!(objects.len() >= (22 << 20) / 8192);
    let before = heap.info().unwrap().used;
    for object in objects {
        raw::free(&heap, object).unwrap();
    }
    assert!(heap.info().unwrap().used < before);
    let all = heap.allocate(22 << 20, 16).unwrap();
    assert!(raw::free(&heap, all).is_ok() && raw::free(&heap, all).is_err(), "freed twice");
    assert!(heap.usable_size(NonNull::dangling()).is_err());
    assert!(matches!(heap.allocate(1, 3), Err(AllocateError::BadAlignment(3))));
    assert!(matches!(heap.allocate(usize::MAX, 16), Err(AllocateError::NoRoom { .. })));
}

#[test]
fn memory_of_the_machine_follows_what_is_allocated() {
    let place = Place::new();
    let used = || {
        let file = std::fs::metadata(place.path().join("test")).unwrap();
        std::os::unix::fs::MetadataExt::blocks(&file) * 512
    };
    let heap = place.open();
    let empty = used();
    assert!(empty < 1 << 20, "a heap of 64 MiB takes {empty} bytes");
    let object = heap.allocate(20 << 20, 16).unwrap();
    assert!(used() >= 20 << 20, "taken before it is touched");
    raw::fill(object, 20 << 20, 1);
    raw::free(&heap, object).unwrap();
    assert!(used() < empty + (1 << 20), "given back");
    let object = heap.allocate(20 << 20, 16).unwrap();
    assert!(raw::is_filled(object, 20 << 20, 0));
    let lazy = Heap::open("lazy", &place.options().room(Room::OnTouch)).unwrap();
    let before = std::fs::metadata(place.path().join("lazy")).unwrap();
    lazy.allocate(20 << 20, 16).unwrap();
    let after = std::fs::metadata(place.path().join("lazy")).unwrap();
    let blocks = |file: &std::fs::Metadata| std::os::unix::fs::MetadataExt::blocks(file);
    assert!(blocks(&after) < blocks(&before) + 100);
}

#[test]
fn what_the_dead_had_begun_is_room_again() {
    let place = Place::new();
    let heap = place.open();
    for at in ["object.pending", "object.discarded"] {
        let mut dying = place.start_dying("churn", &["3", "1000000"], at);
        if cfg!(debug_assertions) {
            assert!(!dying.ends().success());
        } else {
            dying.says("begins");
            dying.kill();
        }
    }
    let began = Instant::now();
    eventually("all but what the dead had is had again", || {
        let mut large = Vec::new();
        let mut bytes = 32 << 20;
        while bytes >= 64 << 10 {
            match heap.allocate(bytes, 16) {
                Ok(object) => large.push((object, bytes)),
                Err(AllocateError::NoRoom { .. }) => bytes /= 2,
                Err(error) => panic!("{error}"),
            }
        }
        let total: usize = large.iter().map(|(_, bytes)| bytes).sum();
        for (object, _) in large {
            raw::free(&heap, object).unwrap();
        }
        total + heap.info().unwrap().used as usize > 60 << 20 && began.elapsed() < Duration::from_secs(20)
    });
}
