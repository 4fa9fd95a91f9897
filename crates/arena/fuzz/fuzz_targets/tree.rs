//! Any bytes as a node of the page directory, a log record, a meta slot, with their checksums made right.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| banyan_arena::store::fuzzing::tree(bytes));
