//! kill -9 of what copies an arena: of an export, whole or of what changed since a commit, and of an import,
//! before and after each of its system calls that change something; and at random instants of an export
//! beside a busy writer, and of that writer. What has its name is whole, what was left behind is in nobody's
//! way, and the arena is as its writer left it. `BANYAN_ARENA_KILLS` sets the number of kills at random.
//!
//! The child that is killed is traced (ptrace(2)) by the thread of the test, which so sees its calls.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use banyan_arena::inspect::{self, Export};
use banyan_arena::store::StoreOptions;
use banyan_arena::{Arena, ArenaOptions};

use super::{change, words_after};

const COUNT: u64 = 20_000;
const BASE: u64 = 0x5c00_0000_0000;
const DEADLINE: Duration = Duration::from_secs(240);

/// What changes a file or its name, or makes that durable. Of reads there are many, and none is a point.
const CHANGES: &[i64] = &[
    libc::SYS_write,
    libc::SYS_pwrite64,
    libc::SYS_pwritev,
    libc::SYS_pwritev2,
    libc::SYS_ftruncate,
    libc::SYS_fallocate,
    libc::SYS_fsync,
    libc::SYS_fdatasync,
    libc::SYS_rename,
    libc::SYS_renameat2,
    libc::SYS_link,
    libc::SYS_linkat,
    libc::SYS_unlink,
    libc::SYS_unlinkat,
    libc::SYS_openat,
    libc::SYS_flock,
];

fn options() -> ArenaOptions {
    let mut store = StoreOptions::default();
    (store.segment_blocks, store.fold_blocks) = (64, 64);
    ArenaOptions { base: BASE, reservation: 1 << 30, store, ..Default::default() }
}

/// An arena with some events in it.
fn make(path: &Path, events: u64) {
    let mut arena = Arena::create(path, options()).unwrap();
    arena.vec::<u64>("words").unwrap().extend_from_slice(&vec![0; COUNT as usize]).unwrap();
    (1..=events).for_each(|event| change(&mut arena, event));
}

/// What a child does, by the variable that tells it.
const CHILD: &str = "BANYAN_TRANSFER_CHILD";

#[test]
fn child_of_the_kill_tests() {
    let Ok(what) = std::env::var(CHILD) else { return };
    let path = |name: &str| PathBuf::from(std::env::var_os(name).unwrap());
    if std::env::var_os("TRACED").is_some() {
        be_traced();
    }
    match what.as_str() {
        "export" => {
            let since = std::env::var("SINCE").ok();
            let what = Export { since: since.as_deref(), ..Default::default() };
            inspect::export(&path("ARENA"), what, &path("IMAGE"), &mut |_, _| {}).unwrap();
        }
        "import" => {
            inspect::import(&[path("WHOLE"), path("IMAGE")], &path("COPY"), &mut |_, _| {}).unwrap();
        }
        _ => {
            let mut arena = Arena::open(&path("ARENA"), options()).unwrap();
            let mut out = std::io::stdout();
            for event in arena.position().event + 1..1_000_000 {
                change(&mut arena, event);
                out.write_all(format!("acknowledged {event}\n").as_bytes()).unwrap();
            }
        }
    }
}

/// Has the thread that has started this process trace this one.
fn be_traced() {
    println!("thread {}", rustix::thread::gettid().as_raw_nonzero());
    // SAFETY: no memory is passed; the tracer, which waits for this thread, lets it go on.
    unsafe {
        libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0);
        libc::raise(libc::SIGSTOP);
    }
}

fn child(what: &str, variables: &[(&str, &Path)]) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", "kills::child_of_the_kill_tests", "--nocapture", "--test-threads=1"])
        .env(CHILD, what)
        .envs(variables.iter().copied())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    command
}

/// Waits until the thread stops or ends; `None` when it has ended.
fn stopped(thread: i32, deadline: Instant) -> Option<i32> {
    loop {
        let mut status = 0;
        // SAFETY: the status is a local variable.
        let found = unsafe { libc::waitpid(thread, &raw mut status, libc::__WALL | libc::WNOHANG) };
        if found == thread {
            return libc::WIFSTOPPED(status).then(|| libc::WSTOPSIG(status));
        }
        // Before it asks to be traced, it is nobody's to wait for.
        assert!(Instant::now() < deadline, "the child does nothing");
        std::thread::yield_now();
    }
}

