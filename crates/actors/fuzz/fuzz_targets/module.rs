//! Any bytes are refused as a module, or become actors that stay within their bounds. Begin with the corpus that
//! `seed.sh` makes: from nothing, a fuzzer hardly ever finds a module.
#![no_main]

mod common;

use banyan_actors::Packet;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(module) = common::engine().compile(data) {
        common::run(module.actor(0, Packet::default()), &[b"", b"message"], 1);
    }
});
