//! Connections between nodes: greeting, lanes, and the other nodes of a run.
//!
//! Every pair of nodes has three lanes: urgent and bulk carry coherence messages, control the rest. A
//! connection that brings something malformed is closed with a logged reason; the other connections do not
//! notice.

mod connection;
mod control;
#[cfg(test)]
mod faulty;
mod greeting;
mod lane;
mod peers;
mod receive;
#[cfg(test)]
mod tests;

pub(crate) use connection::Connection;
pub(crate) use control::read_control;
pub(crate) use greeting::{ConnectError, answer, dial, greet};
pub(crate) use lane::Lane;
pub(crate) use peers::{Peer, Peers};
pub(crate) use receive::{LaneEnd, receive_again, receive_coherence, receive_control};
