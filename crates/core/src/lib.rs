//! Pure decisions: what each node does next, given what it knows.
//!
//! Invariant: nothing here reads a clock, does I/O, starts a thread, or has unsafe code. Time, messages and
//! faults come in as values and what is to be done goes out as values, so that a simulator can replay a
//! cluster from a seed and an explorer can visit every state of a small one.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub use banyan_wire::ids;

pub mod coherence;
#[cfg(feature = "membership")]
pub mod companies;
#[cfg(feature = "membership")]
pub mod membership;
pub mod placement;
pub mod regions;
pub mod sponsors;
#[cfg(feature = "membership")]
pub mod support;
pub mod timers;
