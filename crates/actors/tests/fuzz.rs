//! The fuzz targets, briefly, and for `BANYAN_FUZZ_SECONDS` each if that is set.
#![cfg(feature = "wasm")]

#[path = "../fuzz/src/lib.rs"]
#[expect(unreachable_pub, reason = "it is a crate of its own for the fuzzers")]
mod targets;

use std::time::Duration;

#[test]
fn any_bytes_are_taken_or_refused() {
    let seconds = std::env::var("BANYAN_FUZZ_SECONDS").ok().and_then(|text| text.parse().ok());
    for target in targets::TARGETS {
        let (time, runs) = match seconds {
            Some(seconds) => (Duration::from_secs(seconds), u64::MAX),
            None => (Duration::from_secs(10), 300),
        };
        let seed = seconds.unwrap_or(1);
        let runs = targets::mutate(target, seed, time, runs);
        println!("{}: {runs} inputs", target.0);
        assert!(runs > 0);
    }
}
