//! Threads whose home is another node: the carrier executes the program, the deputy makes its system calls at
//! home, and a call's buffers are shipped between them.
//!
//! Not here: which calls go to the deputy. That is decided where the trap is handled and in the table of
//! system calls.

pub mod carrier;
pub mod deputy;
pub mod exchange;
pub mod migration;
pub mod shipping;
pub mod signals;
