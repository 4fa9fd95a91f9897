//! A cluster in one thread: every node's coherence machine, a model of its memory, and a network that loses,
//! repeats, reorders and delays.
//!
//! [`simulation`] runs one long random history for each seed; [`explorer`] visits every state that a small
//! cluster can reach. Both check the same [`invariants`]. What they cannot see are mistakes of the driver:
//! here outputs are carried out exactly as documented.
#![forbid(unsafe_code)]

pub mod explorer;
pub mod invariants;
pub mod page;
pub mod random;
pub mod replica;
pub mod simulation;
pub mod world;
