//! kill -9: a child works on an arena until it is killed, at a random instant or at a chosen operation on the
//! disk, a thousand times in all; after each the parent opens what is left. BANYAN_ARENA_KILLS sets another
//! number.
//!
//! Each event also makes nouns, most of them garbage, and takes a step of a collection, so kills fall into
//! those too. Some children can start no thread, and some have children of theirs that outlive them. Every
//! state of the file goes through the `Disk` trait, so its n-th operation is the name of every point in a
//! commit, a fold, a growth, a first create: before it, after it, or in the middle of what it writes.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::alloc::Layout;
use std::io::{self, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use banyan_arena::disk::{Block, Disk, FileDisk, Room};
use banyan_arena::noun::{Noun, Nouns};
use banyan_arena::store::{Identity, StoreOptions};
use banyan_arena::{Arena, ArenaOptions, Loading};

const BASE: u64 = 0x2800_0000_0000;
const RESERVATION: u64 = 1 << 32;

fn options(number: u64) -> ArenaOptions {
    let mut store = StoreOptions::default();
    (store.segment_blocks, store.fold_blocks, store.growth_blocks) = (32, 60, 64);
    ArenaOptions { base: BASE + (number << 36), reservation: RESERVATION, store, ..Default::default() }
}

/// Kills its own process at an operation that changes the file.
struct Deadly {
    file: FileDisk,
    left: AtomicI64,
    /// 0: before the operation; 1: after it; 2: in the middle of a write.
    moment: u64,
}

fn die() -> ! {
    let _gone = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    // The signal is on its way: no instruction of ours may matter any more.
    loop {
        std::thread::park();
    }
}

impl Deadly {
    fn around<T>(&self, half: &mut dyn FnMut(), whole: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        let due = self.left.fetch_sub(1, Ordering::Relaxed) == 0;
        match (due, self.moment) {
            (true, 0) => die(),
            (true, 1) => {
                let _done = whole();
                die()
            }
            (true, _) => {
                half();
                die()
            }
            _ => whole(),
        }
    }
    fn half(&self, offset: u64, pieces: &[&[u8]]) {
        let some = pieces.len().div_ceil(2);
        // A part in whole blocks, as a file system might have got to.
        let _torn = self.file.write_at(offset, &pieces[..some]);
    }
}

impl Disk for Deadly {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.file.read_at(offset, buffer)
    }
    fn write_at(&self, offset: u64, pieces: &[&[u8]]) -> io::Result<()> {
        self.around(&mut || self.half(offset, pieces), || self.file.write_at(offset, pieces))
    }
    fn write_durable_at(&self, offset: u64, pieces: &[&[u8]]) -> io::Result<()> {
        self.around(&mut || self.half(offset, pieces), || self.file.write_durable_at(offset, pieces))
    }
    fn note_at(&self, offset: u64, block: &Block) -> io::Result<()> {
        self.around(&mut || {}, || self.file.note_at(offset, block))
    }
    fn sync(&self) -> io::Result<()> {
        self.around(&mut || {}, || self.file.sync())
    }
    fn length(&self) -> io::Result<u64> {
        self.file.length()
    }
    fn grow(&self, length: u64, room: Room) -> io::Result<()> {
        let from = self.file.length()?;
        let half = (from + length) / 2 / 4096 * 4096;
        self.around(&mut || drop(self.file.grow(half, Room::Reserved)), || self.file.grow(length, room))
    }
    fn cut(&self, length: u64) -> io::Result<()> {
        self.around(&mut || {}, || self.file.cut(length))
    }
}

fn push<D: Disk>(arena: &mut Arena<D>, value: u64) {
    // Larger than a page now and then, so that commits have several and the file grows.
    let layout = Layout::from_size_align(if value.is_multiple_of(7) { 20_000 } else { 16 }, 16).unwrap();
    let node = arena.allocate(layout).unwrap();
    let head = arena.root("head").unwrap_or(0);
    // SAFETY: the node was just allocated with at least 16 bytes, aligned to 16.
    unsafe { node.cast::<[u64; 2]>().write([value, head]) };
    arena.set_root("head", node.as_ptr() as u64);
    let before = arena.root("nouns").unwrap_or(0);
    let mut nouns = Nouns::new(arena);
    let before = nouns.noun_of_word(before).unwrap();
    for number in 0..50 {
        nouns.cell(Noun::small(number), before).unwrap();
    }
    let event = nouns.atom(value).unwrap();
    let nouns = nouns.cell(event, before).unwrap();
    arena.set_root("nouns", nouns.word());
}