/// Runs a child that is killed at a moment: before (even) or after (odd) the changing call of half that
/// number. Gives the moments that it came to.
fn killed_at(mut command: Command, moment: Option<u64>) -> u64 {
    let deadline = Instant::now() + DEADLINE;
    let mut child = command.env("TRACED", "1").spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    let thread = lines.find_map(|line| line.rsplit_once("thread ")?.1.trim().parse::<i32>().ok()).unwrap();
    assert_eq!(stopped(thread, deadline), Some(libc::SIGSTOP));
    let (call, mut signal) = (libc::SIGTRAP | 0x80, 0_i32);
    // SAFETY: the thread has stopped and is traced by this one; options are numbers.
    unsafe {
        let options = libc::PTRACE_O_TRACESYSGOOD | libc::PTRACE_O_EXITKILL;
        libc::ptrace(libc::PTRACE_SETOPTIONS, thread, 0, options);
    }
    let (mut moments, mut inside) = (0, false);
    loop {
        // SAFETY: as above.
        unsafe { libc::ptrace(libc::PTRACE_SYSCALL, thread, 0, signal) };
        signal = 0;
        match stopped(thread, deadline) {
            None => break,
            Some(stop) if stop == call => {
                // SAFETY: registers are numbers, which the kernel overwrites.
                let mut registers: libc::user_regs_struct = unsafe { std::mem::zeroed() };
                // SAFETY: as above, and the registers are a local variable.
                unsafe { libc::ptrace(libc::PTRACE_GETREGS, thread, 0, &raw mut registers) };
                inside = !inside;
                if CHANGES.contains(&registers.orig_rax.cast_signed()) {
                    if moment == Some(moments) {
                        child.kill().unwrap();
                    }
                    moments += 1;
                }
            }
            Some(other) => signal = other,
        }
    }
    child.wait().unwrap();
    moments
}

