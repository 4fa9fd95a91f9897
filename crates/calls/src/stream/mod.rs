//! Services on other nodes: calls over TCP, from a list of addresses, or over streams of the cluster's nodes.
//!
//! The client keeps its connections and uses them again; a call has one to itself. What the server has seen
//! before is not sent again (`chunks`), and frames are compressed when it pays (`frame`). A node that cannot
//! be reached, or says that it did not run the call, is passed over for the next. Lock: the list of idle
//! connections, never held during a call. TCP from a list of addresses is neither encrypted nor
//! authenticated, and so meant for loopback and networks of one's own; between the machines of a cluster
//! everything is inside the nodes' mutual TLS.

mod chunks;
mod cluster;
mod frame;
mod message;
mod server;
mod socket;

pub use chunks::{ChunkError, Receiver, Sender};
pub(crate) use cluster::Registration;
pub use frame::{BODY_MAX, Header, Stream, StreamError};
pub use message::{CallHead, decode_error, decode_hello, encode_error, encode_hello};
pub use server::Server;
pub use socket::Socket;

use crate::caller::connection::CallOptions;
use crate::error::{CallError, Ran};
use parking_lot::Mutex;
use std::net::{TcpStream, ToSocketAddrs};
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

/// The address that `node` stands for: `:PORT` alone is this machine's.
pub(crate) fn with_host(node: &str) -> String {
    if node.starts_with(':') { format!("127.0.0.1{node}") } else { node.to_owned() }
}

/// Longest wait for a connection to one node.
const CONNECT_MAX: Duration = Duration::from_secs(3);
/// Idle connections kept.
const IDLE_MAX: usize = 16;
/// The server ends a call at its deadline and says so; the client waits that much longer for its word.
const GRACE: Duration = Duration::from_millis(200);

#[derive(Debug)]
struct Link {
    /// Which of the nodes.
    node: usize,
    stream: Stream,
    arguments: Sender,
    results: Receiver,
}

/// Where a service may be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Places {
    /// At one of these addresses, each `host:port`.
    Addresses(Vec<String>),
    /// On a machine of the cluster, which its nodes know.
    Cluster,
}

impl Places {
    fn count(&self) -> usize {
        match self {
            Self::Addresses(addresses) => addresses.len(),
            Self::Cluster => 1,
        }
    }
}

fn dial(address: &str, by: Instant) -> Result<Socket, String> {
    let mut problem = "the name has no address".to_owned();
    for address in with_host(address).to_socket_addrs().map_err(|error| error.to_string())? {
        let left = by.saturating_duration_since(Instant::now()).min(CONNECT_MAX);
        if left.is_zero() {
            return Err("no time is left".into());
        }
        match TcpStream::connect_timeout(&address, left) {
            Ok(socket) => return Ok(socket.into()),
            Err(error) => problem = error.to_string(),
        }
    }
    Err(problem)
}

/// A service on other nodes.
#[derive(Debug)]
pub struct Remote {
    name: String,
    places: Places,
    /// The node that served last.
    preferred: AtomicUsize,
    idle: Mutex<Vec<Link>>,
}

impl Remote {
    /// The service `name`. Connects at the first call.
    #[must_use]
    pub const fn new(name: String, places: Places) -> Self {
        Self { name, places, preferred: AtomicUsize::new(0), idle: Mutex::new(Vec::new()) }
    }

    /// Bytes sent and received over the connections that are idle now.
    #[must_use]
    pub fn traffic(&self) -> (u64, u64) {
        let idle = self.idle.lock();
        idle.iter().fold((0, 0), |sum, link| (sum.0 + link.stream.sent, sum.1 + link.stream.received))
    }

    /// How many connections are idle now.
    #[must_use]
    pub fn idle_connections(&self) -> usize {
        self.idle.lock().len()
    }

    /// Calls `function` on bytes; returns the bytes of its result.
    ///
    /// # Errors
    /// Any [`CallError`].
    pub fn call(&self, function: u64, arguments: &[u8], options: &CallOptions) -> Result<Vec<u8>, CallError> {
        let by = Instant::now() + options.deadline;
        let (mut tries, mut passed_over) = (0, 0);
        loop {
            let link = self.link(by)?;
            let node = link.node;
            match self.attempt(link, function, arguments, options, by) {
                // Made again it runs once all the same, here over a new connection if there is no other node.
                Err(error)
                    if error.ran() == Ran::No && passed_over < self.places.count() && Instant::now() < by =>
                {
                    passed_over += 1;
                    self.pass_over(node);
                }
                // The server has retried ends of its workers; the rest is for another connection, or node.
                Err(error @ (CallError::Disconnected { .. } | CallError::Protocol(_)))
                    if tries < options.retries && Instant::now() < by =>
                {
                    let _ = error;
                    tries += 1;
                    self.pass_over(node);
                }
                result => return result,
            }
        }
    }