/// The same list, kept as a noun.
fn noun_list<D: Disk>(arena: &mut Arena<D>) -> Vec<u64> {
    let word = arena.root("nouns").unwrap_or(0);
    let nouns = Nouns::new(arena);
    let mut at = nouns.noun_of_word(word).unwrap();
    let mut values = Vec::new();
    while let Some((head, tail)) = nouns.split(at) {
        values.push(nouns.number(head).unwrap());
        at = tail;
    }
    values.reverse();
    values
}

fn list<D: Disk>(arena: &Arena<D>) -> Vec<u64> {
    let mut values = Vec::new();
    let mut at = arena.root("head").unwrap_or(0);
    while at != 0 {
        let node: *const [u64; 2] = std::ptr::with_exposed_provenance(at as usize);
        assert!(arena.in_arena(node));
        // SAFETY: every address on the list is a node that `push` wrote.
        let [value, next] = unsafe { node.read() };
        values.push(value);
        at = next;
    }
    values.reverse();
    values
}

/// The child's life: events, each told before it is begun and after it is durable.
fn live<D: Disk>(mut arena: Arena<D>, mut seed: u64) {
    let mut out = io::stdout();
    let mut tell = |what: &str, event: u64| {
        out.write_all(format!("{what} {event}\n").as_bytes()).unwrap();
    };
    tell("acknowledged", arena.position().event);
    for event in arena.position().event + 1..100_000 {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        if (seed >> 33).is_multiple_of(50) {
            // SAFETY: the child drops its copy, which gives nothing away, waits a little and ends.
            if unsafe { libc::fork() } == 0 {
                drop(arena);
                std::thread::sleep(Duration::from_millis(20));
                // SAFETY: as above.
                unsafe { libc::_exit(0) };
            }
        }
        push(&mut arena, event);
        // Its cycles go round without end: what it has freed is in the commits below.
        let _progress = Nouns::new(&mut arena).collect_step(Duration::from_micros(30), &[]);
        tell("begun", event);
        match (seed >> 40) % 10 {
            0 => {
                let name = format!("s{}", event % 3);
                if arena.snapshots().iter().any(|info| info.name == name) {
                    let _previous = arena.wait().unwrap();
                    // Commits this event too, but under the number of the last one: undo it first.
                    arena.rollback().unwrap();
                    arena.drop_snapshot(&name).unwrap();
                    push(&mut arena, event);
                    arena.commit(0, event).unwrap();
                } else {
                    arena.snapshot(&name, 0, event).unwrap();
                }
            }
            1 | 2 => {
                arena.begin_commit(0, event).unwrap();
                if (seed >> 50).is_multiple_of(2) {
                    continue;
                }
                arena.wait().unwrap();
            }
            3 => {
                arena.commit(0, event).unwrap();
                arena.fold().unwrap();
            }
            4 => {
                arena.rollback().unwrap();
                push(&mut arena, event);
                arena.commit(0, event).unwrap();
            }
            _ => {
                arena.commit(0, event).unwrap();
            }
        }
        tell("acknowledged", event);
    }
}

