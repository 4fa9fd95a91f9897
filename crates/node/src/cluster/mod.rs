//! What concerns a machine and its neighbours rather than one run: the node, its jobs, and who decides about
//! memory.

pub(crate) mod authority;
mod jobs;
mod local;
pub mod node;

pub(crate) use local::ask as ask_for_job;
