//! A connection whose sending side goes wrong by a seed: late, in another order, cut off, cut in two. For
//! tests.
//!
//! What is sent in one call counts as one message. A thread sends what is due, so that the sender never
//! waits; it ends with the last handle of the connection. Receiving is not touched: the other side has faults
//! too.

use super::connection::{Connection, Wait};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

/// In which order messages arrive that were sent while others were late.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// As they were sent.
    Kept,
    /// As their delays end.
    ByDelay,
}

/// How a connection ends before anybody closes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// It does not.
    Never,
    /// Cut after this many bytes, which may be in the middle of a message; both sides see it.
    Cut(u64),
    /// After this many bytes nothing arrives any more, and neither side is notified.
    Silence(u64),
}

/// What goes wrong.
#[derive(Clone, Copy, Debug)]
pub(super) struct Faults {
    /// The delays follow from it.
    pub(super) seed: u64,
    /// The longest delay of a message.
    pub(super) delay: Duration,
    pub(super) order: Order,
    pub(super) ending: Ending,
}

/// A connection with faults.
#[derive(Debug)]
pub struct Faulty {
    inner: Arc<Connection>,
    late: Sender<Vec<u8>>,
}

impl Faulty {
    /// Wraps a connection.
    pub(super) fn new(inner: Connection, faults: Faults) -> io::Result<Self> {
        let inner = Arc::new(inner);
        let (late, messages) = channel();
        let connection = Arc::clone(&inner);
        std::thread::Builder::new()
            .name("faulty".into())
            .spawn(move || deliver(&connection, &messages, faults))?;
        Ok(Self { inner, late })
    }

    pub(super) fn send(&self, bytes: &[u8]) -> io::Result<usize> {
        self.late.send(bytes.to_vec()).map_err(|_| io::ErrorKind::BrokenPipe)?;
        Ok(bytes.len())
    }

    pub(super) fn try_clone(&self) -> io::Result<Self> {
        Ok(Self { inner: Arc::clone(&self.inner), late: self.late.clone() })
    }

    pub(super) fn close(&self) {
        self.inner.close();
    }

    /// The connection without the faults.
    pub(super) fn inner(&self) -> &Connection {
        &self.inner
    }
}

/// Sends each message when its delay is over, until the connection has ended.
fn deliver(connection: &Connection, messages: &Receiver<Vec<u8>>, faults: Faults) {
    let mut random = fastrand::Rng::with_seed(faults.seed);
    let mut waiting: BinaryHeap<Reverse<(Instant, u64, Vec<u8>)>> = BinaryHeap::new();
    let (mut number, mut last, mut sent) = (0, Instant::now(), 0);
    loop {
        let due = waiting.peek().map(|Reverse((due, ..))| *due);
        let left = due.map_or(Duration::from_secs(3600), |due| due.saturating_duration_since(Instant::now()));
        match messages.recv_timeout(left) {
            Ok(message) => {
                let delay = faults.delay.mul_f64(random.f64());
                let earliest = match faults.order {
                    Order::Kept => last,
                    Order::ByDelay => Instant::now(),
                };
                last = earliest.max(Instant::now() + delay);
                number += 1;
                waiting.push(Reverse((last, number, message)));
            }
            Err(RecvTimeoutError::Timeout) => {
                let Some(Reverse((_, _, message))) = waiting.pop() else { continue };
                if send(connection, &message, sent, faults.ending).is_err() {
                    return;
                }
                sent += message.len() as u64;
            }
            // What is still late is lost with the sender, as in a network.
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

/// Sends a message that begins `sent` bytes after the beginning of the connection, or what the ending leaves
/// of it.
fn send(connection: &Connection, message: &[u8], sent: u64, ending: Ending) -> io::Result<()> {
    let end = match ending {
        Ending::Never => u64::MAX,
        Ending::Cut(end) | Ending::Silence(end) => end,
    };
    let room = usize::try_from(end.saturating_sub(sent)).unwrap_or(usize::MAX);
    let mut rest = &message[..message.len().min(room)];
    while !rest.is_empty() {
        rest = &rest[connection.send(rest, Wait::Yes)?..];
    }
    if room < message.len() && matches!(ending, Ending::Cut(_)) {
        connection.close();
        return Err(io::ErrorKind::ConnectionAborted.into());
    }
    Ok(())
}
