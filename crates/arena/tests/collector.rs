//! The collector against a model of what is live: whatever happens between its steps, nothing that a root
//! leads to is lost, and everything else is freed.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::{BTreeMap, HashSet};
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use banyan_arena::disk::{Disk, MemoryDisk};
use banyan_arena::noun;
use banyan_arena::noun::{Collection, Noun, Nouns, ToNoun};
use banyan_arena::store::Identity;
use banyan_arena::{Arena, ArenaOptions};
use proptest::prelude::*;

const BASE: u64 = 0x4000_0000_0000;

fn format(number: u64) -> (Arc<MemoryDisk>, Arena<Arc<MemoryDisk>>) {
    let identity = Identity { uuid: [8; 16], base: BASE + (number << 36), reservation: 1 << 33 };
    let disk = Arc::new(MemoryDisk::default());
    (disk.clone(), Arena::format(disk, identity, ArenaOptions::default()).unwrap())
}

/// What the roots lead to, by walking: cells and small atoms of 32 bytes each, and large atoms of a granule
/// each.
fn reachable<D: Disk>(arena: &mut Arena<D>, names: impl Iterator<Item = String>) -> (u64, u64) {
    let words: Vec<u64> = names.filter_map(|name| arena.root(&name)).collect();
    let nouns = Nouns::new(arena);
    let mut left: Vec<Noun> = words.into_iter().filter_map(|word| nouns.noun_of_word(word)).collect();
    let (mut seen, mut bytes) = (HashSet::new(), 0);
    while let Some(noun) = left.pop() {
        if noun.word() >> 63 == 0 || !seen.insert(noun.word()) {
            continue;
        }
        match nouns.split(noun) {
            Some((head, tail)) => {
                left.extend([head, tail]);
                bytes += 32;
            }
            None if nouns.bytes(noun).unwrap().len() > 8000 => bytes += 65536,
            None => bytes += 32,
        }
    }
    (seen.len() as u64, bytes)
}

#[derive(Clone, Debug)]
enum Step {
    Cell(u8, u8, u8),
    Atom(u8, u64),
    LargeAtom(u8, u8),
    /// An equal noun that shares nothing.
    Copy(u8, u8),
    /// Unifies two, and keeps the head that the second had before.
    Unify(u8, u8, u8),
    Head(u8, u8),
    Forget(u8),
    Collect(u8),
    Commit,
    Rollback,
    Crash,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let root = 0_u8..12;
    let step = prop_oneof![
        8 => (root.clone(), root.clone(), root.clone()).prop_map(|(a, b, c)| Step::Cell(a, b, c)),
        3 => (root.clone(), any::<u64>()).prop_map(|(a, value)| Step::Atom(a, value)),
        1 => (root.clone(), any::<u8>()).prop_map(|(a, value)| Step::LargeAtom(a, value)),
        4 => (root.clone(), root.clone()).prop_map(|(a, b)| Step::Copy(a, b)),
        4 => (root.clone(), root.clone(), root.clone()).prop_map(|(a, b, c)| Step::Unify(a, b, c)),
        2 => (root.clone(), root.clone()).prop_map(|(a, b)| Step::Head(a, b)),
        2 => root.prop_map(Step::Forget),
        8 => any::<u8>().prop_map(Step::Collect),
        2 => Just(Step::Commit),
        1 => Just(Step::Rollback),
        1 => Just(Step::Crash),
    ];
    proptest::collection::vec(step, 0..300)
}

type Model = BTreeMap<String, Vec<u8>>;

