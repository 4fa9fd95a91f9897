//! The target `local_json` for cargo-fuzz.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| banyan_fuzz::run("local_json", bytes));
