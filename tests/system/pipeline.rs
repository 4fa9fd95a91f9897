//! The program as one stage of a shell pipeline, and the streams it is given.

use banyan_tests::compile::{self, Link};
use banyan_tests::{Case, catalog, check, input};

fn stage(script: &str) -> Case {
    Case::script(script).file("data", catalog::data().to_vec()).deadline(120)
}

#[test]
fn a_stage_reads_a_pipe_and_writes_one() {
    check(&stage("cat data | $RUN pigz -p6 -n -c | sha256sum"));
}

#[test]
fn two_stages_run_at_once() {
    check(&stage("cat data | $RUN pigz -p4 -n -c | $RUN pigz -d -c | cmp - data && echo same"));
}

#[test]
fn every_byte_passes_a_ring_of_threads() {
    let copy = compile::c("copy", Link::Dynamic).unwrap();
    check(&stage(&format!("head -c 1500000 data | $RUN {} | sha256sum", copy.display())));
}

#[test]
fn input_comes_from_a_file() {
    let copy = compile::c("copy", Link::Dynamic).unwrap();
    let case = Case::new::<&str>(copy, []).file("data", input::noise(300_000, 7)).stdin("data");
    check(&case.on_every_node());
}

#[test]
fn a_reader_that_leaves_ends_the_stage() {
    let copy = compile::c("copy", Link::Dynamic).unwrap();
    let script = format!(
        "{{ cat data data data data | $RUN {}; echo \"ended $?\" >&2; }} | head -c 1000 | sha256sum",
        copy.display()
    );
    check(&stage(&script));
}

#[test]
fn a_status_reaches_the_shell() {
    let program = compile::c("exit_from_thread", Link::Dynamic).unwrap();
    let crash = compile::c("crash", Link::Dynamic).unwrap();
    let script = format!(
        "$RUN {} _exit 42; echo $?; $RUN {} abort thread 2>/dev/null; echo $?",
        program.display(),
        crash.display()
    );
    // The shell's word on a signal ("Aborted") names its own process number.
    check(&stage(&script).any_stderr());
}

#[test]
fn closed_standard_streams_stay_closed() {
    let program = compile::c("surroundings", Link::Dynamic).unwrap();
    check(&stage(&format!("$RUN {} 2>errors < data", program.display())));
}

#[test]
fn a_program_runs_in_the_background() {
    let copy = compile::c("copy", Link::Dynamic).unwrap();
    check(&stage(&format!(
        "head -c 200000 data | $RUN {} > copied & wait $!; echo $?; sha256sum copied",
        copy.display()
    )));
}