fn check(arena: &mut Arena<Arc<MemoryDisk>>, model: &Model) {
    for (name, jammed) in model {
        let word = arena.root(name).unwrap();
        let mut nouns = Nouns::new(arena);
        let noun = nouns.noun_of_word(word).unwrap();
        assert_eq!(&nouns.jam(noun), jammed, "{name}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn what_is_reachable_lives_and_the_rest_is_freed(steps in steps()) {
        let (disk, mut arena) = format(1);
        let (mut model, mut committed) = (Model::new(), Model::new());
        let name = |at: u8| format!("root {at}");
        for step in steps {
            // Every noun is fetched anew from a root, as the rules ask.
            let get = |arena: &Arena<_>, at: u8| arena.root(&name(at)).unwrap_or(0);
            let mut set = None;
            match step {
                Step::Cell(a, b, c) => {
                    let (head, tail) = (get(&arena, a), get(&arena, b));
                    let mut nouns = Nouns::new(&mut arena);
                    let (head, tail) = (nouns.noun_of_word(head).unwrap(), nouns.noun_of_word(tail).unwrap());
                    set = Some((c, nouns.cell(head, tail).unwrap()));
                }
                Step::Atom(a, value) => {
                    let words = [value, value | 1 << 63];
                    set = Some((a, Nouns::new(&mut arena).atom_of_words(&words).unwrap()));
                }
                Step::LargeAtom(a, value) => {
                    set = Some((a, Nouns::new(&mut arena).atom_of_bytes(&[value | 1; 9000]).unwrap()));
                }
                Step::Copy(a, b) => {
                    let word = get(&arena, a);
                    let mut nouns = Nouns::new(&mut arena);
                    let noun = nouns.noun_of_word(word).unwrap();
                    let jammed = nouns.jam(noun);
                    set = Some((b, nouns.cue(&jammed).unwrap()));
                }
                Step::Unify(a, b, c) => {
                    let (left, right) = (get(&arena, a), get(&arena, b));
                    let mut nouns = Nouns::new(&mut arena);
                    let (left, right) = (nouns.noun_of_word(left).unwrap(), nouns.noun_of_word(right).unwrap());
                    let head = nouns.split(right).map(|(head, _)| head);
                    let same = model.get(&name(a)) == model.get(&name(b));
                    prop_assert_eq!(nouns.equal(left, right), same || nouns.jam(left) == nouns.jam(right));
                    set = head.map(|head| (c, head));
                }
                Step::Head(a, b) => {
                    let word = get(&arena, a);
                    let nouns = Nouns::new(&mut arena);
                    let noun = nouns.noun_of_word(word).unwrap();
                    set = nouns.split(noun).map(|(head, _)| (b, head));
                }
                Step::Forget(a) => {
                    arena.remove_root(&name(a));
                    model.remove(&name(a));
                }
                Step::Collect(times) => {
                    for _ in 0..times % 8 {
                        Nouns::new(&mut arena).collect_step(Duration::ZERO, &[]);
                    }
                }
                Step::Commit => {
                    arena.commit(0, 0).unwrap();
                    committed = model.clone();
                }
                Step::Rollback => {
                    arena.rollback().unwrap();
                    model = committed.clone();
                }
                Step::Crash => {
                    drop(arena);
                    arena = Arena::load(disk.clone(), ArenaOptions::default()).unwrap();
                    model = committed.clone();
                }
            }
            if let Some((at, noun)) = set {
                arena.set_root(&name(at), noun.word());
                let jammed = Nouns::new(&mut arena).jam(noun);
                model.insert(name(at), jammed);
            }
        }
        check(&mut arena, &model);
        let expected = reachable(&mut arena, (0..12).map(name));
        let report = Nouns::new(&mut arena).collect_all(&[]);
        prop_assert_eq!((report.reached, report.live_bytes), expected);
        check(&mut arena, &model);
        (0..12).for_each(|at| arena.remove_root(&name(at)));
        prop_assert_eq!(Nouns::new(&mut arena).collect_all(&[]).live_bytes, 0);
        prop_assert_eq!(Nouns::new(&mut arena).used(), 0);
        arena.commit(0, 0).unwrap();
        prop_assert_eq!(arena.store_mut().audit().unwrap().faults, Vec::<String>::new());
    }
}

/// A list of `count` pairs of a number and a text, which changes with `event`.
fn state<D: Disk>(nouns: &mut Nouns<'_, D>, event: u64, count: u64) -> Noun {
    let items: Vec<(u64, String)> =
        (0..count).map(|at| (event ^ at, format!("text {event} of {at}"))).collect();
    items.to_noun(nouns).unwrap()
}

/// One event: a new state, a step of the collector, and a commit.
fn event<D: Disk>(arena: &mut Arena<D>, number: u64, count: u64) -> bool {
    let mut nouns = Nouns::new(arena);
    let noun = state(&mut nouns, number, count);
    arena.set_root("state", noun.word());
    let done = Nouns::new(arena).collect_step(Duration::ZERO, &[]);
    matches!(done, Collection::Done(_))
}

fn holds_state<D: Disk>(arena: &mut Arena<D>, count: u64) {
    let number = arena.position().event;
    let word = arena.root("state").unwrap_or(0);
    let mut nouns = Nouns::new(arena);
    let found = nouns.noun_of_word(word).unwrap();
    let expected = if number == 0 { Noun::ZERO } else { state(&mut nouns, number, count) };
    assert!(nouns.equal(found, expected), "the state is not that of event {number}");
}

/// The process ends after each step of two whole collections in turn, with and without a commit of that step.
#[test]
fn a_crash_at_any_step_reopens_at_the_last_commit() {
    const COUNT: u64 = 150;
    for commits_last in [false, true] {
        for crash_at in 1.. {
            let (disk, mut arena) = format(2);
            let mut cycles = 0;
            for number in 1..=crash_at {
                cycles += u32::from(event(&mut arena, number, COUNT));
                if commits_last || number < crash_at {
                    arena.commit(0, number).unwrap();
                }
            }
            drop(arena);
            let mut arena = Arena::load(disk, ArenaOptions::default()).unwrap();
            assert_eq!(arena.position().event, crash_at - u64::from(!commits_last));
            holds_state(&mut arena, COUNT);
            assert_eq!(arena.store_mut().audit().unwrap().faults, Vec::<String>::new());
            // What the crash left is collected like anything else.
            let expected = reachable(&mut arena, std::iter::once("state".to_owned()));
            assert_eq!(Nouns::new(&mut arena).collect_all(&[]).reached, expected.0);
            if cycles >= 2 {
                break;
            }
            assert!(crash_at < 500, "a collection never ends");
        }
    }
}

/// Unification takes a part out of a cell that was not looked into yet, and the program puts that part under
/// a root: nothing else leads the collector to it.
#[test]
fn a_part_that_is_replaced_while_marking_lives() {
    let (_, mut arena) = format(6);
    let mut nouns = Nouns::new(&mut arena);
    let (a, b) = (noun!(&mut nouns, [[1 2] 3]).unwrap(), noun!(&mut nouns, [[1 2] 3]).unwrap());
    let long = (0..1000_u64).collect::<Vec<_>>().to_noun(&mut nouns).unwrap();
    for (name, noun) in [("a", a), ("b", b), ("z", long)] {
        arena.set_root(name, noun.word());
    }
    let mut nouns = Nouns::new(&mut arena);
    // The last root is looked into first.
    assert!(matches!(nouns.collect_step(Duration::ZERO, &[]), Collection::Marking(_)));
    let (part, _) = nouns.split(b).unwrap();
    assert!(nouns.equal(a, b));
    assert_ne!(nouns.split(b).unwrap().0, part, "it was not replaced");
    arena.set_root("part", part.word());
    let mut nouns = Nouns::new(&mut arena);
    while !matches!(nouns.collect_step(Duration::ZERO, &[]), Collection::Done(_)) {}
    assert_eq!(nouns.noun_of_word(part.word()), Some(part), "it was freed");
}

#[test]
fn it_is_due_after_churn() {
    let (_, mut arena) = format(3);
    for number in 1..100_000 {
        let mut nouns = Nouns::new(&mut arena);
        assert_eq!(nouns.collect(Duration::MAX, &[]), Collection::Idle);
        let noun = state(&mut nouns, number, 100);
        let is_due = nouns.collection_is_due();
        arena.set_root("state", noun.word());
        if is_due {
            break;
        }
    }
    let mut nouns = Nouns::new(&mut arena);
    assert!(nouns.used() > 4 << 20);
    assert!(
        matches!(nouns.collect(Duration::MAX, &[]), Collection::Done(report) if report.freed_bytes > 3 << 20)
    );
    assert!(!nouns.collection_is_due());
    assert_eq!(nouns.collect(Duration::MAX, &[]), Collection::Idle);
}

#[test]
fn what_the_program_keeps_survives_and_what_it_kept_wrongly_is_no_noun() {
    let (_, mut arena) = format(4);
    let mut nouns = Nouns::new(&mut arena);
    let kept = noun!(&mut nouns, [1 [2 "a text of more than eight bytes"]]).unwrap();
    let lost = noun!(&mut nouns, [3 4]).unwrap();
    nouns.collect_all(&[kept]);
    assert_eq!(nouns.at(kept, 6), Some(Noun::small(2)));
    assert_eq!(nouns.noun_of_word(lost.word()), None);
    nouns.collect_all(&[]);
    assert_eq!((nouns.used(), nouns.noun_of_word(kept.word())), (0, None));
    // Nothing lies there any more, which is found before it is followed.
    let split = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| nouns.split(lost)));
    assert!(split.is_err());
}

