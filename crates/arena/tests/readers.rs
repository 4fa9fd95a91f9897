//! Readers in other processes, and every refusal: read-only and full file systems, files that are none.
//! File systems are made in mount namespaces of child processes, and are gone with them.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::alloc::Layout;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use banyan_arena::disk::FileDiskError;
use banyan_arena::store::{CommitError, CreateError, StoreOptions};
use banyan_arena::{Arena, ArenaError, ArenaOptions, ReaderError, SnapshotReader};

const PAGES: usize = 256;

fn options(number: u64) -> ArenaOptions {
    let mut store = StoreOptions::default();
    store.fold_blocks = 300;
    ArenaOptions {
        base: 0x3000_0000_0000 + (number << 36),
        reservation: 1 << 32,
        store,
        ..Default::default()
    }
}

fn fill(arena: &mut Arena, value: u64) -> usize {
    let layout = Layout::from_size_align(PAGES * 4096, 4096).unwrap();
    let address = match arena.root("pages") {
        Some(address) => address as usize,
        None => arena.allocate(layout).unwrap().as_ptr() as usize,
    };
    arena.set_root("pages", address as u64);
    arena.set_root("value", value);
    for page in 0..PAGES {
        let word: *mut u64 = std::ptr::with_exposed_provenance_mut(address + page * 4096);
        // SAFETY: the word lies in the object.
        unsafe { word.write_volatile(value + page as u64) };
    }
    address
}

/// Runs this very test binary again, for the one function that acts by `role`.
fn child(role: &str, path: &Path) -> Output {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child_process", "--nocapture", "--test-threads=1"])
        .env("BANYAN_ARENA_ROLE", role)
        .env("BANYAN_ARENA_PATH", path)
        .output()
        .unwrap()
}

#[track_caller]
fn succeeds(output: &Output) {
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
}

#[test]
fn child_process() {
    let (Ok(role), Ok(path)) = (std::env::var("BANYAN_ARENA_ROLE"), std::env::var("BANYAN_ARENA_PATH"))
    else {
        return;
    };
    let path = Path::new(&path);
    match role.as_str() {
        "read" => (0..10).for_each(|_| read_snapshot(path, false)),
        "map" => (0..10).for_each(|_| read_snapshot(path, true)),
        "hold" => {
            let _held = SnapshotReader::open(path, "first").unwrap();
            println!("held");
            // Until the parent kills it: nothing is given back in an orderly way.
            std::thread::sleep(Duration::from_secs(30));
        }
        "read-only" => on_a_read_only_file_system(path),
        "small" => on_a_small_file_system(path),
        other => panic!("no role {other}"),
    }
}

fn read_snapshot(path: &Path, mapped: bool) {
    let mut reader = SnapshotReader::open(path, "first").unwrap();
    let roots = reader.info().position.roots.clone();
    let (address, value) = (roots["pages"], roots["value"]);
    if mapped {
        reader.map().unwrap();
    }
    for page in (0..PAGES as u64).step_by(8) {
        let at = address + page * 4096;
        let mut word = [0; 8];
        if mapped {
            let pointer: *const u64 = std::ptr::with_exposed_provenance(at as usize);
            // SAFETY: the snapshot is mapped at the heap's address for as long as the reader lives.
            word = unsafe { pointer.read_volatile() }.to_le_bytes();
        } else {
            reader.read(at, &mut word).unwrap();
        }
        assert_eq!(u64::from_le_bytes(word), value + page);
    }
}

/// Other processes open a snapshot and read it, again and again, while the writer overwrites everything and
/// folds without any rest.
#[test]
fn readers_of_other_processes_see_their_snapshot() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("shared.arena");
    let mut arena = Arena::create(&path, options(1)).unwrap();
    fill(&mut arena, 1000);
    arena.snapshot("first", 0, 1).unwrap();
    // It is read as soon as it is taken, before any fold.
    succeeds(&child("read", &path));
    assert!(matches!(SnapshotReader::open(&path, "none").map(drop), Err(ReaderError::NoSuchSnapshot(_))));
    arena.fold().unwrap();
    std::thread::scope(|scope| {
        let readers: Vec<_> = (0..8)
            .map(|number| {
                let path = &path;
                scope.spawn(move || child(if number % 2 == 0 { "read" } else { "map" }, path))
            })
            .collect();
        let mut value = 2000;
        while readers.iter().any(|reader| !reader.is_finished()) {
            fill(&mut arena, value);
            arena.commit(0, value).unwrap();
            arena.fold().unwrap();
            value += 1;
        }
        readers.into_iter().for_each(|reader| succeeds(&reader.join().unwrap()));
        println!("{} commits, each folded", value - 2000);
    });
    assert_eq!(arena.store_mut().audit().unwrap().faults, Vec::<String>::new());
}

