//! The order of memory accesses that x86 promises, between threads on different nodes.

use banyan_tests::check;

use crate::c;

fn holds(name: &str) {
    check(&c("litmus", [name]).on_every_node());
}

#[test]
fn a_message_comes_before_its_flag() {
    holds("message-passing");
}

#[test]
fn fenced_stores_are_seen_by_one_of_two() {
    // Two threads only, so not every node may have one.
    check(&c("litmus", ["store-buffering"]));
}

#[test]
fn loads_do_not_see_the_future() {
    check(&c("litmus", ["load-buffering"]));
}

#[test]
fn readers_agree_on_the_order_of_independent_writes() {
    holds("independent-reads");
}

#[test]
fn one_location_never_goes_back() {
    holds("coherence");
}

#[test]
fn dekkers_algorithm_excludes() {
    check(&c("litmus", ["dekker"]));
}

#[test]
fn petersons_algorithm_excludes() {
    check(&c("litmus", ["peterson"]));
}

#[test]
fn ticket_locks_exclude() {
    holds("ticket");
}

#[test]
fn atomic_counters_of_every_width_count() {
    holds("counters");
}
