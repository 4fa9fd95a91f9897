//! The greeting on every new connection: both sides say who they are and what for, and check the other.

use super::connection::Connection;
use super::trust::Trust;
use banyan_wire::control::Place;
use banyan_wire::handshake::{HELLO_BYTES, Hello, HelloError, Purpose};
use banyan_wire::ids::{JobId, NodeId};
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::time::Duration;
use zerocopy::{FromBytes, IntoBytes};

/// A peer that does not greet within this time is no node.
const GREETING_TIMEOUT: Duration = Duration::from_secs(5);

/// Why a connection did not come about.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    /// It could not be made, or broke before the greeting.
    #[error("{node} at {address} cannot be reached: {source}; is its daemon running?")]
    Unreachable {
        /// Which node.
        node: NodeId,
        /// Where.
        address: SocketAddr,
        /// The system's error.
        source: io::Error,
    },
    /// The other side is not what it should be.
    #[error("a connection from {address} was closed: {source}")]
    Greeting {
        /// From where.
        address: SocketAddr,
        /// What is wrong.
        source: HelloError,
    },
    /// The other side said nothing, or too little.
    #[error("a connection from {address} was closed before its greeting: {source}")]
    Silent {
        /// From where.
        address: SocketAddr,
        /// The system's error.
        source: io::Error,
    },
}

/// Connects to `node`, of the `nodes` of the job that `hello` names, and exchanges greetings.
///
/// # Errors
/// [`ConnectError`].
pub(crate) fn dial(
    node: NodeId,
    place: &Place,
    trust: &Trust,
    nodes: u8,
    hello: &Hello,
) -> Result<Connection, ConnectError> {
    let address = place.address;
    let unreachable = |source| ConnectError::Unreachable { node, address, source };
    let connection = trust.dial(place, GREETING_TIMEOUT).map_err(unreachable)?;
    connection.set_read_timeout(Some(GREETING_TIMEOUT)).map_err(unreachable)?;
    (&connection).write_all(hello.as_bytes()).map_err(unreachable)?;
    let answer = read_hello(&connection).map_err(unreachable)?;
    answer
        .check_secret(&hello.secret)
        .and_then(|_| answer.check_member(JobId(hello.job), hello.node as u8, nodes))
        .map_err(|source| ConnectError::Greeting { address, source })?;
    connection.set_read_timeout(None).map_err(unreachable)?;
    Ok(connection)
}

/// Reads the greeting of a connection that was accepted, and checks that it comes from a node. It is answered
/// by [`answer`], when it is known which job it is for.
///
/// # Errors
/// [`ConnectError`].
pub(crate) fn greet(
    connection: &Connection,
    address: SocketAddr,
    secret: [u8; 16],
) -> Result<(Hello, Purpose), ConnectError> {
    let silent = |source| ConnectError::Silent { address, source };
    connection.set_read_timeout(Some(GREETING_TIMEOUT)).map_err(silent)?;
    let hello = read_hello(connection).map_err(silent)?;
    let purpose = hello.check_secret(&secret).map_err(|source| ConnectError::Greeting { address, source })?;
    Ok((hello, purpose))
}

/// Answers a greeting as node `own` of its job, and lets the connection wait for messages as long as it
/// takes.
///
/// # Errors
/// [`ConnectError`].
pub(crate) fn answer(
    mut connection: &Connection,
    address: SocketAddr,
    greeting: &Hello,
    own: NodeId,
) -> Result<(), ConnectError> {
    let silent = |source| ConnectError::Silent { address, source };
    let answer = Hello { node: u32::from(own.get()), thread: 0, ..*greeting };
    connection.write_all(answer.as_bytes()).map_err(silent)?;
    connection.set_read_timeout(None).map_err(silent)
}

fn read_hello(mut connection: &Connection) -> io::Result<Hello> {
    let mut bytes = [0; HELLO_BYTES];
    connection.read_exact(&mut bytes)?;
    Hello::read_from_bytes(&bytes).map_err(|_| io::ErrorKind::InvalidData.into())
}