    /// Has calls go to the node behind that one, until it fails them, too.
    fn pass_over(&self, node: usize) {
        self.idle.lock().retain(|link| link.node != node);
        self.preferred.store((node + 1) % self.places.count(), Relaxed);
    }

    fn attempt(
        &self,
        mut link: Link,
        function: u64,
        arguments: &[u8],
        options: &CallOptions,
        by: Instant,
    ) -> Result<Vec<u8>, CallError> {
        let deadline = by.saturating_duration_since(Instant::now());
        let head = CallHead { function, deadline, cpu_limit: options.cpu_limit, retries: options.retries };
        let mut body = Vec::with_capacity(arguments.len().min(64 << 10) + 64);
        head.encode(&mut body);
        link.arguments.put(arguments, &mut body);
        let lost = |error: StreamError| match error {
            StreamError::Slow => CallError::TimedOut { ran: Ran::Maybe },
            error => CallError::Disconnected { reason: error.to_string(), ran: Ran::Maybe },
        };
        // A request that did not go out wholly was not understood, and so did not run.
        link.stream.send(message::CALL, &body, by).map_err(|error| match lost(error) {
            CallError::TimedOut { .. } => CallError::TimedOut { ran: Ran::No },
            CallError::Disconnected { reason, .. } => CallError::Disconnected { reason, ran: Ran::No },
            error => error,
        })?;
        let wait = by + GRACE;
        let (kind, body) =
            link.stream.receive(wait, wait.saturating_duration_since(Instant::now())).map_err(lost)?;
        let garbage = |what: &str| CallError::Disconnected { reason: what.into(), ran: Ran::Maybe };
        let result = match kind {
            message::RESULT => {
                let mut from = &body[..];
                let value =
                    link.results.take(&mut from, BODY_MAX).map_err(|error| garbage(&error.to_string()))?;
                if !from.is_empty() {
                    return Err(garbage("a result with bytes after its end"));
                }
                Ok(value)
            }
            message::ERROR => Err(decode_error(&body).map_err(|error| garbage(&error.to_string()))?),
            _ => return Err(garbage("an answer of unknown kind")),
        };
        let mut idle = self.idle.lock();
        if idle.len() < IDLE_MAX {
            idle.push(link);
        }
        result
    }

    /// An idle connection that is still whole, or a new one.
    fn link(&self, by: Instant) -> Result<Link, CallError> {
        loop {
            let preferred = self.preferred.load(Relaxed) % self.places.count().max(1);
            let mut idle = self.idle.lock();
            let link = idle.iter().rposition(|link| link.node == preferred).map(|at| idle.swap_remove(at));
            drop(idle);
            match link {
                Some(link) if !crate::sys::socket::is_disturbed(link.stream.socket()) => {
                    return Ok(link);
                }
                Some(_) => {}
                None => break,
            }
        }
        let first = self.preferred.load(Relaxed);
        let mut problems = Vec::new();
        for turn in 0..self.places.count() {
            let index = (first + turn) % self.places.count();
            match self.connect(index, by) {
                Ok(link) => {
                    self.preferred.store(index, Relaxed);
                    return Ok(link);
                }
                Err(problem) => problems.push(problem),
            }
            if Instant::now() >= by {
                return Err(CallError::TimedOut { ran: Ran::No });
            }
        }
        Err(CallError::NoService(format!("{} is on no node: {}", self.name, problems.join("; "))))
    }

    fn connect(&self, node: usize, by: Instant) -> Result<Link, String> {
        let greet = |socket| self.greet(node, socket, by.min(Instant::now() + CONNECT_MAX));
        match &self.places {
            Places::Addresses(addresses) => {
                let address = &addresses[node];
                dial(address, by).and_then(greet).map_err(|problem| format!("{address}: {problem}"))
            }
            Places::Cluster => cluster::reach(&self.name, by).and_then(greet),
        }
    }

    fn greet(&self, node: usize, socket: Socket, by: Instant) -> Result<Link, String> {
        let mut stream = Stream::new(socket).map_err(|error| error.to_string())?;
        stream.send(message::HELLO, &encode_hello(&self.name), by).map_err(|error| error.to_string())?;
        let left = by.saturating_duration_since(Instant::now());
        let (kind, body) = stream.receive(by, left).map_err(|error| error.to_string())?;
        match kind {
            message::WELCOME => {
                let (version, _) = decode_hello(&body).map_err(|error| error.to_string())?;
                if version != message::VERSION {
                    return Err(format!("it speaks version {version}, this program {}", message::VERSION));
                }
                Ok(Link { node, stream, arguments: Sender::default(), results: Receiver::default() })
            }
            message::REFUSED => {
                Err(decode_hello(&body).map_or_else(|error| error.to_string(), |(_, why)| why))
            }
            _ => Err("it does not answer as a service does".into()),
        }
    }
}
