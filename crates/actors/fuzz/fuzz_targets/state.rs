//! See `banyan_actors_fuzz::state`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| banyan_actors_fuzz::state(data));
