//! Locks between processes: exclusion, deaths of holders, time limits, deadlocks, fairness.

use crate::support::{PATIENCE, Place, eventually, hear, say};
use banyan_heap::sync::{LockError, Passed};
use banyan_heap::{Heap, Held, Repairable};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Two words that are equal whenever the lock is free.
type Twin = [u64; 2];

/// Processes that die beside others which do the same.
const VICTIMS: u64 = 15;

/// Has two processes do a number of rounds to their end, while others that do the same are killed at random.
fn beside_victims(place: &Place, role: &str, rounds: &str, seed: u64) {
    let mut steady = [place.start(role, &[rounds]), place.start(role, &[rounds])];
    let mut random = fastrand::Rng::with_seed(seed);
    for _ in 0..VICTIMS {
        let mut victim = place.start(role, &["100000000"]);
        victim.says("begins");
        std::thread::sleep(Duration::from_micros(random.u64(100..15_000)));
        victim.kill();
    }
    for process in &mut steady {
        process.says("begins");
        process.says("done");
        process.tell("end");
        process.ends_well();
    }
}

/// Adds to a twin under its mutex, from two threads; who finds a dead holder's makes the words equal.
pub(crate) fn count(heap: &Heap, words: &[String]) {
    let rounds: u64 = words[0].parse().unwrap();
    let twin = heap.mutex::<Twin>("twin", [0; 2]).unwrap();
    let added = heap.atomic_u64("added").unwrap();
    say("begins");
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                for _ in 0..rounds {
                    let mut twin = twin.lock().unwrap().repaired(|twin| twin[0] = twin[1]).unwrap();
                    assert_eq!(twin[0], twin[1], "only one thread is here");
                    twin[0] += 1;
                    std::hint::black_box(&mut *twin);
                    twin[1] += 1;
                    added.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    });
    say("done");
    hear();
}

#[test]
fn a_mutex_excludes_processes_and_survives_killed_holders() {
    let place = Place::new();
    let heap = place.open();
    beside_victims(&place, "count", "30000", 3);
    let twin = heap.mutex::<Twin>("twin", [0; 2]).unwrap();
    let twin = twin.lock().unwrap().repaired(|twin| twin[0] = twin[1]).unwrap();
    assert!(twin[1] >= 120_000, "nothing of those that lived is lost");
    let added = heap.atomic_u64("added").unwrap().load(Ordering::Relaxed);
    assert!(added <= twin[1] && twin[1] <= added + VICTIMS, "a victim is one addition ahead at most");
}

/// Holds a mutex until it is asked to release it, or is killed.
pub(crate) fn hold(heap: &Heap, words: &[String]) {
    let twin = heap.mutex::<Twin>("twin", [0; 2]).unwrap();
    let mut guard = twin.lock().unwrap().repaired(|_| ()).unwrap();
    guard[0] += 1;
    if words.first().is_some_and(|word| word == "forget") {
        std::mem::forget(guard);
        say("ends");
        return;
    }
    say("holds");
    hear();
    guard[1] += 1;
    drop(guard);
    say("gave up");
    hear();
}

#[test]
fn a_dead_holder_is_told_of_until_somebody_repairs() {
    let place = Place::new();
    let heap = place.open();
    let twin = heap.mutex::<Twin>("twin", [0; 2]).unwrap();
    let mut holder = place.start("hold", &[]);
    holder.says("holds");
    assert!(twin.try_lock().unwrap().is_none());
    let short = Duration::from_millis(120);
    let Err(LockError::TimedOut { waited, holder: Some(info) }) = twin.lock_within(Some(short)) else {
        panic!("the other process has it");
    };
    assert!(waited >= short);
    assert_eq!(info.process_id, holder.id());
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| match twin.lock().unwrap() {
            Held::OwnerDied(guard) => guard[0] - guard[1],
            Held::Clean(_) => panic!("it was half changed"),
        });
        eventually("the wait is on record", || heap.info().unwrap().waits.len() == 1);
        let wait = heap.info().unwrap().waits.remove(0);
        assert_eq!(wait.thread.process_id, std::process::id());
        assert_eq!(wait.holder.unwrap().process_id, holder.id());
        holder.kill();
        assert_eq!(waiting.join().unwrap(), 1);
    });
    // Nobody has repaired it.
    assert!(matches!(twin.try_lock().unwrap(), Some(Held::OwnerDied(_))));
    let mut guard = twin.lock().unwrap().repaired(|guard| guard[1] = guard[0]).unwrap();
    guard[0] = 5;
    guard.make_consistent().unwrap();
    drop(guard);
    assert!(matches!(twin.lock().unwrap(), Held::Clean(_)));
    assert!(heap.info().unwrap().waits.is_empty());
}

