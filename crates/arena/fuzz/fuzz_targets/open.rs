//! Any bytes as an arena file: opened, read, verified. Refused or read, never a panic.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| banyan_arena::store::fuzzing::open(bytes));
