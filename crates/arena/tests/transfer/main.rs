//! Exports: of the present beside a busy writer, of what changed since a commit, and what imports make of
//! them.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod kills;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use banyan_arena::inspect::{self, Export, ImportError, InspectError};
use banyan_arena::store::StoreOptions;
use banyan_arena::{Arena, ArenaOptions};

/// An arena at an address that no other test of this process uses.
fn options() -> ArenaOptions {
    static PLACES: AtomicU64 = AtomicU64::new(0);
    let base = 0x5800_0000_0000 + (PLACES.fetch_add(1, Ordering::Relaxed) << 36);
    ArenaOptions { base, reservation: 1 << 30, ..Default::default() }
}

fn export(path: &Path, since: Option<&str>, output: &Path) -> inspect::Transfer {
    let what = Export { since, ..Default::default() };
    inspect::export(path, what, output, &mut |_, _| assert!(!output.exists(), "half a file has the name"))
        .unwrap()
}

/// Writes `event` into a word of some pages, and into the first.
fn change(arena: &mut Arena, event: u64) {
    let mut words = arena.vec::<u64>("words").unwrap();
    let count = words.len() as u64;
    for step in 0..30 {
        words[((event * 7919 + step * 104_729) % count) as usize] = event;
    }
    words[0] = event;
    arena.commit(3, event).unwrap();
}

/// What the words must be after so many events.
fn words_after(events: u64, count: u64) -> Vec<u64> {
    let mut words = vec![0; count as usize];
    for event in 1..=events {
        for step in 0..30 {
            words[((event * 7919 + step * 104_729) % count) as usize] = event;
        }
        words[0] = event;
    }
    words
}

#[test]
fn what_changed_since_a_commit_follows_on_it() {
    const COUNT: u64 = 100_000;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("state");
    let file = |name: &str| directory.path().join(name);
    let mut arena = Arena::create(&path, options()).unwrap();
    arena.vec::<u64>("words").unwrap().extend_from_slice(&vec![0; COUNT as usize]).unwrap();
    arena.vec::<u64>("gone").unwrap().extend_from_slice(&vec![1; COUNT as usize]).unwrap();
    change(&mut arena, 1);
    let whole = export(&path, None, &file("whole"));
    change(&mut arena, 2);
    arena.vec::<u64>("gone").unwrap().delete();
    change(&mut arena, 3);
    let commit = whole.position.transaction.to_string();
    let first = export(&path, Some(&commit), &file("first"));
    assert!(first.pages < 200 && first.pages < whole.pages / 2, "{} of {}", first.pages, whole.pages);
    arena.snapshot("three", 3, 3).unwrap();
    // A fold and a compaction change no page.
    drop(arena);
    inspect::compact(&path, &mut |_, _| {}).unwrap();
    let between = export(&path, Some(&first.position.transaction.to_string()), &file("between"));
    assert_eq!(between.position.event, 3);
    let mut arena = Arena::open(&path, ArenaOptions::default()).unwrap();
    change(&mut arena, 4);
    let second = export(&path, Some("three"), &file("second"));
    drop(arena);

    let images = ["whole", "first", "between", "second"].map(file);
    for (count, event) in [(1, 1), (2, 3), (3, 3), (4, 4)] {
        let copy = file(&format!("copy-{count}"));
        let done = inspect::import(&images[..count], &copy, &mut |_, _| {}).unwrap();
        assert_eq!((done.position.epoch, done.position.event), (3, event));
        let mut copy = Arena::open(&copy, ArenaOptions::default()).unwrap();
        assert_eq!(copy.vec::<u64>("words").unwrap()[..], words_after(event, COUNT));
        assert_eq!(copy.vec::<u64>("gone").unwrap().len(), if count == 1 { COUNT as usize } else { 0 });
    }
    assert_eq!(second.position.event, 4);

    let refused = |names: &[&str]| {
        let images: Vec<PathBuf> = names.iter().map(|name| file(name)).collect();
        let error = inspect::import(&images, &file("none"), &mut |_, _| {}).unwrap_err();
        assert!(!file("none").exists());
        error
    };
    for wrong in [&["first"][..], &["whole", "second"], &["whole", "whole"], &["whole", "first", "first"]] {
        let error = refused(wrong);
        assert!(matches!(error, InspectError::Import(ImportError::NotNext { .. })), "{wrong:?}: {error}");
    }
    let image = std::fs::read(file("first")).unwrap();
    for at in (0..image.len()).step_by(image.len() / 40) {
        let mut wrong = image.clone();
        wrong[at] ^= 1;
        std::fs::write(file("wrong"), &wrong).unwrap();
        refused(&["whole", "wrong"]);
        std::fs::write(file("wrong"), &image[..at]).unwrap();
        refused(&["whole", "wrong"]);
    }
    for since in ["99", "0", "nothing", "-1"] {
        let what = Export { since: Some(since), ..Default::default() };
        let error = inspect::export(&path, what, &file("none"), &mut |_, _| {}).unwrap_err();
        assert!(matches!(error, InspectError::NoSuchCommit(name) if name == since));
        assert!(!file("none").exists());
    }
}

