//! POSIX threads in C: locks, waiting, thread-local data, starting, joining and ending.

use banyan_tests::compile::Link;
use banyan_tests::launch::End;
use banyan_tests::{Place, check, compile};

use crate::{c, linked};

#[test]
fn mutexes_exclude_and_answer_misuse() {
    check(&c("mutex", []).on_every_node());
}

#[test]
fn locks_that_pass_priority_on_work_across_nodes() {
    check(&c("futex_writes", []).on_every_node());
}

#[test]
fn mutexes_work_when_all_threads_are_packed() {
    check(&c("mutex", []).place(Place::Pack));
}

#[test]
fn readers_see_whole_updates_under_rwlocks() {
    check(&c("rwlock", []).on_every_node());
}

#[test]
fn conditions_wake_broadcast_and_time_out() {
    check(&c("cond", []).on_every_node());
}

#[test]
fn threads_run_where_they_bind_themselves_and_know_their_processor_time() {
    check(&c("processors", []).on_every_node());
}

#[test]
fn processor_time_is_a_sum_over_the_nodes() {
    check(&c("processor_time", []).on_every_node());
}

#[test]
fn timers_run_by_the_processor_time_of_all_nodes() {
    check(&c("processor_timers", []).on_every_node());
}

#[test]
fn threads_sleep_by_the_processor_time_of_all_nodes() {
    check(&c("processor_sleep", []).on_every_node());
}

#[test]
fn a_limit_on_processor_time_counts_that_of_all_nodes() {
    const SIGKILL: i32 = rustix::process::Signal::KILL.as_raw();
    const SIGXCPU: i32 = rustix::process::Signal::XCPU.as_raw();
    check(&linked("processor_limit", Link::Dynamic, []).ends(End::Signal(SIGXCPU)));
    check(&linked("processor_limit", Link::Dynamic, ["handled"]).ends(End::Signal(SIGKILL)));
}

#[test]
fn threads_wait_for_several_words_at_once() {
    check(&c("futex_vectors", []).on_every_node());
}

#[test]
fn barriers_hold_everyone_until_all_are_there() {
    check(&c("barrier", []).on_every_node());
}

#[test]
fn spin_locks_exclude() {
    check(&c("spin", []).on_every_node());
}

#[test]
fn once_runs_once_and_before_anyone_goes_on() {
    check(&c("once", []).on_every_node());
}

#[test]
fn key_destructors_run_at_thread_exit() {
    check(&c("key", []).on_every_node());
}

#[test]
fn detached_threads_end_and_give_back_their_stacks() {
    check(&c("detach", []).on_every_node());
}

#[test]
fn thread_local_storage_is_per_thread() {
    check(&c("tls", []).on_every_node());
}

#[test]
fn thread_local_storage_of_a_library_loaded_by_a_thread_is_per_thread() {
    let library = compile::c("tls_module", Link::Library).unwrap();
    check(&c("tls_dynamic", [library.to_str().unwrap()]).on_every_node());
}

#[test]
fn robust_mutexes_tell_that_their_owner_died() {
    check(&c("robust", []).on_every_node());
}

#[test]
fn process_shared_locks_work_between_threads() {
    check(&c("shared_mutex", []).on_every_node());
}

#[test]
fn shared_futexes_work_in_a_page_that_goes_from_node_to_node() {
    check(&c("shared_futex", []).on_every_node());
}

#[test]
fn the_main_thread_may_exit_first() {
    check(&c("main_exits_first", []).on_every_node());
}

#[test]
fn the_last_thread_gives_the_status_after_the_main_thread_has_exited() {
    check(&c("main_exits_first", ["5"]).ends(End::Status(5)).on_every_node());
}

#[test]
fn threads_are_joined_before_and_after_their_end() {
    check(&c("join", []).on_every_node());
}

#[test]
fn hundreds_of_short_threads_come_and_go() {
    check(&c("many_threads", []).on_every_node());
}

#[test]
fn stacks_are_as_the_attributes_ask() {
    check(&c("attributes", []).on_every_node());
}

#[test]
fn exit_from_a_thread_runs_handlers_and_ends_all() {
    let case = linked("exit_from_thread", Link::Dynamic, ["exit", "7"]);
    check(&case.ends(End::Status(7)).on_every_node());
}

#[test]
fn immediate_exit_from_a_thread_ends_all() {
    check(&linked("exit_from_thread", Link::Dynamic, ["_exit", "8"]).ends(End::Status(8)));
}

#[test]
fn quick_exit_from_a_thread_ends_all() {
    check(&linked("exit_from_thread", Link::Dynamic, ["quick", "255"]).ends(End::Status(255)));
}

// Other ways of linking put the program, its libc and its thread-local storage elsewhere.

#[test]
fn a_dynamic_program_at_a_fixed_address_runs() {
    check(&linked("mutex", Link::DynamicFixed, []).says_ok().on_every_node());
    check(&linked("tls", Link::DynamicFixed, []).says_ok().on_every_node());
}

#[test]
fn a_static_position_independent_program_runs() {
    for name in ["cond", "tls", "malloc_stress", "main_exits_first"] {
        check(&linked(name, Link::StaticPie, []).says_ok().on_every_node());
    }
}

#[test]
fn a_static_program_at_a_fixed_address_runs() {
    for name in ["cond", "tls", "malloc_stress", "memory_break"] {
        check(&linked(name, Link::StaticFixed, []).says_ok().on_every_node());
    }
}
