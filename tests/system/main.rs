//! Whole-system tests: each program runs natively, and then under Banyan on one, two and three nodes, with
//! the same output, end and files. See the library's documentation for the variables that choose what
//! is run.
#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod agreeing;
mod bad_input;
mod children;
mod cluster;
mod command_line;
mod connections;
mod detached;
mod faults;
mod forks;
mod growing;
mod jobs;
mod languages;
mod leaving;
mod litmus;
mod memory;
mod moves;
mod pipeline;
mod placing;
mod programs;
mod promises;
mod pthreads;
mod runtimes;
mod services;
mod signals;
mod sql;
mod watch;

use banyan_tests::Case;
use banyan_tests::compile::{self, Link};

/// A C program of `tests/programs`, which checks itself and says `ok`.
#[track_caller]
fn c<const COUNT: usize>(name: &str, arguments: [&str; COUNT]) -> Case {
    linked(name, Link::Dynamic, arguments).says_ok()
}

/// The same, linked in one of the other ways.
#[track_caller]
fn linked<const COUNT: usize>(name: &str, link: Link, arguments: [&str; COUNT]) -> Case {
    match compile::c(name, link) {
        Ok(program) => Case::new(program, arguments),
        Err(error) => panic!("{error:#}"),
    }
}
