//! What concerns a machine and its neighbours rather than one run: the node, its jobs, the cluster that it is
//! in, and who decides about memory.

pub mod admin;
mod answering;
pub(crate) mod authority;
mod certificates;
mod company;
pub(crate) mod fuzz;
mod jobs;
pub mod joining;
mod leading;
mod local;
pub mod local_nodes;
mod looking;
pub(crate) mod membership;
pub mod node;
mod people;
mod queries;
mod services;
pub mod state;
#[cfg(test)]
mod tests;
mod ungreeted;

pub use company::fuzz as fuzz_company;
pub use local::{AskError, administer, run_sockets};
pub(crate) use local::{ask as ask_for_job, connect as connect_to_node};
pub use queries::{QueryError, query};
