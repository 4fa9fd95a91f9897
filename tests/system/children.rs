//! Programs that start other programs: children that are in the program's memory until they execute.

use banyan_tests::{Case, catalog, check, compile};

use crate::c;

#[test]
fn programs_are_executed_by_posix_spawn_system_and_popen() {
    check(&c("children", ["spawn"]).on_every_node());
}

#[test]
fn a_child_has_its_own_signals_and_passes_them_on() {
    check(&c("children", ["signals"]).on_every_node());
}

#[test]
fn a_child_of_vfork_writes_in_its_parents_memory_and_ends_as_it_likes() {
    check(&c("children", ["vforked"]).on_every_node());
}

#[test]
fn clone_makes_children_with_stacks_words_and_descriptors() {
    check(&c("children", ["cloning"]).on_every_node());
}

#[test]
fn what_is_executed_finds_the_programs_surroundings() {
    check(&c("children", ["surroundings"]).variable("SHOWN_HERE", "value").on_every_node());
}

#[test]
fn threads_everywhere_start_programs_at_once() {
    check(&c("children", ["many"]).on_every_node());
}

#[test]
fn rust_starts_programs() {
    let program = compile::rust("rust_children").unwrap();
    check(&Case::new::<&str>(program, []).says_ok().on_every_node());
}

#[test]
fn python_starts_programs() {
    check(&catalog::python("subprocesses.py", &[]));
}
