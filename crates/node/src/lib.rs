//! The node daemon: its jobs, their programs, pages and connections.
//!
//! [`node`] is the life of a daemon on a machine; [`launch`] begins a run and turns the calling process into
//! its home replica.
#![forbid(unsafe_code)]

mod cluster;
pub mod job;
pub mod observe;
pub mod pager;
mod report;
pub mod transport;

pub use cluster::node;
pub use job::launch;
pub use job::settings::{Placement, Summary};
pub use observe::{doctor, memory_map, statistics};

pub use job::replica::STUB_IMAGE;