#[test]
fn child_of_the_kill_tests() {
    let Ok(path) = std::env::var("BANYAN_ARENA_KILL_CHILD") else { return };
    let path = Path::new(&path);
    let number = |name: &str| std::env::var(name).unwrap().parse::<u64>().unwrap();
    let (seed, moment) = (number("SEED"), number("MOMENT"));
    let loading = if seed.is_multiple_of(2) { Loading::Lazy } else { Loading::Eager };
    let options = ArenaOptions { loading, ..options(number("NUMBER")) };
    let Ok(operation) = std::env::var("OPERATION") else {
        return live(Arena::open_or_create(path, options).unwrap(), seed);
    };
    let left = AtomicI64::new(operation.parse().unwrap());
    if path.exists() && std::fs::metadata(path).unwrap().len() > 0 {
        let disk = Deadly { file: FileDisk::open(path).unwrap(), left, moment };
        match Arena::load(disk, options) {
            Ok(arena) => return live(arena, seed),
            // Killed in its very first moments, before it was an arena.
            Err(error) => assert!(!path.with_extension("told").exists(), "{error}"),
        }
        std::fs::remove_file(path).unwrap();
        return;
    }
    let disk =
        Deadly { file: FileDisk::open(path).or_else(|_| FileDisk::create(path)).unwrap(), left, moment };
    let identity = Identity { uuid: [9; 16], base: options.base, reservation: RESERVATION };
    let arena = Arena::format(disk, identity, options).unwrap();
    // From here on it must open.
    std::fs::write(path.with_extension("told"), "").unwrap();
    live(arena, seed);
}

/// One child, until it is dead. What it said last: acknowledged, and begun.
fn one_life(path: &Path, number: u64, round: u64, operation: Option<u64>) -> (Option<u64>, Option<u64>) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", "child_of_the_kill_tests", "--nocapture", "--test-threads=1"])
        .env("BANYAN_ARENA_KILL_CHILD", path)
        .env("SEED", round.to_string())
        .env("NUMBER", number.to_string())
        .env("MOMENT", (round / 3 % 3).to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    if round % 10 == 5 {
        // Each start of a thread fails there: no address space holds such a stack.
        command.env("RUST_MIN_STACK", (1_u64 << 60).to_string());
    }
    if let Some(operation) = operation {
        command.env("OPERATION", operation.to_string());
    }
    let mut child = command.spawn().unwrap();
    if operation.is_none() {
        std::thread::sleep(Duration::from_micros(1_000 + round * 7919 % 15_000));
        child.kill().unwrap();
    }
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let last = |what: &str| {
        text.lines().filter_map(|line| line.rsplit_once(what)?.1.trim().parse::<u64>().ok()).next_back()
    };
    (last("acknowledged "), last("begun "))
}

fn rounds(share: u64) -> u64 {
    let all = std::env::var("BANYAN_ARENA_KILLS").ok().and_then(|text| text.parse().ok());
    all.unwrap_or(if cfg!(debug_assertions) { 100 } else { 1000 }) * share / 100
}

fn survive(number: u64, rounds: u64, operation: &dyn Fn(u64) -> Option<u64>) {
    let deadline = Instant::now() + Duration::from_secs(240);
    let directory = tempfile::tempdir().unwrap();
    let mut path = directory.path().join("0.arena");
    for round in 0..rounds {
        assert!(Instant::now() < deadline, "only {round} rounds within the deadline");
        if round % 16 == 0 {
            path = directory.path().join(format!("{round}.arena"));
        }
        let (told, begun) = one_life(&path, number, round, operation(round));
        if !path.exists()
            || (told.is_none() && !path.with_extension("told").exists() && operation(0).is_some())
        {
            assert_eq!(told, None);
            continue;
        }
        let mut arena = Arena::open(&path, options(number)).unwrap();
        let event = arena.position().event;
        let told = told.unwrap_or(0);
        assert!(
            told <= event && event <= begun.unwrap_or(event).max(told),
            "{event}: {told} told, {begun:?} begun"
        );
        assert_eq!(list(&arena), (1..=event).collect::<Vec<_>>(), "round {round}");
        assert_eq!(noun_list(&mut arena), (1..=event).collect::<Vec<_>>(), "round {round}");
        assert_eq!(arena.store_mut().audit().unwrap().faults, Vec::<String>::new(), "round {round}");
    }
}

#[test]
fn killed_at_random_instants() {
    survive(1, rounds(20), &|_| None);
}

#[test]
fn killed_at_operations_of_the_first_moments() {
    survive(2, rounds(20), &|round| Some(round % 16));
}

#[test]
fn killed_at_operations_of_commits_and_folds() {
    survive(3, rounds(60), &|round| Some(round * 31 % 97));
}
