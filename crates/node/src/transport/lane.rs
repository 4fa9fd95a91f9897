//! One direction of one connection: sending without ever waiting for the peer.
//!
//! The pager sends while it holds its state lock. If it waited for a full socket there, two nodes that send each
//! other long runs would wait for each other for ever. So what the socket does not take at once is queued, and a
//! thread of the lane's own sends it. The connection can be replaced: what was on its way in the old one is lost.
//!
//! Lock order: after the pager's state lock; nothing is locked while the queue is.

use rustix::net::SendFlags;
use std::collections::VecDeque;
use std::io;
use std::net::TcpStream;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

/// Bytes that wait for a peer at most. The protocol bounds what is outstanding (a window of runs for each reader),
/// so more means that the peer has stopped reading.
const QUEUE_MAX: u64 = 1 << 30;

/// The sending side of a connection.
#[derive(Debug)]
pub struct Lane {
    queue: Mutex<Queue>,
    filled: Condvar,
    sent_bytes: AtomicU64,
}

#[derive(Debug)]
struct Queue {
    stream: Arc<TcpStream>,
    waiting: VecDeque<Vec<u8>>,
    /// Bytes that wait.
    bytes: u64,
    /// The lane's thread is sending: nobody else may, or bytes would change places.
    sending: bool,
    closed: bool,
}

impl Lane {
    /// Takes over the sending side of `stream` and starts its thread.
    ///
    /// # Errors
    /// The system's.
    pub fn new(stream: &TcpStream, name: &str) -> io::Result<Arc<Self>> {
        let queue = Queue {
            stream: sending_side(stream)?,
            waiting: VecDeque::new(),
            bytes: 0,
            sending: false,
            closed: false,
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
    pub fn send(&self, message: &[u8]) {
        self.sent_bytes.fetch_add(message.len() as u64, Ordering::Relaxed);
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        if queue.closed {
            return;
        }
        let mut rest = message;
        if queue.waiting.is_empty() && !queue.sending {
            while !rest.is_empty() {
                match rustix::net::send(&*queue.stream, rest, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
                    Ok(sent) => rest = &rest[sent..],
                    Err(rustix::io::Errno::INTR) => {}
                    Err(rustix::io::Errno::AGAIN) => break,
                    Err(_) => return,
                }
            }
        }
        if rest.is_empty() {
            return;
        }
        queue.bytes += rest.len() as u64;
        queue.waiting.push_back(rest.to_vec());
        if queue.bytes > QUEUE_MAX {
            let _ = queue.stream.shutdown(std::net::Shutdown::Both);
            queue.close();
        }
        self.filled.notify_one();
    }

    /// Bytes given to [`Lane::send`] so far.
    pub fn sent_bytes(&self) -> u64 {
        self.sent_bytes.load(Ordering::Relaxed)
    }

    /// Ends the connection; its receiver sees the end of the stream.
    pub fn close(&self) {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = queue.stream.shutdown(std::net::Shutdown::Both);
        queue.close();
    }

    /// Goes on with another connection. What the old one has not taken is dropped: half a message may be in it.
    ///
    /// # Errors
    /// The system's; the lane is closed then.
    pub fn replace(&self, stream: &TcpStream) -> io::Result<()> {
        self.close();
        let stream = sending_side(stream)?;
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        queue.stream = stream;
        queue.closed = false;
        Ok(())
    }

    fn drain(&self) {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let Some(piece) = queue.waiting.pop_front() else {
                queue = self.filled.wait(queue).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            queue.bytes -= piece.len() as u64;
            queue.sending = true;
            let stream = Arc::clone(&queue.stream);
            drop(queue);
            let sent = send_all(&stream, &piece);
            queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
            queue.sending = false;
            if sent.is_err() && Arc::ptr_eq(&stream, &queue.stream) {
                queue.close();
            }
        }
    }
}

impl Queue {
    fn close(&mut self) {
        self.closed = true;
        self.waiting.clear();
        self.bytes = 0;
    }
}

fn sending_side(stream: &TcpStream) -> io::Result<Arc<TcpStream>> {
    // Pacing (BBR) spreads a burst over time; between nodes of a cluster a burst is wanted.
    let _ = rustix::net::sockopt::set_tcp_congestion(stream, "reno");
    stream.try_clone().map(Arc::new)
}

fn send_all(stream: &TcpStream, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        let sent = rustix::io::retry_on_intr(|| rustix::net::send(stream, bytes, SendFlags::NOSIGNAL))?;
        bytes = &bytes[sent..];
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::net::TcpListener;

    #[test]
    fn a_peer_that_does_not_read_never_blocks_the_sender_and_loses_nothing() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut peer, _) = listener.accept().unwrap();
        let lane = Lane::new(&stream, "test").unwrap();
        let message: Vec<u8> = (0..1_000_003_u32).map(|n| (n % 251) as u8).collect();
        for _ in 0..32 {
            lane.send(&message);
        }
        let mut received = vec![0; message.len()];
        for _ in 0..32 {
            peer.read_exact(&mut received).unwrap();
            assert!(received == message);
        }
        lane.close();
    }
}
