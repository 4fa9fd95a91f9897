//! What can be seen of this machine and of its runs: statistics, where memory is, what the machine offers.
//!
//! Not for printing it for people, which is the command's.

pub mod doctor;
pub(crate) mod log;
pub(crate) mod machine;
pub mod memory_map;
pub(crate) mod page;
pub(crate) mod process;
pub(crate) mod sql;
pub mod statistics;
pub(crate) mod usage;
