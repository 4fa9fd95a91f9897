//! What several processes of a call have in common: the layout of shared memory, the frames in it, and how
//! the ends of a channel wait for each other.
//!
//! Each file says which processes run it. Not for system calls: those are in [`crate::sys`].

pub(crate) mod demand;
pub mod frame;
pub(crate) mod keeping;
pub(crate) mod layout;
pub mod message;
pub mod service;
pub(crate) mod waiting;
