//! The target `arena_image` for cargo-fuzz.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| banyan_fuzz::run("arena_image", bytes));
