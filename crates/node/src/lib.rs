//! The node daemon: loader, pager, transport, and the service of replicas.
//!
//! One daemon serves one process of one run. [`launch`] starts the daemons of a run on this machine and turns the
//! calling process into the home replica; [`daemon`] is what each of them does.

pub mod control;
pub mod daemon;
pub mod doctor;
pub mod launch;
pub mod loader;
pub mod memory_file;
pub mod memory_map;
pub mod pager;
pub mod replica;
mod requests;
pub mod statistics;
pub mod transport;
