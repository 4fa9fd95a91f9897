//! Events: committed whole, or undone, however they end.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::path::Path;
use std::time::{Duration, Instant};

use banyan_arena::collections::CollectionError;
use banyan_arena::events::{EventError, EventOptions, EventRunner, State};
use banyan_arena::store::CommitError;
use banyan_arena::{Arena, ArenaOptions};

fn runner(directory: &Path, number: u64, options: EventOptions) -> EventRunner {
    let place =
        ArenaOptions { base: 0x2000_0000_0000 + (number << 36), reservation: 1 << 32, ..Default::default() };
    let path = directory.join("runner.arena");
    EventRunner::new(Arena::open_or_create(&path, place).unwrap(), options)
}

fn options(directory: &Path) -> EventOptions {
    EventOptions { directory: directory.to_owned(), stack_bytes: 64 << 20, deadline: None }
}

/// Adds one, and counts in a vector, a map and a noun besides.
fn count(state: &mut State) -> Result<u64, CollectionError> {
    let value = {
        let mut counter = state.boxed("counter", || 0_u64)?;
        *counter += 1;
        *counter
    };
    state.vec("list")?.push(value)?;
    state.map::<u64, u64>("map")?.insert(value, value * value)?;
    let mut nouns = state.nouns();
    let noun = banyan_arena::noun!(&mut nouns, [1 2 3])?;
    state.set_root("noun", noun.word());
    Ok(value)
}

/// Everything that `count` has left, and the event number.
fn seen(runner: &mut EventRunner) -> (u64, Vec<u64>, usize, u64) {
    let arena = runner.arena();
    let counter = *arena.boxed("counter", || 0_u64).unwrap();
    let list = arena.vec("list").unwrap().to_vec();
    let map = arena.map::<u64, u64>("map").unwrap().len();
    (counter, list, map, arena.position().event)
}

#[test]
fn events_are_committed_or_undone() {
    let directory = tempfile::tempdir().unwrap();
    let mut runner = runner(directory.path(), 1, options(directory.path()));
    for round in 1..=50 {
        assert_eq!(runner.event(count).unwrap(), round);
        let before = seen(&mut runner);
        assert_eq!(before, (round, (1..=round).collect(), round as usize, round));
        let refused = runner.event(|state| {
            count(state)
                .and(Err::<(), _>(CollectionError::WrongType { name: String::new(), wanted: String::new() }))
        });
        assert!(matches!(refused, Err(EventError::Refused(CollectionError::WrongType { .. }))));
        assert_eq!(seen(&mut runner), before);
        let panicked = runner.event(|state| -> Result<(), ()> {
            count(state).unwrap();
            panic!("on purpose, round {}", 7)
        });
        assert!(matches!(panicked, Err(EventError::Panicked(text)) if text == "on purpose, round 7"));
        assert_eq!(seen(&mut runner), before);
    }
    assert_eq!(runner.arena().store_mut().audit().unwrap().faults, Vec::<String>::new());
}

/// An event gets the number after that of the last commit, and is undone if there is none.
#[test]
fn no_event_comes_after_the_last_number() {
    let directory = tempfile::tempdir().unwrap();
    let mut runner = runner(directory.path(), 9, options(directory.path()));
    runner.arena().commit(u64::MAX, u64::MAX).unwrap();
    assert!(matches!(runner.event(count), Err(EventError::Commit(CommitError::EventNumber))));
    assert_eq!(seen(&mut runner), (0, Vec::new(), 0, u64::MAX));
    runner.arena().commit(u64::MAX, 6).unwrap();
    assert_eq!(runner.event(count).unwrap(), 1);
    assert_eq!(seen(&mut runner), (1, vec![1], 1, 7));
}

#[test]
fn an_endless_loop_ends_at_the_deadline() {
    let directory = tempfile::tempdir().unwrap();
    let deadline = Some(Duration::from_millis(10));
    let mut runner = runner(directory.path(), 2, EventOptions { deadline, ..options(directory.path()) });
    runner.set_deadline(None);
    runner.event(count).unwrap();
    let before = seen(&mut runner);
    runner.set_deadline(deadline);
    for round in 0..40 {
        let begun = Instant::now();
        let ended = runner.event(move |state| -> Result<(), CollectionError> {
            loop {
                match round % 4 {
                    0 => std::hint::spin_loop(),
                    // In the arena's allocator and in the process's, in turn.
                    1 => {
                        count(state)?;
                    }
                    2 => drop(std::hint::black_box(vec![0_u8; 5000])),
                    _ => {
                        let mut nouns = state.nouns();
                        let list: Vec<u64> = (0..1000).collect();
                        let noun = banyan_arena::noun::ToNoun::to_noun(&list, &mut nouns)?;
                        let jammed = nouns.jam(noun);
                        assert!(nouns.cue(&jammed).is_ok());
                    }
                }
            }
        });
        assert!(matches!(ended, Err(EventError::Deadline)), "{ended:?}");
        // Generous: the processors may be busy. Without the stop it would not end.
        assert!(begun.elapsed() < Duration::from_secs(20));
        assert_eq!(seen(&mut runner), before);
    }
    runner.set_deadline(None);
    assert_eq!(runner.event(count).unwrap(), 2);
    // SAFETY: the events have started no thread.
    unsafe { runner.discard_spent_stacks() };
    assert_eq!(runner.event(count).unwrap(), 3);
    assert_eq!(runner.arena().store_mut().audit().unwrap().faults, Vec::<String>::new());
}