#[test]
fn a_holder_that_ends_in_order_without_giving_up_is_dead_too() {
    let place = Place::new();
    let heap = place.open();
    let twin = heap.mutex::<Twin>("twin", [0; 2]).unwrap();
    place.start("hold", &["forget"]).ends_well();
    assert!(matches!(twin.lock().unwrap(), Held::OwnerDied(_)));
}

/// Locks two mutexes in the order of its words; says what becomes of it.
pub(crate) fn hold_two(heap: &Heap, words: &[String]) {
    let locks = [&words[0], &words[1]].map(|name| heap.mutex::<u64>(name, 0).unwrap());
    let _first = locks[0].lock().unwrap();
    say("holds");
    hear();
    match locks[1].lock() {
        Ok(_) => say("has both"),
        Err(error) => say(&error.to_string()),
    }
}

#[test]
fn a_circle_of_waits_is_reported_to_one_that_waits() {
    let place = Place::new();
    let _heap = place.open();
    let names = ["a", "b", "c"];
    let mut processes: Vec<_> =
        (0..3).map(|at| place.start("hold_two", &[names[at], names[(at + 1) % 3]])).collect();
    for process in &processes {
        process.says("holds");
    }
    for process in &mut processes {
        process.tell("go");
    }
    let ids: Vec<String> = processes.iter().map(|it| format!("process {}", it.id())).collect();
    let said: Vec<String> = processes.iter().map(|it| it.said()).collect();
    let reports: Vec<&String> = said.iter().filter(|it| it.starts_with("a deadlock")).collect();
    assert!(!reports.is_empty(), "{said:?}");
    assert!(reports.iter().all(|it| ids.iter().filter(|id| it.contains(*id)).count() == 2), "{reports:?}");
    assert!(said.iter().all(|it| it.starts_with("a deadlock") || it == "has both"), "{said:?}");
}

#[test]
fn a_thread_that_asks_for_its_own_lock_hears_so_at_once() {
    let place = Place::new();
    let heap = place.open();
    let mutex = heap.mutex("mutex", 0_u64).unwrap();
    let guard = mutex.lock().unwrap();
    assert!(matches!(mutex.lock(), Err(LockError::Deadlock { .. })));
    drop(guard);
    let lock = heap.rwlock("lock", 0_u64).unwrap();
    let guard = lock.write(None).unwrap();
    assert!(matches!(lock.read(None), Err(LockError::Deadlock { .. })));
    assert!(matches!(lock.write(None), Err(LockError::Deadlock { .. })));
    drop(guard);
    assert!(heap.atomic_u64("mutex").is_err(), "a name has one type");
}

#[test]
fn a_thread_that_waits_is_not_passed_by_for_ever() {
    let place = Place::new();
    let heap = place.open();
    let mutex = heap.mutex("mutex", 0_u64).unwrap();
    let ends = AtomicBool::new(false);
    let turns = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while !ends.load(Ordering::Relaxed) {
                    // Has it nearly all the time, and wants it again at once.
                    let _guard = mutex.lock().unwrap();
                    let until = Instant::now() + Duration::from_micros(100);
                    while Instant::now() < until {
                        std::hint::spin_loop();
                    }
                }
            });
        }
        scope.spawn(|| {
            for _ in 0..30 {
                drop(mutex.lock().unwrap());
                turns.fetch_add(1, Ordering::Relaxed);
            }
        });
        eventually("thirty turns", || turns.load(Ordering::Relaxed) == 30);
        ends.store(true, Ordering::Relaxed);
    });
}

