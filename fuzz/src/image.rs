//! What goes into an arena from elsewhere: exported images, jammed nouns in files, and the two files of a
//! state that is kept as a whole.
//!
//! Checksums are made right over the changes, or they would be all that is tested.

use std::path::{Path, PathBuf};

use banyan_arena::ArenaOptions;
use banyan_arena::disk::FileDisk;
use banyan_arena::image::{Image, JamDoubleBuffer, Saved};
use banyan_arena::inspect::{Export, export, import, import_noun};
use banyan_arena::store::{Store, StoreOptions, fuzzing, page_checksum};
use fastrand::Rng;
use tempfile::TempDir;
use xxhash_rust::xxh3::xxh3_128;

use crate::{Target, mutate};

/// The targets.
pub const TARGETS: &[Target] = &[
    Target {
        inputs: images,
        mutate: Some(image),
        inputs_in_test: 300,
        ..Target::new("arena_image", images_of)
    },
    Target {
        inputs: states,
        mutate: Some(state),
        inputs_in_test: 1000,
        ..Target::new("arena_states", states_of)
    },
];

/// Bytes before an image's records, of which each has eight bytes before its page (docs/formats/arena.md).
const IMAGE_HEADER: usize = 8 + 16 + 3 * 8;
const PAGE_HEADER: usize = 4 + 4 + 4;
const PAGE: usize = 4096;
const SUM: usize = 16;
/// Bytes before a state's, up to its checksum and with it.
const STATE_SUMMED: usize = 40;
const STATE_HEADER: usize = STATE_SUMMED + SUM;

fn place() -> TempDir {
    tempfile::tempdir_in("/dev/shm").expect("memory has room")
}

fn names(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).expect("it is there");
    let mut names: Vec<PathBuf> = entries.map(|entry| entry.expect("it is there").path()).collect();
    names.sort();
    names
}

/// The parts of an input: each is as long as the four bytes before it say, and the last is the rest.
fn parts(bytes: &[u8]) -> Vec<&[u8]> {
    let (mut parts, mut rest) = (Vec::new(), bytes);
    while let Some((length, tail)) = rest.split_first_chunk::<4>() {
        let (part, tail) = tail.split_at((u32::from_le_bytes(*length) as usize).min(tail.len()));
        parts.push(part);
        rest = tail;
    }
    parts
}

fn joined<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for part in parts {
        bytes.extend((part.len() as u32).to_le_bytes());
        bytes.extend_from_slice(part);
    }
    bytes
}

/// Images that are imported one after the other: they become a whole arena, or none is there.
fn images_of(bytes: &[u8]) {
    let place = place();
    let inputs: Vec<PathBuf> = (0..)
        .zip(parts(bytes).into_iter().take(4))
        .map(|(number, part)| {
            let path = place.path().join(format!("{number}.image"));
            std::fs::write(&path, part).expect("memory has room");
            path
        })
        .collect();
    let before = names(place.path());
    let path = place.path().join("arena");
    match import(&inputs, &path, &mut |_, _| {}) {
        Ok(done) => {
            let disk = FileDisk::open(&path).expect("what was imported is there");
            let (mut store, _) = Store::open(disk, StoreOptions::default()).expect("it is an arena");
            assert_eq!(*store.position(), done.position);
            let report = store.verify(&mut |_, _| {}).expect("memory can be read");
            assert!(report.damage.is_empty(), "it is damaged: {:?}", report.damage);
        }
        // Why it is refused is for people.
        Err(error) => {
            assert!(!error.to_string().is_empty());
            assert_eq!(names(place.path()), before, "half an arena is there");
        }
    }
    if let Some(noun) = inputs.first() {
        noun_of(noun, place.path());
    }
}

/// The same bytes as a jammed noun.
fn noun_of(input: &Path, directory: &Path) {
    let path = directory.join("nouns");
    let before = names(directory);
    let options = ArenaOptions { reservation: 1 << 30, ..ArenaOptions::default() };
    if import_noun(input, &path, "noun", options).map_err(|error| error.to_string()).is_err() {
        assert_eq!(names(directory), before, "an arena without its noun is there");
    }
}

/// The two files of a state: the newer one that is whole is read, and the next is kept in place of the other.
fn states_of(bytes: &[u8]) {
    let place = place();
    for (name, part) in ["0.jam", "1.jam"].into_iter().zip(parts(bytes)) {
        std::fs::write(place.path().join(name), part).expect("memory has room");
    }
    let mut image = JamDoubleBuffer::open(place.path()).expect("memory can be read");
    let before = image.load().expect("memory can be read");
    if let Some(saved) = &before {
        let is_there = parts(bytes).iter().any(|part| part.ends_with(&saved.bytes));
        assert!(is_there, "a state that nobody has saved");
    }
    let next = Saved { epoch: 3, event: 4, bytes: b"the next one".to_vec() };
    image.save(next.epoch, next.event, &next.bytes).expect("memory has room");
    assert_eq!(image.load().expect("memory can be read"), Some(next.clone()));
    drop(image);
    let mut again = JamDoubleBuffer::open(place.path()).expect("memory can be read");
    assert_eq!(again.load().expect("memory can be read"), Some(next));
}