fn names(directory: &Path) -> BTreeSet<String> {
    let entries = std::fs::read_dir(directory).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

/// What images make is the arena after so many events.
fn check_images(images: &[PathBuf], copy: &Path) -> u64 {
    let event = inspect::import(images, copy, &mut |_, _| {}).unwrap().position.event;
    check_copy(copy, event);
    std::fs::remove_file(copy).unwrap();
    event
}

fn check_copy(copy: &Path, event: u64) {
    assert_eq!(inspect::verify(copy, &mut |_, _| {}).unwrap().damage, []);
    let mut arena = Arena::open(copy, ArenaOptions::default()).unwrap();
    assert_eq!(arena.position().event, event);
    assert!(arena.vec::<u64>("words").unwrap()[..] == words_after(event, COUNT), "event {event}");
}

/// These use the same addresses.
static ONE_AT_A_TIME: std::sync::Mutex<()> = std::sync::Mutex::new(());

/// A directory with an arena of four events, a whole image of two, and one of what changed since.
fn prepared() -> (tempfile::TempDir, String) {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str| directory.path().join(name);
    make(&file("state"), 2);
    let whole = inspect::export(&file("state"), Export::default(), &file("whole"), &mut |_, _| {}).unwrap();
    let mut arena = Arena::open(&file("state"), ArenaOptions::default()).unwrap();
    change(&mut arena, 3);
    change(&mut arena, 4);
    drop(arena);
    (directory, whole.position.transaction.to_string())
}

#[test]
fn an_export_that_is_killed_at_any_change_is_whole_or_not_there() {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let (directory, since) = prepared();
    let file = |name: &str| directory.path().join(name);
    let before = std::fs::read(file("state")).unwrap();
    for since in [None, Some(since.as_str())] {
        let exporting = || {
            let mut command = child("export", &[("ARENA", &file("state")), ("IMAGE", &file("image"))]);
            command.envs(since.map(|since| ("SINCE", since)));
            command
        };
        let check_image = || {
            let image = file("image");
            let images =
                if since.is_some() { vec![file("whole"), image.clone()] } else { vec![image.clone()] };
            assert_eq!(check_images(&images, &file("copy")), 4);
            std::fs::remove_file(image).unwrap();
        };
        let moments = killed_at(exporting(), None);
        assert!(moments >= 10, "{moments}: it is opened, written, synced, named");
        check_image();
        let (mut absent, mut whole) = (0, 0);
        for moment in 0..moments {
            killed_at(exporting(), Some(moment));
            if file("image").exists() {
                whole += 1;
            } else {
                absent += 1;
                inspect::export(
                    &file("state"),
                    Export { since, ..Default::default() },
                    &file("image"),
                    &mut |_, _| {},
                )
                .unwrap();
            }
            check_image();
            assert_eq!(
                names(directory.path()),
                BTreeSet::from(["state", "whole"].map(str::to_owned)),
                "{moment}"
            );
        }
        assert!(absent > 0 && whole > 0, "{absent} and {whole} of {moments}");
    }
    assert!(std::fs::read(file("state")).unwrap() == before, "an arena that is exported is not changed");
}

#[test]
fn an_import_that_is_killed_at_any_change_is_whole_or_not_there() {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let (directory, since) = prepared();
    let file = |name: &str| directory.path().join(name);
    let what = Export { since: Some(&since), ..Default::default() };
    inspect::export(&file("state"), what, &file("image"), &mut |_, _| {}).unwrap();
    let images = [file("whole"), file("image")];
    let importing =
        || child("import", &[("WHOLE", &file("whole")), ("IMAGE", &file("image")), ("COPY", &file("copy"))]);
    let moments = killed_at(importing(), None);
    assert!(moments >= 10, "{moments}");
    check_copy(&file("copy"), 4);
    std::fs::remove_file(file("copy")).unwrap();
    for moment in 0..moments {
        killed_at(importing(), Some(moment));
        if !file("copy").exists() {
            inspect::import(&images, &file("copy"), &mut |_, _| {}).unwrap();
        }
        check_copy(&file("copy"), 4);
        std::fs::remove_file(file("copy")).unwrap();
        let expected = ["image", "state", "whole"].map(str::to_owned);
        assert_eq!(names(directory.path()), BTreeSet::from(expected), "{moment}");
    }
}

/// A writer in a process of its own.
struct Writer {
    child: Child,
    out: ChildStdout,
}

impl Writer {
    fn start(arena: &Path) -> Self {
        let mut child = child("write", &[("ARENA", arena)]).spawn().unwrap();
        let out = child.stdout.take().unwrap();
        Self { child, out }
    }

    /// Kills it; gives the last event that it has acknowledged, if any.
    fn kill(mut self) -> Option<u64> {
        self.child.kill().unwrap();
        let told = BufReader::new(self.out).lines().map_while(Result::ok);
        let last = told.filter_map(|line| line.rsplit_once("acknowledged ")?.1.trim().parse().ok()).last();
        self.child.wait().unwrap();
        last
    }
}

/// The commit that an image is of, which stands behind its pages (docs/formats/arena.md).
fn commit_of(image: &Path) -> u64 {
    let bytes = std::fs::read(image).unwrap();
    let pages = bytes[48..].chunks(12 + 4096).take_while(|record| record[..4] == 1_u32.to_le_bytes()).count();
    let behind = 48 + pages * (12 + 4096) + 4;
    u64::from_le_bytes(bytes[behind..behind + 8].try_into().unwrap())
}

fn rounds() -> u64 {
    let all = std::env::var("BANYAN_ARENA_KILLS").ok().and_then(|text| text.parse().ok());
    all.unwrap_or(if cfg!(debug_assertions) { 100 } else { 1000 }) / 5
}

#[test]
fn exports_and_their_writer_are_killed_at_random() {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let deadline = Instant::now() + DEADLINE;
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str| directory.path().join(name);
    make(&file("state"), 2);
    // Images that follow on each other, and the commit and the event of the last.
    let (mut images, mut last): (Vec<PathBuf>, (u64, u64)) = (Vec::new(), (0, 0));
    let (mut exported, mut known) = (0, 2);
    for round in 0..rounds() {
        assert!(Instant::now() < deadline, "only {round} rounds within the deadline");
        if images.len() == 5 {
            images.drain(..).for_each(|image| std::fs::remove_file(image).unwrap());
        }
        let image = file(&format!("image-{}", images.len()));
        let writer = Writer::start(&file("state"));
        std::thread::sleep(Duration::from_millis(5 + round * 7919 % 20));
        let mut command = child("export", &[("ARENA", &file("state")), ("IMAGE", &image)]);
        if !images.is_empty() {
            command.env("SINCE", last.0.to_string());
        }
        let mut exporter = command.spawn().unwrap();
        std::thread::sleep(Duration::from_micros(round * 104_729 % 40_000));
        // Now the one, now the other, now both.
        let (ends, writes_on) = (round % 3 == 1, round % 3 == 0);
        if !ends {
            exporter.kill().unwrap();
        }
        if writes_on {
            exporter.wait().unwrap();
        }
        let acknowledged = writer.kill();
        exporter.wait().unwrap();
        known = acknowledged.unwrap_or(known).max(known);
        if ends {
            assert!(image.exists(), "an export that is not killed ends well, whatever its writer does");
        }
        if !image.exists() {
            continue;
        }
        images.push(image);
        let copy = file("copy");
        let position = inspect::import(&images, &copy, &mut |_, _| {}).unwrap().position;
        check_copy(&copy, position.event);
        std::fs::remove_file(&copy).unwrap();
        let info = inspect::info(&file("state")).unwrap();
        assert!(position.event >= last.1 && position.event <= info.position.event, "{position:?}");
        assert!(info.position.event >= known, "{} of {known} acknowledged events", info.position.event);
        last = (commit_of(images.last().unwrap()), position.event);
        exported += 1;
    }
    assert!(exported >= rounds() / 4, "{exported} exports in {} rounds", rounds());
    assert_eq!(inspect::verify(&file("state"), &mut |_, _| {}).unwrap().damage, []);
    check_copy(&file("state"), inspect::info(&file("state")).unwrap().position.event);
}
