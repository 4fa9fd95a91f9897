//! Receiving on a lane until it ends, and making a coherence connection again that has ended.
//!
//! The coherence protocol tolerates the loss of messages, so a coherence lane that breaks, or brings what is
//! no message, is closed and made anew, and only what was in it is lost. On the control lane every message
//! counts: the one that receives there decides what its end means. Not here: what a message means.

use super::connection::Connection;
use super::{Lane, read_message};
use banyan_wire::coherence::{HEADER_BYTES, Header, Message};
use banyan_wire::control::ControlMessage;
use std::convert::Infallible;
use std::io::{self, BufReader, Read};

/// A lane that broke more often than this is not reconnected.
const AGAIN_MAX: u32 = 64;

/// Why nothing more is received on a connection.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LaneEnd {
    /// The other side closed it.
    #[error("its daemon closed the connection")]
    Closed,
    /// It broke, or brought what it must not.
    #[error("{0}")]
    Bad(String),
    /// The receiver cannot go on, and has said why.
    #[error("this node cannot go on")]
    Stopped,
}

impl From<io::Error> for LaneEnd {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => Self::Closed,
            io::ErrorKind::ConnectionReset => Self::Bad("it was reset".into()),
            _ => Self::Bad(error.to_string()),
        }
    }
}

/// Gives `receive` every message of a coherence connection with the bytes of its payload, until one of both
/// ends. Messages are about `process`.
///
/// # Errors
/// Always, at last.
pub(crate) fn receive_coherence(
    connection: &Connection,
    process: u32,
    mut receive: impl FnMut(Message, &[u8]) -> Result<(), LaneEnd>,
) -> Result<Infallible, LaneEnd> {
    const BUFFER: usize = 64 << 10;
    let bad = |error: &dyn std::fmt::Display| LaneEnd::Bad(error.to_string());
    let mut connection = BufReader::with_capacity(BUFFER, connection);
    let mut buffer = Vec::new();
    loop {
        let mut bytes = [0; HEADER_BYTES];
        connection.read_exact(&mut bytes)?;
        let header = Header::decode(&bytes).map_err(|error| bad(&error))?;
        if header.process() != process {
            return Err(bad(&format!("a message for process {}, which is not here", header.process())));
        }
        // It only grows, so that it is not cleared for every message.
        if buffer.len() < header.payload_bytes() {
            buffer.resize(header.payload_bytes(), 0);
        }
        let payload = &mut buffer[..header.payload_bytes()];
        connection.read_exact(payload)?;
        let message = header.message(payload).map_err(|error| bad(&error))?;
        receive(message, payload)?;
    }
}

/// Gives `receive` every message of a control connection, until one of both ends.
///
/// # Errors
/// Always, at last.
pub(crate) fn receive_control(
    connection: &Connection,
    mut receive: impl FnMut(ControlMessage) -> Result<(), LaneEnd>,
) -> Result<Infallible, LaneEnd> {
    let mut connection = BufReader::new(connection);
    loop {
        receive(read_message(&mut connection)?)?;
    }
}

/// Receives on a coherence lane, over one connection after another: when one ends, both sides close it,
/// `again` makes the next and `lane` goes on sending over that. Returns why the last one ended: the receiver
/// stopped, there were too many, or `again` made none. `report` is given the reason of every connection that
/// went bad and was made again: the side that closed it knows the reason, the other does not.
pub(crate) fn receive_again(
    lane: &Lane,
    mut connection: Connection,
    mut receive: impl FnMut(&Connection) -> Result<Infallible, LaneEnd>,
    mut again: impl FnMut() -> Option<Connection>,
    mut report: impl FnMut(&str),
) -> LaneEnd {
    let mut times = 0;
    loop {
        let Err(end) = receive(&connection);
        // The other side must notice, too.
        connection.close();
        if matches!(end, LaneEnd::Stopped) || times == AGAIN_MAX {
            return end;
        }
        times += 1;
        match again() {
            Some(next) if lane.replace(&next).is_ok() => connection = next,
            _ => return end,
        }
        if let LaneEnd::Bad(reason) = end {
            report(&reason);
        }
    }
}