/// An arena exported whole, and what changed in it since one of its snapshots.
fn images() -> Vec<Vec<u8>> {
    let place = place();
    let arena = place.path().join("arena");
    let bytes = fuzzing::sample().expect("memory has room");
    std::fs::write(&arena, bytes).expect("memory has room");
    let read = |what: Export<'_>, name: &str| {
        let path = place.path().join(name);
        export(&arena, what, &path, &mut |_, _| {}).expect("the sample has this snapshot");
        std::fs::read(path).expect("it is there")
    };
    let snapshot = Some("at 22");
    let first = read(Export { snapshot, since: None }, "first");
    let since = read(Export { snapshot: None, since: snapshot }, "since");
    vec![joined([&first[..], &since])]
}

/// Changes one of the images, and makes the checksums of its pages and of the whole right.
fn image(random: &mut Rng, whole: &[u8]) -> Vec<u8> {
    let all = parts(whole);
    let chosen = random.usize(..all.len());
    let mut changed = all[chosen].to_vec();
    // Where numbers are: before the pages, and behind them.
    let mut pages = IMAGE_HEADER;
    let kind = |bytes: &[u8], at: usize| bytes.get(at..at + 4).is_some_and(|kind| kind == [1, 0, 0, 0]);
    while kind(&changed, pages) && pages + PAGE_HEADER + PAGE <= changed.len() {
        pages += PAGE_HEADER + PAGE;
    }
    match random.u8(..3) {
        0 => {
            let head = mutate::mutate(random, &[changed[..IMAGE_HEADER.min(pages)].to_vec()], &[]);
            changed.splice(..IMAGE_HEADER.min(pages), head);
        }
        1 => {
            let tail = mutate::mutate(random, &[changed[pages.min(changed.len())..].to_vec()], &[]);
            changed.splice(pages.min(changed.len()).., tail);
        }
        _ => {
            let count = (pages - IMAGE_HEADER) / (PAGE_HEADER + PAGE);
            let at = IMAGE_HEADER + random.usize(..count.max(1)) * (PAGE_HEADER + PAGE);
            let number = [0, 1, u32::MAX, 1 << 18, 3][random.usize(..5)];
            if let Some(place) = changed.get_mut(at + 4 * random.usize(..2)..) {
                let four = number.to_le_bytes();
                place.iter_mut().zip(four).for_each(|(byte, new)| *byte = new);
            }
        }
    }
    let mut at = IMAGE_HEADER;
    while kind(&changed, at) && at + PAGE_HEADER + PAGE <= changed.len() {
        let sum = page_checksum(&changed[at + PAGE_HEADER..at + PAGE_HEADER + PAGE]);
        changed[at + 8..at + PAGE_HEADER].copy_from_slice(&sum.to_le_bytes());
        at += PAGE_HEADER + PAGE;
    }
    if let Some(body) = changed.len().checked_sub(SUM) {
        let sum = xxh3_128(&changed[..body]).to_le_bytes();
        changed[body..].copy_from_slice(&sum);
    }
    joined(all.iter().enumerate().map(|(number, part)| if number == chosen { &changed[..] } else { part }))
}

/// The files of a state that was saved twice.
fn states() -> Vec<Vec<u8>> {
    let place = place();
    let mut image = JamDoubleBuffer::open(place.path()).expect("memory has room");
    for event in 1..=2 {
        image.save(1, event, format!("state {event}").as_bytes()).expect("memory has room");
    }
    let files: Vec<Vec<u8>> =
        names(place.path()).iter().map(|path| std::fs::read(path).expect("it is there")).collect();
    vec![joined(files.iter().map(Vec::as_slice))]
}

/// Changes one of the files, and mostly makes its checksum right.
fn state(random: &mut Rng, whole: &[u8]) -> Vec<u8> {
    let all = parts(whole);
    let chosen = random.usize(..all.len());
    let mut changed = mutate::mutate(random, &[all[chosen].to_vec()], &[]);
    if let Some((header, body)) = changed.split_at_mut_checked(STATE_HEADER)
        && random.u8(..8) != 0
    {
        let sum = xxh3_128(body) ^ xxh3_128(&header[..STATE_SUMMED]).rotate_left(64);
        header[STATE_SUMMED..].copy_from_slice(&sum.to_le_bytes());
    }
    joined(all.iter().enumerate().map(|(number, part)| if number == chosen { &changed[..] } else { part }))
}
