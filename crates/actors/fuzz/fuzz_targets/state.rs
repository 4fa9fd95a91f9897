//! Any bytes and addresses are the state of an actor, or an error: a table of handles with holes, pages outside of the
//! memory, globals of other types. An actor that comes of it stays within its bounds.
#![no_main]

mod common;

use banyan_actors::Packet;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let state = Packet { bytes: data.to_vec(), addresses: Vec::new() };
    if let Ok(actor) = common::auction().rebuild(&state) {
        common::run(actor, &[b"\x01a\x05\x00"], 1);
    }
});