/// Reads and writes a twin under its reader-writer lock.
pub(crate) fn read_and_write(heap: &Heap, words: &[String]) {
    let rounds: u64 = words[0].parse().unwrap();
    let lock = heap.rwlock::<Twin>("twin", [0; 2]).unwrap();
    say("begins");
    std::thread::scope(|scope| {
        for thread in 0..3_u64 {
            let lock = &lock;
            scope.spawn(move || {
                for round in 0..rounds {
                    if (round + thread).is_multiple_of(5) {
                        let mut twin = lock.write(None).unwrap().repaired(|twin| twin[0] = twin[1]).unwrap();
                        assert_eq!(twin[0], twin[1], "a writer is alone");
                        twin[0] += 1;
                        std::hint::black_box(&mut *twin);
                        twin[1] += 1;
                    } else if let Held::Clean(twin) = lock.read(None).unwrap() {
                        assert_eq!(twin[0], twin[1], "readers see no writer");
                    }
                }
            });
        }
    });
    say("done");
    hear();
}

#[test]
fn a_reader_writer_lock_survives_readers_and_writers_that_are_killed() {
    let place = Place::new();
    let heap = place.open();
    beside_victims(&place, "rwlock", "3000", 9);
    let lock = heap.rwlock::<Twin>("twin", [0; 2]).unwrap();
    let twin = lock.write(Some(PATIENCE)).unwrap().repaired(|twin| twin[0] = twin[1]).unwrap();
    assert!(twin[1] >= 2 * 3 * 3000 / 5);
    drop(twin);
    let _reading = lock.read(None).unwrap();
    let _too = lock.read(None).unwrap();
    let short = Some(Duration::from_millis(30));
    assert!(matches!(lock.write(short), Err(LockError::TimedOut { .. })));
    let _still = lock.read(short).unwrap();
}

/// Comes to a barrier once, and ends with the heap open.
pub(crate) fn come_and_exit(heap: &Heap, _: &[String]) {
    heap.barrier("barrier", 2).unwrap().wait(Some(PATIENCE)).unwrap();
    std::process::exit(0);
}

#[test]
fn a_process_that_ends_in_order_breaks_no_barrier() {
    let place = Place::new();
    let heap = place.open();
    let barrier = heap.barrier("barrier", 2).unwrap();
    for _ in 0..3 {
        let mut other = place.start("come_and_exit", &[]);
        barrier.wait(Some(PATIENCE)).unwrap();
        other.ends_well();
    }
    let short = Some(Duration::from_millis(120));
    assert!(matches!(barrier.wait(short), Err(LockError::TimedOut { .. })));
}

/// Comes to a barrier again and again; ends when it is broken.
pub(crate) fn come(heap: &Heap, _: &[String]) {
    let barrier = heap.barrier("barrier", 3).unwrap();
    let steps = heap.slice::<u64>("steps", 2).unwrap();
    let mine = heap.atomic_u64("numbers").unwrap().fetch_add(1, Ordering::SeqCst) as usize;
    say("begins");
    loop {
        match barrier.wait(Some(PATIENCE)) {
            Ok(_) => assert!(steps.set(mine % 2, steps.get(mine % 2).unwrap() + 1)),
            Err(LockError::Broken) => break,
            Err(error) => panic!("{error}"),
        }
    }
    say("broken");
    hear();
}

