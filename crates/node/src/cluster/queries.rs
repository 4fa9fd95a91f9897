//! Queries over the node's local socket: a packet with the query, and packets with the answer.
//!
//! The answer comes in parts as the query finds them; a person who closes the socket ends the query. Not
//! here: what a query answers (`crate::observe::sql`).

use super::local;
use crate::observe::sql::{self, Facts, Served};
use banyan_tables::SQL_BYTES_MAX;
use banyan_wire::frame::{self, LENGTH_BYTES};
use banyan_wire::sql::QueryMessage;
use rustix::event::{PollFd, PollFlags};
use rustix::net::{RecvFlags, SendFlags, sockopt};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// What a packet begins with that asks a query.
pub(super) const QUERY: &[u8; 8] = b"BANYAN\x00\x03";
/// Queries that a node answers at a time.
const QUERIES_MAX: usize = 8;
/// Who takes nothing of an answer for this long has no more of it.
const READER_DEADLINE: Duration = Duration::from_secs(120);
/// Between two packets of a query with a budget there is no more time than this, however busy the machine.
const ANSWER_DEADLINE: Duration = Duration::from_secs(300);

/// Why a query has no answer, or no whole one.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    /// No node has the socket.
    #[error("{}: no node answers there: {source}; start it with `banyan up`", path.display())]
    NoNode {
        /// The socket.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The node began to answer and did not end.
    #[error("the answer broke off: {0}")]
    BrokenOff(io::Error),
    /// The query is too long to be sent.
    #[error("a query of {0} bytes; {SQL_BYTES_MAX} are allowed")]
    TooLong(usize),
    /// The node refuses, and says why.
    #[error("{0}")]
    Refused(String),
}

/// Asks the node whose socket is at `path` a query, within the usual budget if `bounded`. What comes before
/// the end of the answer goes to `take`, which says whether it wants more.
///
/// # Errors
/// [`QueryError`].
pub fn query(
    path: &Path,
    sql: &str,
    bounded: bool,
    take: &mut dyn FnMut(QueryMessage) -> bool,
) -> Result<(), QueryError> {
    if sql.len() > SQL_BYTES_MAX {
        return Err(QueryError::TooLong(sql.len()));
    }
    let no_node = |source| QueryError::NoNode { path: path.into(), source };
    let socket = local::connect(path).map_err(no_node)?;
    let ask = QueryMessage::Ask { sql: sql.into(), bounded };
    let packet = [QUERY, &frame::encode(&ask)[LENGTH_BYTES..]].concat();
    let begin = || -> io::Result<()> {
        let deadline = bounded.then_some(ANSWER_DEADLINE);
        sockopt::set_socket_timeout(&socket, sockopt::Timeout::Recv, deadline)?;
        rustix::net::send(&socket, &packet, SendFlags::NOSIGNAL)?;
        Ok(())
    };
    begin().map_err(no_node)?;
    let mut packet = vec![0; local::PACKET_MAX];
    loop {
        let receive = || rustix::net::recv(&socket, &mut packet[..], RecvFlags::empty());
        let length = match rustix::io::retry_on_intr(receive) {
            Ok((0, _)) => return Err(QueryError::BrokenOff(io::ErrorKind::UnexpectedEof.into())),
            Ok((length, _)) => length,
            Err(rustix::io::Errno::AGAIN) => {
                return Err(QueryError::BrokenOff(io::ErrorKind::TimedOut.into()));
            }
            Err(error) => return Err(QueryError::BrokenOff(error.into())),
        };
        let invalid = |error| QueryError::BrokenOff(io::Error::new(io::ErrorKind::InvalidData, error));
        match frame::decode(&packet[..length]).map_err(invalid)? {
            QueryMessage::End => return Ok(()),
            QueryMessage::Failed(reason) => return Err(QueryError::Refused(reason)),
            message => {
                if !take(message) {
                    return Ok(());
                }
            }
        }
    }
}

/// What a packet asks, without its mark.
///
/// # Errors
/// `InvalidData` for anything that is no query.
pub(super) fn question(packet: &[u8]) -> io::Result<(String, bool)> {
    match frame::decode(packet) {
        Ok(QueryMessage::Ask { sql, bounded }) => Ok((sql, bounded)),
        Ok(_) => Err(io::Error::new(io::ErrorKind::InvalidData, "an answer and no query")),
        Err(error) => Err(io::Error::new(io::ErrorKind::InvalidData, error)),
    }
}

/// Answers a query of the process behind `process`.
///
/// # Errors
/// The system's.
pub(super) fn answer(
    facts: &Arc<dyn Facts>,
    served: &Served,
    process: &OwnedFd,
    sql: &str,
    bounded: bool,
) -> io::Result<()> {
    let Some(_serving) = served.begin(QUERIES_MAX) else {
        let reason = format!("the node answers {QUERIES_MAX} queries now; ask again when one has ended");
        return send(process.as_fd(), &QueryMessage::Failed(reason));
    };
    sockopt::set_socket_timeout(process, sockopt::Timeout::Send, Some(READER_DEADLINE))?;
    let watched = process.try_clone()?;
    let wanted = move || !has_gone(&watched);
    sql::answer(facts, sql, bounded, wanted, &mut |message| send(process.as_fd(), message))
}

fn send(process: BorrowedFd<'_>, message: &QueryMessage) -> io::Result<()> {
    let packet = &frame::encode(message)[LENGTH_BYTES..];
    rustix::io::retry_on_intr(|| rustix::net::send(process, packet, SendFlags::NOSIGNAL))?;
    Ok(())
}

/// Whether the process behind a socket has closed it.
fn has_gone(socket: &OwnedFd) -> bool {
    let mut polled = [PollFd::new(socket, PollFlags::RDHUP)];
    let now = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
    let gone = PollFlags::RDHUP | PollFlags::HUP | PollFlags::ERR;
    rustix::event::poll(&mut polled, Some(&now)).is_ok_and(|_| polled[0].revents().intersects(gone))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::replica::socket_pair;

    #[test]
    fn a_question_is_read_and_nothing_else_is_one() {
        let ask = |sql: &str| QueryMessage::Ask { sql: sql.into(), bounded: true };
        let body = |message: &QueryMessage| frame::encode(message).split_off(LENGTH_BYTES);
        assert_eq!(question(&body(&ask("SELECT 1"))).unwrap(), ("SELECT 1".into(), true));
        assert!(question(&body(&QueryMessage::End)).is_err());
        assert!(question(b"SELECT 1").is_err() && question(&[]).is_err());
    }

    #[test]
    fn a_socket_that_was_closed_is_seen() {
        let (ours, theirs) = socket_pair().unwrap();
        assert!(!has_gone(&ours));
        rustix::net::send(&theirs, b"more", SendFlags::NOSIGNAL).unwrap();
        assert!(!has_gone(&ours));
        drop(theirs);
        assert!(has_gone(&ours));
    }
}