/// The writer folds with every few commits, so hardly any copy ends before it is overtaken.
#[test]
fn a_busy_writer_is_copied_whole() {
    const COUNT: u64 = 200_000;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("state");
    let mut store = StoreOptions::default();
    (store.segment_blocks, store.fold_blocks) = (64, 64);
    let mut arena = Arena::create(&path, ArenaOptions { store, ..options() }).unwrap();
    arena.vec::<u64>("words").unwrap().extend_from_slice(&vec![0; COUNT as usize]).unwrap();
    change(&mut arena, 1);
    let done = AtomicBool::new(false);
    let images: Vec<PathBuf> =
        (0..6).map(|number| directory.path().join(format!("image-{number}"))).collect();
    struct Done<'a>(&'a AtomicBool);
    impl Drop for Done<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    std::thread::scope(|scope| {
        // Also when an export fails: the writer would go on for ever.
        let ends = Done(&done);
        let writer = scope.spawn(|| {
            let mut event = 1;
            while !done.load(Ordering::Relaxed) {
                event += 1;
                change(&mut arena, event);
            }
            event
        });
        let mut before: Option<u64> = None;
        for image in &images {
            let exported = export(&path, before.map(|commit| commit.to_string()).as_deref(), image);
            before = Some(exported.position.transaction);
        }
        drop(ends);
        assert!(writer.join().unwrap() > 10);
    });
    drop(arena);
    for count in 1..=images.len() {
        let copy = directory.path().join(format!("copy-{count}"));
        let event = inspect::import(&images[..count], &copy, &mut |_, _| {}).unwrap().position.event;
        let mut copy = Arena::open(&copy, ArenaOptions::default()).unwrap();
        assert!(copy.vec::<u64>("words").unwrap()[..] == words_after(event, COUNT), "event {event}");
    }
}

/// What an older build wrote: the roots first, and the pages in order.
#[test]
fn an_image_of_the_first_version_is_imported() {
    let directory = tempfile::tempdir().unwrap();
    let (image, copy) = (directory.path().join("image"), directory.path().join("copy"));
    let mut bytes = b"BANYEXP1".to_vec();
    for field in [1_u64 << 44, 1 << 30, 5, 6] {
        bytes.extend(field.to_le_bytes());
    }
    bytes.extend(1_u16.to_le_bytes());
    bytes.extend(4_u16.to_le_bytes());
    bytes.extend(b"root");
    bytes.extend(77_u64.to_le_bytes());
    bytes.extend(2_u64.to_le_bytes());
    for page in [20_u32, 300] {
        let content = [page as u8; 4096];
        bytes.extend(page.to_le_bytes());
        bytes.extend(crc32c::crc32c(&content).to_le_bytes());
        bytes.extend(content);
    }
    let sum = xxhash_rust::xxh3::xxh3_128(&bytes);
    bytes.extend(sum.to_le_bytes());
    std::fs::write(&image, &bytes).unwrap();
    let done = inspect::import(&[image], &copy, &mut |_, _| {}).unwrap();
    assert_eq!((done.pages, done.position.epoch, done.position.event), (2, 5, 6));
    let info = inspect::info(&copy).unwrap();
    assert_eq!((info.pages, info.position.roots["root"]), (2, 77));
    assert!(inspect::verify(&copy, &mut |_, _| {}).unwrap().damage.is_empty());
}

/// What is no file is named, and a pipe that nobody writes to is not waited for.
#[test]
fn what_is_no_file_is_not_imported() {
    let directory = tempfile::tempdir().unwrap();
    let (pipe, made) = (directory.path().join("pipe"), directory.path().join("made"));
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &pipe,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
        0,
    )
    .unwrap();
    for input in [pipe, directory.path().to_owned(), "/dev/null".into()] {
        let image = inspect::import(std::slice::from_ref(&input), &made, &mut |_, _| {}).unwrap_err();
        let jam = inspect::import_noun(&input, &made, "noun", options()).unwrap_err();
        for error in [image, jam] {
            assert!(
                matches!(&error, InspectError::Import(ImportError::NotAFile(found)) if *found == input),
                "{error:?}"
            );
        }
        assert!(!made.exists());
    }
}
