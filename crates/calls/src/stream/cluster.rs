//! Services of the cluster: the node of this machine finds them, and finds callers for one.
//!
//! Not here: which machine a name is of, and how the bytes get there. That is the nodes' to know.

use super::socket::Socket;
use crate::sys::socket::{connect_packets, receive_descriptor};
use banyan_sys::node_socket::{STATE_VARIABLE, socket_of, usual_directory};
use banyan_wire::services::{PACKET_MAX, ServiceAnswer, ServiceQuestion};
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

/// The node answers that much later than it was asked to, on a busy machine.
const GRACE: Duration = Duration::from_secs(5);
/// The longest wait for a service.
const WAIT_MAX: Duration = Duration::from_secs(60);
/// How often to look for a node that has gone.
const AGAIN: Duration = Duration::from_secs(1);

/// A connection to the node of this machine, on which this is asked.
fn ask(question: &ServiceQuestion) -> Result<UnixStream, String> {
    let path = socket_of(&usual_directory());
    let connect = || {
        let socket = connect_packets(&path)?;
        // A whole packet, or none.
        (&socket).write_all(&question.packet())?;
        Ok(socket)
    };
    connect().map_err(|error: io::Error| {
        format!(
            "no node answers at {}: {error}; start it with `banyan up`, or say where it is with {STATE_VARIABLE}",
            path.display()
        )
    })
}

/// What the node says next, and the stream beside it.
fn next(socket: &UnixStream) -> io::Result<(ServiceAnswer, Option<File>)> {
    let mut packet = [0; PACKET_MAX];
    let (length, file) = receive_descriptor(socket, &mut packet)?;
    if length == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok((ServiceAnswer::read(&packet[..length]).map_err(io::Error::other)?, file))
}

fn stream(file: Option<File>) -> io::Result<Socket> {
    let file = file.ok_or(io::ErrorKind::InvalidData)?;
    Ok(UnixStream::from(OwnedFd::from(file)).into())
}

/// A stream to a service of the cluster. If its machine has just gone, this waits for another one.
///
/// # Errors
/// Why there is none.
pub(super) fn reach(name: &str, by: Instant) -> Result<Socket, String> {
    let wait = by.saturating_duration_since(Instant::now()).min(WAIT_MAX);
    let wait_ms = u32::try_from(wait.as_millis()).unwrap_or(u32::MAX);
    let socket = ask(&ServiceQuestion::Reach { name: name.to_owned(), wait_ms })?;
    let answered = socket.set_read_timeout(Some(wait + GRACE)).and_then(|()| next(&socket));
    match answered.map_err(|error| format!("the node does not answer: {error}"))? {
        (ServiceAnswer::Stream, file) => stream(file).map_err(|error| error.to_string()),
        (ServiceAnswer::Refused(reason), _) => Err(reason),
        _ => Err("the node answers something else than was asked; use the same build everywhere".into()),
    }
}

/// A service of this process, by its name in the cluster.
#[derive(Debug)]
pub(crate) struct Registration {
    name: String,
    node: UnixStream,
}

impl Registration {
    /// Has the node register a name, or wait until it is free.
    ///
    /// # Errors
    /// Why not.
    pub(crate) fn new(name: &str) -> Result<Self, String> {
        let node = ask(&ServiceQuestion::Serve { name: name.to_owned() })?;
        Ok(Self { name: name.to_owned(), node })
    }

    /// The next caller. `serves` is called each time that the name has become this machine's. Notes for the
    /// person go to standard error.
    ///
    /// # Errors
    /// Why the node has none any more.
    pub(crate) fn next_caller(&mut self, serves: &dyn Fn()) -> Result<Socket, String> {
        loop {
            match next(&self.node) {
                Ok((ServiceAnswer::Stream, file)) => return stream(file).map_err(|error| error.to_string()),
                Ok((ServiceAnswer::Serves, _)) => serves(),
                Ok((ServiceAnswer::Waits { holder }, _)) => {
                    eprintln!(
                        "banyan: {holder} has the name {}; this process serves when it is free",
                        self.name
                    );
                }
                Ok((ServiceAnswer::Refused(reason), _)) => return Err(reason),
                Err(error) => {
                    eprintln!(
                        "banyan: the node has gone ({error}); {} is served again when it is back",
                        self.name
                    );
                    self.find_node();
                }
            }
        }
    }

    fn find_node(&mut self) {
        loop {
            std::thread::sleep(AGAIN);
            if let Ok(found) = Self::new(&self.name) {
                *self = found;
                return;
            }
        }
    }
}
