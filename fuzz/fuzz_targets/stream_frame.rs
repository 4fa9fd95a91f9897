//! The target `stream_frame` for cargo-fuzz.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| banyan_fuzz::run("stream_frame", bytes));
