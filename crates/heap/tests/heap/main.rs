//! Explicit heaps, used by several processes that are killed: this program is all of them.
//!
//! A test starts this test program again with a role, the name of a function in `ROLES`, and talks to it by
//! lines. Every wait has a deadline, and a process of a test ends by itself after two minutes.
#![deny(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod deaths;
mod life;
mod locks;
mod memory;
#[expect(unsafe_code, reason = "forks, and memory of a heap")]
mod raw;
mod support;

use support::Role;

const ROLES: &[(&str, Role)] = &[
    ("attach", life::attach),
    ("come_and_go", life::come_and_go),
    ("count", locks::count),
    ("hold", locks::hold),
    ("hold_two", locks::hold_two),
    ("rwlock", locks::read_and_write),
    ("barrier", locks::come),
    ("come_and_exit", locks::come_and_exit),
    ("once", locks::once),
    ("ring", locks::consume),
    ("churn", memory::churn),
    ("change", deaths::change),
    ("locks", deaths::use_locks),
];

/// Not a test of its own: what the processes of the tests run.
#[test]
fn process_of_a_test() {
    support::run_role(ROLES);
}
