//! The arena's file, its pages and records with checksums made right, and jammed nouns.
//!
//! `open` and `tree` themselves are in `banyan_pages::store::fuzzing`, which makes checksums right over
//! changes.

use std::sync::Arc;

use banyan_arena::noun::Nouns;
use banyan_pages::disk::MemoryDisk;
use banyan_pages::store::{Identity, fuzzing};
use fastrand::Rng;

use crate::Target;

use banyan_arena::{Arena, ArenaOptions};

/// The targets.
pub const TARGETS: &[Target] = &[
    Target { inputs: jams, kept_bytes_max: 4096, inputs_in_test: 2000, ..Target::new("arena_cue", cue) },
    Target {
        inputs: sample,
        mutate: Some(file),
        inputs_in_test: 3000,
        ..Target::new("arena_file", fuzzing::open)
    },
    Target {
        inputs: sample,
        mutate: Some(page),
        inputs_in_test: 3000,
        ..Target::new("arena_page", fuzzing::tree)
    },
];

/// Cue of any bytes gives a noun or an error; a noun comes back from its own jam.
pub fn cue(input: &[u8]) {
    let identity = Identity { uuid: [7; 16], base: 0x5000_0000_0000, reservation: 1 << 32 };
    let disk = Arc::new(MemoryDisk::default());
    let Ok(mut arena) = Arena::format(disk, identity, ArenaOptions::default()) else { return };
    let mut nouns = Nouns::new(&mut arena);
    if let Ok(noun) = nouns.cue(input) {
        let jammed = nouns.jam(noun);
        let again = nouns.cue(&jammed).expect("a jam is a jam");
        assert!(nouns.equal(noun, again), "it came back as another");
        assert_eq!(nouns.jam(again), jammed, "equal nouns have one jam");
    }
}

/// Jams with texts, sharing and references.
fn jams() -> Vec<Vec<u8>> {
    let jams: [&[u8]; 8] = [
        &[0x02],
        &[0x0c],
        &[0x48],
        &[0x29],
        &[0x31, 0x03],
        &[0x21, 0xd1],
        &[0x71, 0x48, 0x34],
        &[0xc5, 0xc8, 0x26, 0x27, 0x01],
    ];
    jams.iter().map(|jam| jam.to_vec()).collect()
}

fn sample() -> Vec<Vec<u8>> {
    fuzzing::sample().into_iter().collect()
}

fn file(random: &mut Rng, whole: &[u8]) -> Vec<u8> {
    fuzzing::mutated(whole, &mut |below| random.usize(..below.max(1)))
}

/// A piece of such a file, as long as a page.
fn page(random: &mut Rng, whole: &[u8]) -> Vec<u8> {
    let bytes = file(random, whole);
    let start = random.usize(..bytes.len().max(1)).min(bytes.len());
    bytes[start..(start + 4096).min(bytes.len())].to_vec()
}