fn options() -> ArenaOptions {
    ArenaOptions { base: BASE + (5 << 36), reservation: 1 << 33, ..Default::default() }
}

/// In the child: events without end, with a step of the collector in each.
#[test]
fn child_of_the_kill_test() {
    let Ok(path) = std::env::var("BANYAN_COLLECTOR_KILL_CHILD") else { return };
    let mut arena = Arena::open_or_create(path.as_ref(), options()).unwrap();
    let first = arena.position().event + 1;
    for number in first..1_000_000 {
        event(&mut arena, number, 150);
        arena.commit(0, number).unwrap();
        if number == first {
            println!("\nat work");
        }
    }
}

#[test]
fn a_kill_in_a_collection_loses_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("killed.arena");
    let mut last = 0;
    for round in 0..40_u64 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child_of_the_kill_test", "--nocapture", "--test-threads=1"])
            .env("BANYAN_COLLECTOR_KILL_CHILD", &path)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // However slow the machine is: a kill before that would be no kill in a collection.
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        assert!(lines.any(|line| line.is_ok_and(|line| line == "at work")), "the child made no event");
        std::thread::sleep(Duration::from_micros(1000 + (round * 7919) % 50_000));
        child.kill().unwrap();
        child.wait().unwrap();
        let mut arena = Arena::open(&path, options()).unwrap();
        assert!(arena.position().event > last);
        last = arena.position().event;
        holds_state(&mut arena, 150);
        assert_eq!(arena.store_mut().audit().unwrap().faults, Vec::<String>::new());
    }
}