/// Threads read snapshots, some of them before any fold, while the writer overwrites everything, folds, and
/// takes and drops others.
#[test]
fn threads_read_snapshots_beside_the_writer() {
    let directory = tempfile::tempdir().unwrap();
    let mut arena = Arena::create(&directory.path().join("threads.arena"), options(20)).unwrap();
    std::thread::scope(|scope| {
        let mut value = 1000;
        let mut readers = Vec::new();
        for round in 0..40_u64 {
            let address = fill(&mut arena, value) as u64;
            let name = format!("round {round}");
            arena.snapshot(&name, 0, value).unwrap();
            if round % 3 == 0 {
                arena.fold().unwrap();
            }
            let reader = std::sync::Arc::new(arena.reader(&name).unwrap());
            for _ in 0..2 {
                let reader = std::sync::Arc::clone(&reader);
                readers.push(scope.spawn(move || {
                    let mut word = [0; 8];
                    for _ in 0..3 {
                        for page in 0..PAGES as u64 {
                            reader.read(address + page * 4096, &mut word).unwrap();
                            assert_eq!(u64::from_le_bytes(word), value + page);
                        }
                    }
                    assert_eq!(reader.info().position.roots["value"], value);
                }));
            }
            let refused = arena.drop_snapshot(&name).unwrap_err();
            assert!(matches!(refused, CommitError::SnapshotInUse(_)), "{refused}");
            drop(reader);
            for _ in 0..3 {
                value += 1000;
                fill(&mut arena, value);
                arena.begin_commit(0, value).unwrap();
            }
            if let Some(ended) = readers.iter().position(std::thread::ScopedJoinHandle::is_finished) {
                readers.swap_remove(ended).join().unwrap();
            }
        }
        readers.into_iter().for_each(|reader| reader.join().unwrap());
    });
    assert!(matches!(arena.reader("none").map(drop), Err(ReaderError::NoSuchSnapshot(_))));
    for round in 0..40 {
        arena.drop_snapshot(&format!("round {round}")).unwrap();
    }
    arena.fold().unwrap();
    assert_eq!(arena.store_mut().audit().unwrap().faults, Vec::<String>::new());
}

#[test]
fn a_snapshot_that_another_process_reads_is_not_dropped() {
    use std::io::{BufRead, BufReader};
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("held.arena");
    let mut arena = Arena::create(&path, options(2)).unwrap();
    fill(&mut arena, 1);
    arena.snapshot("first", 0, 1).unwrap();
    arena.fold().unwrap();
    let mut holder = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child_process", "--nocapture", "--test-threads=1"])
        .env("BANYAN_ARENA_ROLE", "hold")
        .env("BANYAN_ARENA_PATH", &path)
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(holder.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().contains("held")));
    let refused = arena.drop_snapshot("first").unwrap_err();
    assert!(matches!(refused, CommitError::SnapshotInUse(_)), "{refused}");
    fill(&mut arena, 2);
    arena.commit(0, 2).unwrap();
    holder.kill().unwrap();
    holder.wait().unwrap();
    // The kernel gave the lock back with the process.
    arena.drop_snapshot("first").unwrap();
    arena.fold().unwrap();
    assert!(matches!(SnapshotReader::open(&path, "first").map(drop), Err(ReaderError::NoSuchSnapshot(_))));
    assert_eq!(arena.store_mut().audit().unwrap().faults, Vec::<String>::new());
}

