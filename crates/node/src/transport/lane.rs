//! One direction of one connection: sending without ever waiting for the peer.
//!
//! The pager sends while it holds its state lock. If it waited for a full socket there, two nodes that send
//! each other long runs would wait for each other for ever. So what the socket does not take at once is
//! queued, and a thread of the lane sends it. The connection can be replaced: what was on its way in the old
//! one is lost.
//!
//! Lock order: after the pager's state lock; nothing is locked while the queue is.

use super::connection::{Connection, Wait};
use parking_lot::{Condvar, Mutex};
use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Bytes that wait for a peer at most. The protocol bounds what is outstanding (a window of runs for each
/// reader), so more means that the peer has stopped reading.
const QUEUE_MAX: u64 = 1 << 30;

/// The sending side of a connection.
#[derive(Debug)]
pub(crate) struct Lane {
    queue: Mutex<Queue>,
    filled: Condvar,
    sent_bytes: AtomicU64,
}

#[derive(Debug)]
struct Queue {
    connection: Arc<Connection>,
    waiting: VecDeque<Vec<u8>>,
    /// Bytes that wait.
    bytes: u64,
    /// The lane's thread is sending: no other thread may, or bytes would change places.
    sending: bool,
    state: State,
}

/// Whether a lane takes messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Open,
    /// Until its connection is replaced; what is sent meanwhile is lost.
    Closed,
    /// For ever.
    Ended,
}

impl Lane {
    /// Takes over the sending side of a connection and starts its thread.
    ///
    /// # Errors
    /// The system's.
    pub(crate) fn new(connection: &Connection, name: &str) -> io::Result<Arc<Self>> {
        let queue = Queue {
            connection: sending_side(connection)?,
            waiting: VecDeque::new(),
            bytes: 0,
            sending: false,
            state: State::Open,
        };
        let lane = Arc::new(Self {
            queue: Mutex::new(queue),
            filled: Condvar::new(),
            sent_bytes: AtomicU64::new(0),
        });
        let own = Arc::clone(&lane);
        std::thread::Builder::new().name(format!("send {name}")).spawn(move || own.drain())?;
        Ok(lane)
    }

    /// Sends one message, or queues what the socket does not take. Errors show on the receiving side of the
    /// connection, which closes it.
    pub(crate) fn send(&self, message: &[u8]) {
        self.sent_bytes.fetch_add(message.len() as u64, Ordering::Relaxed);
        let mut queue = self.queue.lock();
        if queue.state != State::Open {
            return;
        }
        let mut rest = message;
        if queue.waiting.is_empty() && !queue.sending {
            while !rest.is_empty() {
                match queue.connection.send(rest, Wait::No) {
                    Ok(sent) => rest = &rest[sent..],
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    Err(_) => return,
                }
            }
        }
        if rest.is_empty() && queue.connection.is_flushed() {
            return;
        }
        // With nothing in it, a piece has the lane's thread flush the connection.
        queue.bytes += rest.len() as u64;
        queue.waiting.push_back(rest.to_vec());
        if queue.bytes > QUEUE_MAX {
            queue.close(State::Closed);
        }
        self.filled.notify_one();
    }

    /// Bytes given to [`Lane::send`] so far.
    pub(crate) fn sent_bytes(&self) -> u64 {
        self.sent_bytes.load(Ordering::Relaxed)
    }

    /// The shortest time in which bytes on this lane were acknowledged lately.
    pub(crate) fn round_trip(&self) -> Option<Duration> {
        self.queue.lock().connection.round_trip()
    }

    /// Ends the connection; its receiver sees the end of the stream.
    pub(crate) fn close(&self) {
        let mut queue = self.queue.lock();
        queue.close(State::Closed);
    }

    /// Ends the lane with its connection and its thread: no other connection will come.
    pub(crate) fn end(&self) {
        let mut queue = self.queue.lock();
        queue.close(State::Ended);
        self.filled.notify_one();
    }

    /// Goes on with another connection. What the old one has not taken is dropped: half a message may be in
    /// it.
    ///
    /// # Errors
    /// The system's; the lane is closed then.
    pub(crate) fn replace(&self, connection: &Connection) -> io::Result<()> {
        self.close();
        let connection = sending_side(connection)?;
        let mut queue = self.queue.lock();
        if queue.state == State::Ended {
            return Err(io::ErrorKind::NotConnected.into());
        }
        queue.connection = connection;
        queue.state = State::Open;
        Ok(())
    }

    fn drain(&self) {
        let mut queue = self.queue.lock();
        loop {
            let Some(piece) = queue.waiting.pop_front() else {
                if queue.state == State::Ended {
                    return;
                }
                self.filled.wait(&mut queue);
                continue;
            };
            queue.bytes -= piece.len() as u64;
            queue.sending = true;
            let connection = Arc::clone(&queue.connection);
            drop(queue);
            let sent = send_all(&connection, &piece);
            queue = self.queue.lock();
            queue.sending = false;
            if sent.is_err() && Arc::ptr_eq(&connection, &queue.connection) {
                queue.close(State::Closed);
            }
        }
    }
}

impl Queue {
    /// Ends the connection and drops what waits. A lane that has ended stays so.
    fn close(&mut self, state: State) {
        self.connection.close();
        if self.state != State::Ended {
            self.state = state;
        }
        self.waiting.clear();
        self.bytes = 0;
    }
}

fn sending_side(connection: &Connection) -> io::Result<Arc<Connection>> {
    connection.prefer_bursts();
    connection.try_clone().map(Arc::new)
}

fn send_all(connection: &Connection, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        bytes = &bytes[connection.send(bytes, Wait::Yes)?..];
    }
    connection.flush()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::tests::pair;
    use std::io::Read;

    #[test]
    fn a_peer_that_does_not_read_never_blocks_the_sender_and_loses_nothing() {
        let (ours, peer) = pair();
        let lane = Lane::new(&ours, "test").unwrap();
        let message: Vec<u8> = (0..1_000_003_u32).map(|n| (n % 251) as u8).collect();
        for _ in 0..32 {
            lane.send(&message);
        }
        let mut received = vec![0; message.len()];
        for _ in 0..32 {
            (&peer).read_exact(&mut received).unwrap();
            assert!(received == message);
        }
        lane.close();
    }
}
