//! Every fuzz target, briefly, and for `BANYAN_FUZZ_SECONDS` each if that is set.
#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use banyan_fuzz::{call, mutate, targets};
use proptest::prelude::*;

/// Runs a target: whatever the bytes are, they are taken or refused.
fn run(name: &str) {
    let all = targets();
    let target = all.iter().find(|target| target.name == name).unwrap();
    let seconds: Option<u64> = std::env::var("BANYAN_FUZZ_SECONDS").ok().and_then(|text| text.parse().ok());
    let (time, inputs) = match seconds {
        Some(seconds) => (Duration::from_secs(seconds), u64::MAX),
        None => (Duration::from_secs(10), target.inputs_in_test),
    };
    // A longer run is another one.
    let ran = mutate::run(target, seconds.unwrap_or(1), time, inputs);
    println!("{name}: {} inputs, slowest {:?}", ran.inputs, ran.slowest);
    assert!(ran.inputs > 0);
}

macro_rules! tests {
    ($($name:ident)+) => {
        $(#[test] fn $name() { run(stringify!($name)); })+
        const TESTED: &[&str] = &[$(stringify!($name)),+];
    };
}

tests! {
    coherence handshake deputy control cluster company sql services statistics stub program
    company_store company_snapshot company_state local_question local_json certificate script page_request
    token view_row
    call_request call_reply call_value call_header call_library call_service call_policy
    stream_frame stream_value stream_message
    actor_module actor_message actor_native actor_state actor_frame
    kept_pages kept_records kept_budgets
    arena_cue arena_file arena_page arena_image arena_states
    heap_header heap_words
}

/// A target without a test, or without a program for cargo-fuzz, would be forgotten.
#[test]
fn every_target_has_its_test_and_its_program() {
    let all: BTreeSet<String> = targets().iter().map(|target| target.name.to_owned()).collect();
    assert_eq!(all.len(), targets().len());
    assert_eq!(all, TESTED.iter().map(|name| (*name).to_owned()).collect());
    let programs = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz_targets").read_dir().unwrap();
    let names = programs.map(|entry| entry.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned());
    assert_eq!(all, names.collect());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn any_bytes_from_a_caller_or_a_worker(bytes in prop::collection::vec(any::<u8>(), 0..700)) {
        call::requests(&bytes);
        call::replies(&bytes);
        call::exports(&bytes);
    }
}