/// A snapshot that comes and goes while others open it: each reader has all of it, or none. The writer folds
/// without any rest, so that an opening may be overtaken as often as it likes; one snapshot in sixteen
/// therefore stays until an opening that began after it has ended, and that one has to find it.
#[test]
fn a_snapshot_is_opened_whole_or_not_at_all_while_it_is_dropped() {
    const OPENINGS: u32 = 100;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("coming.arena");
    let mut arena = Arena::create(&path, options(8)).unwrap();
    let address = fill(&mut arena, 0) as u64;
    arena.commit(0, 0).unwrap();
    let (ended, rounds) = (AtomicU32::new(0), AtomicU32::new(0));
    std::thread::scope(|scope| {
        let (path, ended, rounds) = (&path, &ended, &rounds);
        let reader = scope.spawn(move || {
            let mut opened = 0;
            for _ in 0..OPENINGS {
                let opening = SnapshotReader::open(path, "first");
                ended.fetch_add(1, Ordering::Release);
                let reader = match opening {
                    Ok(reader) => reader,
                    Err(ReaderError::NoSuchSnapshot(_)) => continue,
                    Err(error) => panic!("{error:?}"),
                };
                opened += 1;
                let value = reader.info().position.roots["value"];
                // Once the writer has had the time to use the blocks again, were they free.
                let seen = rounds.load(Ordering::Relaxed);
                let deadline = Instant::now() + Duration::from_millis(50);
                while rounds.load(Ordering::Relaxed) < seen + 8 && Instant::now() < deadline {
                    std::thread::yield_now();
                }
                for page in (0..PAGES as u64).step_by(16) {
                    let mut word = [0; 8];
                    reader.read(address + page * 4096, &mut word).unwrap();
                    assert_eq!(u64::from_le_bytes(word), value + page);
                }
            }
            opened
        });
        let (mut value, mut refused, mut kept, mut rounds_until_kept) = (1, 0, 0, 0);
        while !reader.is_finished() {
            fill(&mut arena, value * 1000);
            match arena.snapshots().is_empty() {
                true => drop(arena.snapshot("first", 0, value).unwrap()),
                false => match arena.drop_snapshot("first") {
                    Ok(_) => {}
                    Err(CommitError::SnapshotInUse(_)) => refused += 1,
                    Err(error) => panic!("{error}"),
                },
            }
            arena.fold().unwrap();
            rounds_until_kept = u32::saturating_sub(rounds_until_kept, 1);
            if rounds_until_kept == 0 && !arena.snapshots().is_empty() {
                rounds_until_kept = 16;
                // The opening that is under way may have begun before the snapshot; the one after it did not.
                let seen = ended.load(Ordering::Acquire);
                let deadline = Instant::now() + Duration::from_secs(60);
                while ended.load(Ordering::Acquire) < seen + 2 && !reader.is_finished() {
                    assert!(Instant::now() < deadline, "no opening has ended in a minute");
                    std::thread::sleep(Duration::from_micros(100));
                }
                kept += u32::from(ended.load(Ordering::Acquire) >= seen + 2);
            }
            value += 1;
            rounds.fetch_add(1, Ordering::Relaxed);
        }
        let opened = reader.join().unwrap();
        println!(
            "{opened} of {OPENINGS} openings found it, which stayed {kept} times; {refused} drops of {value} rounds were refused"
        );
        assert!(kept > 0 && opened >= kept, "opened {opened} times, kept {kept} times");
    });
    assert_eq!(arena.store_mut().audit().unwrap().faults, Vec::<String>::new());
}

/// A commit that its writer did not finish is no damage: it is named as what it is.
#[test]
fn a_commit_that_was_not_finished_is_told_from_damage() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("unfinished.arena");
    // Nothing is folded, so the last record is one.
    let options = ArenaOptions { store: StoreOptions::default(), ..options(21) };
    let mut arena = Arena::create(&path, options).unwrap();
    let mut before = Vec::new();
    for value in 1..4 {
        before = std::fs::read(&path).unwrap();
        fill(&mut arena, value);
        arena.commit(0, value).unwrap();
    }
    drop(arena);
    let check = || banyan_arena::inspect::verify(&path, &mut |_, _| {}).unwrap();
    let sound = check();
    assert!(sound.damage.is_empty() && sound.unfinished.is_none());
    // The last page of the last record is as it was before.
    let mut bytes = std::fs::read(&path).unwrap();
    let word = (3 + PAGES as u64 - 1).to_le_bytes();
    let last = bytes.chunks(4096).rposition(|block| block.starts_with(&word)).unwrap();
    bytes[last * 4096..][..4096].fill(0);
    // The witnesses of the last commit have heard of it: it was finished, and is damaged now.
    std::fs::write(&path, &bytes).unwrap();
    let damaged = banyan_arena::inspect::verify(&path, &mut |_, _| {}).map(drop).unwrap_err();
    assert!(damaged.to_string().contains(&format!("bytes {}..", last * 4096)), "{damaged}");
    let witnesses: Vec<usize> =
        (0..before.len() / 4096).filter(|block| before[block * 4096..].starts_with(b"BANYWITN")).collect();
    assert_eq!(witnesses.len(), 2);
    for at in witnesses {
        bytes[at * 4096..][..4096].copy_from_slice(&before[at * 4096..][..4096]);
    }
    std::fs::write(&path, &bytes).unwrap();
    let torn = check();
    assert!(torn.damage.is_empty(), "{:?}", torn.damage);
    assert_eq!(torn.unfinished.map(|range| range.offset), Some(last as u64 * 4096));
    assert_eq!(Arena::open(&path, options).unwrap().position().event, 2);
    // Once a writer has opened it, the record is gone.
    assert_eq!(check().unfinished, None);
}

