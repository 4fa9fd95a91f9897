//! The companies of a cluster on this machine: groups of members that agree on what is so, by Raft.
//!
//! The library (openraft) decides who leads and what is agreed on; here are its log in a file, its messages
//! between members, and what is done with what was agreed on. There is one company so far, the root, of which
//! every member of the cluster has a copy and some members vote. Not here: what a change does
//! (`banyan_core::membership`), and who may ask for one (`super::leading`).
//!
//! openraft 0.9 waits for every write of a group before it goes on, so what is batched is what one of its
//! messages carries, and what different groups write at the same time (`store`).

mod commit;
#[cfg(test)]
mod disk;
pub mod fuzz;
mod kinds;
mod log;
mod machine;
pub(crate) mod message;
mod network;
mod running;
mod store;
#[cfg(test)]
mod tests;

pub(crate) use network::Reach;
pub(crate) use running::{Company, CompanyFacts};
pub(crate) use store::FILE;
