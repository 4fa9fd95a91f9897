//! Processes that die at named places of the library, one after the other: see `death` there. In builds
//! without debug assertions there are no such places, and these tests try none.

use crate::raw;
use crate::support::{Place, eventually, say};
use banyan_heap::{Existing, Heap, TypeOf};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// Allocates, names and frees, one of each, many times.
pub(crate) fn change(heap: &Heap, _: &[String]) {
    for number in 0..200 {
        let small = heap.allocate(48, 16).unwrap();
        let large = heap.allocate(100_000, 16).unwrap();
        heap.set_root(&format!("root {}", number % 7), small, 48, &TypeOf::new("bytes", 1, 1)).unwrap();
        raw::free(heap, large).unwrap();
        raw::free(heap, small).unwrap();
        heap.remove_root(&format!("root {}", number % 5)).unwrap();
    }
    say("done");
}

#[test]
fn a_death_in_any_change_of_the_heaps_own_part_is_taken_back_by_the_next_user() {
    if !cfg!(debug_assertions) {
        return;
    }
    let place = Place::new();
    let heap = place.open();
    for times in (1..400).step_by(7) {
        let mut dying = place.start_dying("change", &[], &format!("change:{times}"));
        assert!(!dying.ends().success(), "it came to the place");
        let began = Instant::now();
        let object = heap.allocate(48, 16).unwrap();
        assert!(began.elapsed() < Duration::from_secs(20));
        raw::free(&heap, object).unwrap();
        for root in heap.roots().unwrap() {
            assert!(root.name.starts_with("root ") && root.bytes == 48, "whole or not there: {root:?}");
        }
    }
    place.start("change", &[]).says("done");
}

/// Uses every lock, in turns with all others.
pub(crate) fn use_locks(heap: &Heap, words: &[String]) {
    let rounds: u64 = words[0].parse().unwrap();
    let mutex = heap.mutex::<[u64; 2]>("mutex", [0; 2]).unwrap();
    let lock = heap.rwlock::<[u64; 2]>("lock", [0; 2]).unwrap();
    let condition = heap.condition("condition").unwrap();
    let turns = heap.atomic_u64("turns").unwrap();
    for round in 0..rounds {
        let guard = mutex.lock().unwrap().repaired(|it| it[0] = it[1]).unwrap();
        let held = condition.wait_until(guard, Some(Duration::from_millis(1)), |_| round % 3 != 0).unwrap();
        let mut guard = held.repaired(|it| it[0] = it[1]).unwrap();
        assert_eq!(guard[0], guard[1]);
        guard[0] += 1;
        guard[1] += 1;
        drop(guard);
        condition.notify_one().unwrap();
        if round % 4 == 0 {
            let mut twin = lock.write(None).unwrap().repaired(|it| it[0] = it[1]).unwrap();
            assert_eq!(twin[0], twin[1]);
            twin[0] += 1;
            twin[1] += 1;
        } else {
            drop(lock.read(None).unwrap());
        }
        turns.fetch_add(1, Ordering::SeqCst);
    }
    say("done");
}

#[test]
fn a_death_at_any_place_of_a_lock_delays_the_others_by_moments() {
    if !cfg!(debug_assertions) {
        return;
    }
    let place = Place::new();
    let heap = place.open();
    let turns = heap.atomic_u64("turns").unwrap();
    let mut steady = [place.start("locks", &["100000000"]), place.start("locks", &["100000000"])];
    eventually("they take turns", || turns.load(Ordering::SeqCst) > 100);
    for at in [
        "lock.taken",
        "lock.taken_after_wait",
        "lock.asleep",
        "lock.freed",
        "read.entered",
        "read.left",
        "write.draining",
        "place.taken",
    ] {
        for times in [1, 5] {
            if at == "place.taken" && times > 1 {
                continue;
            }
            let mut dying = place.start_dying("locks", &["100000000"], &format!("{at}:{times}"));
            assert!(!dying.ends().success(), "{at}");
            let before = turns.load(Ordering::SeqCst);
            let began = Instant::now();
            eventually(at, || turns.load(Ordering::SeqCst) > before + 50);
            assert!(began.elapsed() < Duration::from_secs(30), "{at}");
        }
    }
    for process in &mut steady {
        process.kill();
    }
}

#[test]
fn a_maker_that_dies_leaves_no_heap_or_a_whole_one() {
    if !cfg!(debug_assertions) {
        return;
    }
    let place = Place::new();
    for at in ["heap.unnamed", "heap.named", "place.taken"] {
        // The role opens the heap first of all, and makes it.
        assert!(!place.start_dying("attach", &[], at).ends().success(), "{at}");
        let names = Heap::list(Some(place.path())).unwrap();
        assert_eq!(names.is_empty(), at == "heap.unnamed", "{at}");
        let existing = if names.is_empty() { Existing::Create } else { Existing::Attach };
        let options = banyan_heap::Options::new().directory(place.path()).existing(existing);
        let heap = Heap::open("test", &options).unwrap();
        assert!(heap.slice::<u64>("field", 100).unwrap().set(0, 1));
        assert_eq!(heap.info().unwrap().participants.len(), 1);
        drop(heap);
        assert!(Heap::unlink("test", Some(place.path())).unwrap());
        let entries = std::fs::read_dir(place.path()).unwrap().count();
        assert_eq!(entries, 0, "{at} leaves nothing in the directory");
    }
}

#[test]
fn a_barrier_goes_on_after_the_one_that_opened_it_died() {
    if !cfg!(debug_assertions) {
        return;
    }
    let place = Place::new();
    let heap = place.open();
    let barrier = heap.barrier("barrier", 3).unwrap();
    std::thread::scope(|scope| {
        let waiting: Vec<_> =
            (0..2).map(|_| scope.spawn(|| barrier.wait(Some(Duration::from_secs(30))))).collect();
        eventually("both have come", || {
            std::thread::sleep(Duration::from_millis(50));
            true
        });
        // The third opens it, and wakes nobody.
        let mut dying = place.start_dying("barrier", &[], "barrier.opened");
        assert!(!dying.ends().success());
        for thread in waiting {
            thread.join().unwrap().unwrap();
        }
    });
}