#[test]
fn what_is_no_arena_file_is_refused_by_name() {
    let directory = tempfile::tempdir().unwrap();
    let refused = |path: &Path| Arena::open(path, options(3)).map(drop).unwrap_err();
    let file = |error| match error {
        ArenaError::File { source, .. } => source,
        other => panic!("{other}"),
    };
    assert!(matches!(file(refused(&directory.path().join("none"))), FileDiskError::NotFound));
    assert!(matches!(file(refused(directory.path())), FileDiskError::NotAFile));
    // A pipe that nothing writes to is not waited for.
    let pipe = directory.path().join("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    assert!(matches!(file(refused(&pipe)), FileDiskError::NotAFile));
    let read = banyan_arena::inspect::info(&pipe).map(drop);
    assert!(matches!(read, Err(banyan_arena::inspect::InspectError::File(FileDiskError::NotAFile))));
    let text = directory.path().join("text");
    std::fs::write(&text, "not an arena").unwrap();
    assert!(matches!(refused(&text), ArenaError::Open(_)));
    assert_eq!(std::fs::read(&text).unwrap(), b"not an arena");
    let above = directory.path().join("no such directory").join("file");
    assert!(matches!(Arena::create(&above, options(3)).map(drop), Err(ArenaError::File { .. })));
}

/// Mounts a memory file system over a directory in its own namespace and plays a role in it.
fn in_a_file_system(role: &str, size: &str, remount: &str, base: u64) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("the.arena");
    Arena::create(&path, options(base)).map(drop).unwrap();
    let script = format!(
        "mount -t tmpfs -o size={size} none \"$1\" && cd \"$1\" && {remount} \
         exec \"$2\" --exact child_process --nocapture --test-threads=1"
    );
    let output = Command::new("unshare")
        .args(["--mount", "sh", "-c", &script, "sh"])
        .arg(directory.path())
        .arg(std::env::current_exe().unwrap())
        .env("BANYAN_ARENA_ROLE", role)
        .env("BANYAN_ARENA_PATH", &path)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    if text.contains("unshare failed") {
        println!("skipped: no mount namespaces here: {text}");
        return;
    }
    succeeds(&output);
}

#[test]
fn a_read_only_file_system_is_refused_for_writing() {
    in_a_file_system("read-only", "64m", "", 6);
}

fn on_a_read_only_file_system(path: &Path) {
    let mut arena = Arena::create(path, options(4)).unwrap();
    fill(&mut arena, 7);
    arena.snapshot("first", 0, 7).unwrap();
    arena.fold().unwrap();
    drop(arena);
    let before = std::fs::read(path).unwrap();
    let remounted = Command::new("mount").args(["-o", "remount,ro"]).arg(path.parent().unwrap()).status();
    assert!(remounted.unwrap().success());
    for result in [
        Arena::open(path, options(4)).map(drop),
        Arena::create(&path.with_extension("new"), options(4)).map(drop),
    ] {
        let error = result.unwrap_err();
        assert!(
            matches!(error, ArenaError::File { source: FileDiskError::ReadOnlyFileSystem, .. }),
            "{error:?}"
        );
    }
    read_snapshot(path, true);
    assert_eq!(std::fs::read(path).unwrap(), before);
}

#[test]
fn a_full_disk_loses_nothing() {
    in_a_file_system("small", "24m", "", 7);
}

fn on_a_small_file_system(path: &Path) {
    let mut arena = Arena::create(path, options(4)).unwrap();
    fill(&mut arena, 1);
    arena.commit(0, 1).unwrap();
    let layout = Layout::from_size_align(40 << 20, 4096).unwrap();
    let large = arena.allocate(layout).unwrap();
    // SAFETY: the object was just allocated with this size.
    unsafe { large.write_bytes(1, 40 << 20) };
    let error = arena.commit(0, 2).unwrap_err();
    assert!(matches!(error, CommitError::DiskFull { .. }), "{error:?}");
    // The arena goes on: undone, and then with less.
    arena.rollback().unwrap();
    fill(&mut arena, 3);
    arena.commit(0, 3).unwrap();
    drop(arena);
    // Full before it begins: no room even for a new one, and no file is left.
    std::fs::write(path.with_extension("filler"), vec![1; 30 << 20]).unwrap_err();
    let second = path.with_extension("second");
    let error = Arena::create(&second, options(5)).map(drop).unwrap_err();
    assert!(matches!(error, ArenaError::Create(CreateError::DiskFull { .. })), "{error:?}");
    assert!(!second.exists());
    let arena = Arena::open(path, options(4)).unwrap();
    assert_eq!((arena.position().event, arena.root("value")), (3, Some(3)));
}
