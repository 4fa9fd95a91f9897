//! What the fuzz targets do with bytes from anywhere. None may panic, or take memory without bound; `open`
//! and `tree` are in `banyan_arena::store::fuzzing`.

use std::sync::Arc;

use banyan_arena::disk::MemoryDisk;
use banyan_arena::noun::Nouns;
use banyan_arena::store::Identity;
use banyan_arena::{Arena, ArenaOptions};

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
