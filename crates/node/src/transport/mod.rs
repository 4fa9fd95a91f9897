//! Connections between nodes: greeting, lanes, and the other nodes of a run.
//!
//! Every pair of nodes has three lanes: urgent and bulk carry coherence messages, control the rest. A
//! connection that brings something malformed is closed with a logged reason; the other connections do not
//! notice.

mod connection;
#[cfg(test)]
mod faulty;
mod greeting;
mod lane;
mod message;
mod peers;
mod receive;
#[cfg(test)]
mod tests;
mod tls;
pub(crate) mod trust;

pub(crate) use connection::Connection;
pub(crate) use greeting::{ConnectError, answer, dial, greet};
pub(crate) use lane::Lane;
pub(crate) use message::read_message;
pub(crate) use peers::{Peer, Peers};
pub(crate) use receive::{LaneEnd, receive_again, receive_coherence, receive_control};
pub(crate) use trust::{Caller, Trust};
