//! Programs that make copies of their process: from the first thread and from threads on every node.

use banyan_tests::{Case, catalog, check, workspace};

use crate::c;

fn forks(what: &str) -> Case {
    c("forks", [what]).on_every_node()
}

#[test]
fn a_copy_has_all_of_the_private_memory_and_shares_what_is_shared() {
    check(&forks("memory"));
}

#[test]
fn a_copy_has_what_threads_of_every_node_have_written() {
    check(&forks("written"));
}

#[test]
fn a_copy_is_of_one_moment_though_threads_go_on_writing() {
    check(&forks("consistent"));
}

#[test]
fn a_copy_is_made_though_there_is_no_descriptor_left() {
    check(&forks("exhausted"));
}

#[test]
fn a_copy_is_a_process_like_any_other() {
    check(&forks("process"));
}

#[test]
fn a_copy_has_the_handlers_and_the_mask_and_none_of_the_signals() {
    check(&forks("signals"));
}

#[test]
fn handlers_of_a_fork_run_once_on_their_side() {
    check(&forks("handlers"));
}

#[test]
fn copies_talk_to_their_maker_through_shared_memory() {
    check(&forks("talk"));
}

#[test]
fn threads_everywhere_make_copies_at_once() {
    check(&forks("many"));
}

#[test]
fn a_copy_outlives_its_maker() {
    check(&forks("left"));
    check(&c("forks", ["orphan"]));
}

#[test]
fn a_copy_sees_itself_under_proc() {
    check(&forks("seen"));
}

#[test]
fn copies_are_made_while_threads_move() {
    for what in ["memory", "written", "consistent", "process", "many"] {
        check(&c("forks", [what]).moving("2ms", 0));
    }
}

#[test]
fn shells_fork() {
    let script = workspace::program_source("pipelines.sh");
    for shell in ["/bin/bash", "/bin/dash"] {
        check(&Case::new(shell, [script.to_str().unwrap()]).says_ok().deadline(120));
    }
}

#[test]
fn perl_forks() {
    let script = workspace::program_source("forks.pl");
    check(&Case::new("/usr/bin/perl", [script.to_str().unwrap()]).says_ok().deadline(120));
}

#[test]
fn python_forks() {
    check(&catalog::python("forks.py", &[]));
}
