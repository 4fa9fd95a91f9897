//! The node daemon: loader, pager, transport, and the service of replicas.
//!
//! One daemon serves one process of one run. [`launch`] starts the daemons of a run on this machine and turns the
//! calling process into the home replica; [`daemon`] is what each of them does.
#![forbid(unsafe_code)]

mod cluster;
pub mod job;
pub mod observe;
pub mod pager;
mod report;
pub mod transport;

pub use job::{end as daemon, launch};
pub use observe::{doctor, memory_map, statistics};

pub use job::replica::STUB_IMAGE;
