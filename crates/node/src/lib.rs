//! The node daemon: its jobs, their programs, pages and connections.
//!
//! [`node`] is the life of a daemon on a machine; [`launch`] begins a run and turns the calling process into
//! its home replica.
#![deny(unsafe_code)]

mod cluster;
pub mod detached;
mod files;
#[doc(hidden)]
pub mod fuzz;
mod job;
mod observe;
mod pager;
mod random;
mod report;
#[expect(unsafe_code, reason = "what the daemon needs of Linux")]
mod sys;
mod transport;

pub use banyan_wire::sql::{Cell, QueryMessage};
pub use cluster::{
    AskError, QueryError, admin, administer, joining, local_nodes, node, query, run_sockets, state,
};
pub use job::settings::{Children, Nodes, Placement, Run, Summary};
pub use job::{again, launch};
pub use observe::page::address::PageOffer;
pub use observe::{doctor, memory_map, statistics};
pub use random::random;
// For fuzzers, and for who looks for a run's processes.
pub use job::loader::{LoadError, check_program};
pub use job::replica::{REPLICA_NAME, RUN_VARIABLE, STUB_IMAGE};
