//! Threads: the block of local memory behind each one, how they are created and how they end.
//!
//! A kernel thread at home exists for every thread of the program: it is its tid. It either runs the program
//! itself or, if the thread was placed on another node, becomes its deputy.

pub mod block;
pub mod child;
pub mod create;
pub mod exit;
pub mod fork;
pub mod resume;
pub mod state;
pub mod stopper;

pub use block::{Role, Thread};
