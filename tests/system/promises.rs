//! The interfaces of POSIX for threads, signals, clocks, timers, semaphores, scheduling and mapped memory:
//! each promise is kept to the first thread, and to threads on every node.

use banyan_tests::check;

use crate::c;

#[test]
fn promises_about_signals_are_kept() {
    check(&c("promises_signals", []).on_every_node());
}

#[test]
fn promises_about_threads_are_kept() {
    check(&c("promises_threads", []).on_every_node());
}

#[test]
fn promises_about_time_and_memory_are_kept() {
    check(&c("promises_times", []).on_every_node());
}

#[test]
fn promises_are_kept_to_threads_that_move() {
    for what in ["promises_signals", "promises_threads", "promises_times"] {
        check(&c(what, []).moving("5ms", 0));
    }
}
