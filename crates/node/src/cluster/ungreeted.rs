//! Connections of which it is not known yet who made them: their number is bounded, and the oldest makes
//! way.
//!
//! A member has greeted within milliseconds, so the oldest is a stranger's that is silent, or slow on
//! purpose. If the newest were turned away instead, a few strangers could keep all members out.
//!
//! Lock order: `waiting` is taken alone.

use crate::transport::Connection;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

/// The most of them at a time.
const UNGREETED_MAX: usize = 64;

/// Those of one node.
#[derive(Debug, Default)]
pub(super) struct Ungreeted {
    /// The oldest first.
    waiting: Mutex<VecDeque<(u64, Connection)>>,
    last: AtomicU64,
}

impl Ungreeted {
    /// A connection was accepted. If there are too many, the oldest is closed. Gives the number under which
    /// it is waiting.
    ///
    /// # Errors
    /// The system's; the connection is not taken then.
    pub(super) fn arrive(&self, connection: &Connection) -> io::Result<u64> {
        let (handle, number) = (connection.try_clone()?, self.last.fetch_add(1, Ordering::Relaxed));
        let mut waiting = self.waiting.lock();
        waiting.push_back((number, handle));
        if waiting.len() > UNGREETED_MAX
            && let Some((_, oldest)) = waiting.pop_front()
        {
            oldest.close();
        }
        Ok(number)
    }

    /// It is known who made this one, or it has ended.
    pub(super) fn leave(&self, number: u64) {
        self.waiting.lock().retain(|(waiting, _)| *waiting != number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::net::{TcpListener, TcpStream};
    use std::time::Duration;

    #[test]
    fn the_oldest_makes_way_and_who_has_greeted_stays() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let ungreeted = Ungreeted::default();
        let come = || {
            let stranger = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            stranger.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
            let (connection, _) = Connection::accept(&listener).unwrap();
            let number = ungreeted.arrive(&connection).unwrap();
            (stranger, connection, number)
        };
        let mut all: Vec<_> = (0..UNGREETED_MAX).map(|_| come()).collect();
        ungreeted.leave(all[0].2);
        all.extend((0..3).map(|_| come()));
        let ended = |(stranger, ..): &(TcpStream, Connection, u64)| {
            matches!((&mut &*stranger).read(&mut [0; 1]), Ok(0))
        };
        let ended: Vec<usize> = (0..all.len()).filter(|&at| ended(&all[at])).collect();
        assert_eq!(ended, [1, 2], "one place was free, two had to make way");
    }
}
