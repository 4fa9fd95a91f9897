//! Any bytes and addresses are a message to a guest, or an error of that event: here to an SDK's decoder in its sandbox,
//! and back from there to the host. The first byte says how many addresses; the rest are two messages.
#![no_main]

mod common;

use banyan_actors::Packet;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((addresses, data)) = data.split_first() else { return };
    let (one, other) = data.split_at(data.len() / 2);
    let start = Packet { bytes: one.to_vec(), addresses: Vec::new() };
    let addresses = usize::from(*addresses % 4);
    common::run(common::auction().actor(u32::from(data.len() as u8 % 4), start), &[one, other], addresses);
    let start = Packet::encode(&"house").unwrap();
    common::run(common::auction().actor(0, start), &[data, other], addresses);
});