#[test]
fn another_thread_stops_an_event() {
    let directory = tempfile::tempdir().unwrap();
    let mut runner = runner(directory.path(), 3, options(directory.path()));
    runner.event(count).unwrap();
    let before = seen(&mut runner);
    for _ in 0..10 {
        let stopper = runner.stopper();
        let killer = std::thread::spawn(move || {
            let deadline = Instant::now() + Duration::from_secs(20);
            while !stopper.stop() && Instant::now() < deadline {
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        let ended = runner.event(|state| -> Result<(), CollectionError> {
            loop {
                count(state)?;
            }
        });
        killer.join().unwrap();
        assert!(matches!(ended, Err(EventError::Stopped)));
        assert_eq!(seen(&mut runner), before);
    }
    assert!(!runner.stopper().stop(), "nothing runs");
    drop(runner);
    let mut runner = self::runner(directory.path(), 3, options(directory.path()));
    assert_eq!(seen(&mut runner), before);
}

/// What an event is given to read lies where the caller has it, and may change between events. A stop in the
/// middle of a read waits for its end; one between reads does not.
#[test]
fn an_event_reads_what_its_caller_has() {
    let directory = tempfile::tempdir().unwrap();
    let mut runner = runner(directory.path(), 5, options(directory.path()));
    let mut input: Vec<u64> = (0..1000).collect();
    for round in 1..=20_usize {
        input.push(7);
        let place = input.as_ptr();
        let sum: u64 = runner
            .event_on(input.as_slice(), move |state, input| {
                assert!(input.with(|words| std::ptr::eq(words.as_ptr(), place)), "it is not copied");
                let mut list = state.vec("list")?;
                list.clear();
                input.with(|words| list.extend_from_slice(words))?;
                Ok::<_, CollectionError>(input.with(|words| words.iter().sum()))
            })
            .unwrap();
        assert_eq!(sum, 999 * 500 + 7 * round as u64);
        assert_eq!(runner.arena().vec::<u64>("list").unwrap()[..], input[..]);
    }
    runner.set_deadline(Some(Duration::from_millis(5)));
    for _ in 0..20 {
        let done = std::sync::Arc::new(std::sync::atomic::AtomicU64::new(0));
        let (seen, words) = (std::sync::Arc::clone(&done), input.len() as u64);
        let ended = runner.event_on(input.as_slice(), move |_, input| -> Result<(), ()> {
            loop {
                input.with(|words| {
                    std::thread::scope(|scope| {
                        scope.spawn(|| {
                            let sum: u64 = words.iter().map(|_| 1).sum();
                            seen.fetch_add(sum, std::sync::atomic::Ordering::SeqCst);
                        });
                    });
                });
            }
        });
        assert!(matches!(ended, Err(EventError::Deadline)), "{ended:?}");
        // No thread reads on: each read came to its end.
        let sum = done.load(std::sync::atomic::Ordering::SeqCst);
        assert!(sum.is_multiple_of(words), "{sum} of {words}");
        std::thread::sleep(Duration::from_micros(200));
        assert_eq!(done.load(std::sync::atomic::Ordering::SeqCst), sum);
    }
    // SAFETY: the events have started no thread that is not joined.
    unsafe { runner.discard_spent_stacks() };
}

fn recurse(levels: u64) -> u64 {
    let frame = std::hint::black_box([levels; 128]);
    if levels == 0 { 0 } else { 1 + recurse(levels - 1) + std::hint::black_box(frame)[9] - levels }
}

/// A gibibyte of stack, which is on disk and not in memory.
#[test]
fn a_deep_recursion_is_bounded_by_disk() {
    let directory = tempfile::tempdir().unwrap();
    let stack_bytes = 3 << 30;
    let mut runner = runner(directory.path(), 4, EventOptions { stack_bytes, ..options(directory.path()) });
    // Each level takes more than a KiB.
    let depth = runner.event(|_| Ok::<_, ()>(recurse(1 << 20))).unwrap();
    assert_eq!(depth, 1 << 20);
    runner.event(count).unwrap();
    let before = seen(&mut runner);
    drop(runner);
    let mut runner = self::runner(directory.path(), 4, options(directory.path()));
    for _ in 0..3 {
        let ended = runner.event(|state| count(state).map(|_| recurse(u64::MAX)));
        assert!(matches!(ended, Err(EventError::Overflow)), "{ended:?}");
        assert_eq!(seen(&mut runner), before);
        // SAFETY: the event has started no thread.
        unsafe { runner.discard_spent_stacks() };
    }
    assert_eq!(runner.event(count).unwrap(), 2);
}
