//! Greets and keeps the connections to all other nodes of a run.

use super::Lane;
use banyan_wire::handshake::{HELLO_BYTES, Hello, HelloError, Purpose};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;
use zerocopy::{FromBytes, IntoBytes};

/// A peer that does not greet within this time is no node.
const GREETING_TIMEOUT: Duration = Duration::from_secs(5);

/// Bytes that a peer does not acknowledge for so long never arrive.
const PEER_TIMEOUT: Duration = Duration::from_secs(4);

/// Why a connection did not come about.
#[derive(Debug, thiserror::Error)]
pub enum MeshError {
    /// It could not be made, or broke before the greeting.
    #[error("node {node} at {address} cannot be reached: {source}; is its daemon running?")]
    Unreachable {
        /// Which node.
        node: u8,
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

/// The three lanes to one node.
#[derive(Debug)]
pub struct Lanes {
    /// Coherence messages that somebody waits for.
    pub urgent: Arc<Lane>,
    /// Coherence messages with long runs.
    pub bulk: Arc<Lane>,
    /// Everything else.
    pub control: Arc<Lane>,
}

/// All other nodes, by number; the own place is empty.
#[derive(Debug, Default)]
pub struct Mesh(pub Vec<Option<Lanes>>);

impl Mesh {
    /// The lanes to a node, if it is another node of the run.
    #[must_use]
    pub fn lanes(&self, node: u8) -> Option<&Lanes> {
        self.0.get(usize::from(node))?.as_ref()
    }

    /// The numbers of the other nodes.
    pub fn others(&self) -> impl Iterator<Item = u8> {
        self.0.iter().enumerate().filter(|(_, lanes)| lanes.is_some()).map(|(node, _)| node as u8)
    }

    /// Bytes sent on coherence lanes so far.
    #[must_use]
    pub fn sent_bytes(&self) -> u64 {
        self.0.iter().flatten().map(|lanes| lanes.urgent.sent_bytes() + lanes.bulk.sent_bytes()).sum()
    }
}

/// Connects to `node` for a purpose and exchanges greetings.
///
/// # Errors
/// [`MeshError`].
pub fn dial(node: u8, address: SocketAddr, nodes: u8, hello: &Hello) -> Result<TcpStream, MeshError> {
    let unreachable = |source| MeshError::Unreachable { node, address, source };
    let mut stream = TcpStream::connect_timeout(&address, GREETING_TIMEOUT).map_err(unreachable)?;
    set_options(&stream).map_err(unreachable)?;
    stream.set_read_timeout(Some(GREETING_TIMEOUT)).map_err(unreachable)?;
    stream.write_all(hello.as_bytes()).map_err(unreachable)?;
    let answer = read_hello(&mut stream).map_err(unreachable)?;
    answer
        .check(&hello.run, hello.node as u8, nodes)
        .map_err(|source| MeshError::Greeting { address, source })?;
    stream.set_read_timeout(None).map_err(unreachable)?;
    Ok(stream)
}

/// Connects the deputy of `thread` to the node where the thread will run.
///
/// # Errors
/// [`MeshError`].
pub fn dial_deputy(
    node: u8,
    address: SocketAddr,
    nodes: u8,
    run: [u8; 16],
    thread: u32,
) -> Result<TcpStream, MeshError> {
    // Deputies are at home.
    dial(node, address, nodes, &Hello::new(Purpose::Deputy, run, 0, thread))
}

/// Greets a connection that was accepted. Returns what the peer said.
///
/// # Errors
/// [`MeshError`].
pub fn greet(
    mut stream: &TcpStream,
    address: SocketAddr,
    run: [u8; 16],
    own: u8,
    nodes: u8,
) -> Result<(Hello, Purpose), MeshError> {
    let silent = |source| MeshError::Silent { address, source };
    set_options(stream).map_err(silent)?;
    stream.set_read_timeout(Some(GREETING_TIMEOUT)).map_err(silent)?;
    let hello = read_hello(&mut stream).map_err(silent)?;
    let purpose = hello.check(&run, own, nodes).map_err(|source| MeshError::Greeting { address, source })?;
    stream.write_all(Hello::new(purpose, run, own, 0).as_bytes()).map_err(silent)?;
    stream.set_read_timeout(None).map_err(silent)?;
    Ok((hello, purpose))
}

/// No message waits for more to fill a segment, and a peer that a broken network hides is lost within seconds (tcp(7)).
fn set_options(stream: &TcpStream) -> io::Result<()> {
    use rustix::net::sockopt;
    stream.set_nodelay(true)?;
    sockopt::set_socket_keepalive(stream, true)?;
    sockopt::set_tcp_keepidle(stream, Duration::from_secs(1))?;
    sockopt::set_tcp_keepintvl(stream, Duration::from_secs(1))?;
    sockopt::set_tcp_keepcnt(stream, 3)?;
    sockopt::set_tcp_user_timeout(stream, PEER_TIMEOUT.as_millis() as u32)?;
    Ok(())
}

fn read_hello(stream: &mut impl Read) -> io::Result<Hello> {
    let mut bytes = [0; HELLO_BYTES];
    stream.read_exact(&mut bytes)?;
    Hello::read_from_bytes(&bytes).map_err(|_| io::ErrorKind::InvalidData.into())
}
