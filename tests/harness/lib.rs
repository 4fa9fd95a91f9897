//! The harness of the whole-system tests.
//!
//! A test names a [`Case`]: a program, its arguments, its input and the files around it. The case runs
//! natively first, which also verifies the program itself, and then under `banyan run` on one, two and
//! three nodes. What it wrote, how it ended and the files it made must be the same each time; threads
//! must have executed on every node where the case says so; and nothing may be left behind.
//!
//! The binary under test is `$BANYAN`, or the one that is built in the tests' own profile. `BANYAN_NODES=2,3`
//! chooses the node counts, `BANYAN_NATIVE_ONLY=1` stops after the native run, `BANYAN_TEST_JOBS` says how
//! many cases run at a time, and `BANYAN_MOVE_EVERY=5ms` moves a random thread of each run as often as that.
#![forbid(unsafe_code)]

pub mod case;
pub mod catalog;
pub mod compare;
pub mod compile;
pub mod gate;
pub mod input;
pub mod launch;
pub mod leftovers;
pub mod processes;
pub mod scratch;
pub mod stats;
pub mod workspace;

pub use case::{Case, Place};
pub use compare::{check, check_on};
pub use launch::{End, Outcome, Running};
