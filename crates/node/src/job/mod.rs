//! One run on one node: its program brought into memory, its replica served, and its end.
//!
//! [`launch`] starts the daemons of a run on this machine and turns the calling process into the home replica;
//! [`daemon`] is what each of them does.

pub mod daemon;
pub mod launch;
pub mod loader;
pub mod replica;
mod requests;
