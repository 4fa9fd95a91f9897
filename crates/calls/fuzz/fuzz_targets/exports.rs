//! Reads any bytes as a shared library.
#![no_main]
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = banyan_calls::generate::Exports::parse(std::path::Path::new("library"), bytes);
});