#[test]
fn a_barrier_holds_all_back_and_breaks_when_one_dies() {
    let place = Place::new();
    let heap = place.open();
    let barrier = heap.barrier("barrier", 3).unwrap();
    let steps = heap.slice::<u64>("steps", 2).unwrap();
    let short = Some(Duration::from_millis(30));
    assert!(matches!(barrier.wait(short), Err(LockError::TimedOut { .. })));
    let mut others = [place.start("barrier", &[]), place.start("barrier", &[])];
    others.iter().for_each(|it| it.says("begins"));
    for round in 0..500 {
        // Between two openings of it, the others have made this round's step or are about to.
        let now = [steps.get(0).unwrap(), steps.get(1).unwrap()];
        assert!(now.iter().all(|step| *step + 1 >= round && *step <= round), "{now:?} in {round}");
        barrier.wait(Some(PATIENCE)).unwrap();
    }
    others[0].kill();
    assert!(matches!(barrier.wait(Some(PATIENCE)), Err(LockError::Broken)));
    others[1].says("broken");
    assert!(matches!(barrier.wait(Some(PATIENCE)), Err(LockError::Broken)), "until it is reset");
    barrier.reset().unwrap();
    std::thread::scope(|scope| {
        let passed: Vec<_> = (0..3).map(|_| scope.spawn(|| barrier.wait(Some(PATIENCE)).unwrap())).collect();
        let passed: Vec<Passed> = passed.into_iter().map(|it| it.join().unwrap()).collect();
        assert_eq!(passed.iter().filter(|it| **it == Passed::Last).count(), 1);
    });
}

/// Does what is done once, slowly the first time.
pub(crate) fn once(heap: &Heap, words: &[String]) {
    let once = heap.once("once").unwrap();
    let times = heap.atomic_u64("times").unwrap();
    once.call(|_| {
        times.fetch_add(1, Ordering::SeqCst);
        say("does it");
        if words[0] == "slowly" {
            hear();
        }
    })
    .unwrap();
    say("done");
    hear();
}

#[test]
fn what_is_done_once_is_begun_again_after_a_death() {
    let place = Place::new();
    let heap = place.open();
    let mut first = place.start("once", &["slowly"]);
    first.says("does it");
    let second = place.start("once", &["fast"]);
    assert!(second.is_silent(Duration::from_millis(150)), "it waits for the first one");
    first.kill();
    second.says("does it");
    second.says("done");
    place.start("once", &["fast"]).says("done");
    let once = heap.once("once").unwrap();
    assert!(once.is_done().unwrap());
    once.call(|_| panic!("it is done")).unwrap();
    assert_eq!(heap.atomic_u64("times").unwrap().load(Ordering::SeqCst), 2);
}

/// A ring of numbers: where to read, where to write, the numbers.
type Ring = [u64; 10];

/// Takes numbers out of the ring, and checks their order.
pub(crate) fn consume(heap: &Heap, words: &[String]) {
    let count: u64 = words[0].parse().unwrap();
    let ring = heap.mutex::<Ring>("ring", [0; 10]).unwrap();
    let (filled, emptied) = (heap.condition("filled").unwrap(), heap.condition("emptied").unwrap());
    for expected in 0..count {
        let guard = ring.lock().unwrap().repaired(|_| ()).unwrap();
        let held = filled.wait_until(guard, None, |ring| ring[0] < ring[1]).unwrap();
        let mut ring = held.repaired(|_| ()).unwrap();
        assert_eq!(ring[2 + (ring[0] % 8) as usize], expected);
        ring[0] += 1;
        drop(ring);
        emptied.notify_one().unwrap();
    }
    say("done");
}

#[test]
fn conditions_pass_numbers_from_process_to_process() {
    let place = Place::new();
    let heap = place.open();
    let mut consumer = place.start("ring", &["3000"]);
    let ring = heap.mutex::<Ring>("ring", [0; 10]).unwrap();
    let (filled, emptied) = (heap.condition("filled").unwrap(), heap.condition("emptied").unwrap());
    for number in 0..3000 {
        let guard = ring.lock().unwrap().repaired(|_| ()).unwrap();
        let held = emptied.wait_until(guard, Some(PATIENCE), |ring| ring[1] - ring[0] < 8).unwrap();
        let mut ring = held.repaired(|_| ()).unwrap();
        let place = 2 + (ring[1] % 8) as usize;
        ring[place] = number;
        ring[1] += 1;
        drop(ring);
        filled.notify_all().unwrap();
    }
    consumer.says("done");
    consumer.ends_well();
    let guard = ring.lock().unwrap().repaired(|_| ()).unwrap();
    let began = Instant::now();
    let short = Duration::from_millis(70);
    let held = filled.wait_until(guard, Some(short), |ring| ring[0] < ring[1]).unwrap();
    assert!(matches!(held, Held::Clean(_)) && began.elapsed() >= short, "nothing comes");
}
