//! Cue of any bytes gives a noun or an error; a noun comes back from its own jam.
#![no_main]

use std::sync::Arc;

use banyan_arena::disk::MemoryDisk;
use banyan_arena::noun::Nouns;
use banyan_arena::store::Identity;
use banyan_arena::{Arena, ArenaOptions};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let identity = Identity { uuid: [7; 16], base: 0x5000_0000_0000, reservation: 1 << 32 };
    let Ok(mut arena) = Arena::format(Arc::new(MemoryDisk::default()), identity, ArenaOptions::default()) else { return };
    let mut nouns = Nouns::new(&mut arena);
    if let Ok(noun) = nouns.cue(input) {
        let jammed = nouns.jam(noun);
        let again = nouns.cue(&jammed).expect("a jam is a jam");
        assert!(nouns.equal(noun, again), "it came back as another");
    }
});
