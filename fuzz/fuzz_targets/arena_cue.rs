//! The target `arena_cue` for cargo-fuzz.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| banyan_fuzz::run("arena_cue", bytes));
