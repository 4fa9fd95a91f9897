//! The fuzz targets, briefly, and for `BANYAN_FUZZ_SECONDS` each if that is set.
#![cfg(feature = "wasm")]

#[path = "../fuzz/src/lib.rs"]
#[expect(unreachable_pub, reason = "it is a crate of its own for the fuzzers")]
mod targets;

use std::time::Duration;

/// Runs a target: whatever the bytes are, they are taken or refused.
fn run(name: &str) {
    let target = targets::TARGETS.iter().find(|(known, ..)| *known == name).expect("there is such a target");
    let seconds = std::env::var("BANYAN_FUZZ_SECONDS").ok().and_then(|text| text.parse().ok());
    let (time, runs) = match seconds {
        Some(seconds) => (Duration::from_secs(seconds), u64::MAX),
        None => (Duration::from_secs(10), 300),
    };
    let runs = targets::mutate(target, seconds.unwrap_or(1), time, runs);
    println!("{name}: {runs} inputs");
    assert!(runs > 0);
}

#[test]
fn any_bytes_as_a_module() {
    run("module");
}

#[test]
fn any_bytes_as_a_message() {
    run("message");
}

#[test]
fn any_bytes_as_a_state() {
    run("state");
}

#[test]
fn any_bytes_from_a_peer() {
    run("frames");
}
