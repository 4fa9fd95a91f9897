//! See `banyan_calls_fuzz::stream::messages`.
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| banyan_calls_fuzz::stream::messages(bytes));
