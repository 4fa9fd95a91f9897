//! See `banyan_arena_fuzz::cue`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| banyan_arena_fuzz::cue(input));
