//! The replica's side of its two sockets to the node daemon: it asks on one and obeys commands on the other.
//!
//! Not here: connections between nodes, which belong to deputies and carriers (`remote`).

pub mod requests;
pub mod service;
pub mod settings;
pub mod socket;
