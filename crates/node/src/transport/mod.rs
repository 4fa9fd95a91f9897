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

pub use connection::{Connection, Wait};
pub use control::read_control;
pub use greeting::{ConnectError, answer, dial, greet};
pub use lane::Lane;
pub use peers::{Peer, Peers};
pub use receive::{LaneEnd, receive_again, receive_coherence, receive_control};
