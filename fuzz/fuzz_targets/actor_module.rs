//! The target `actor_module` for cargo-fuzz.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| banyan_fuzz::run("actor_module", bytes));
