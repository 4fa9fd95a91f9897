//! [`Mailboxes`]: of configurations that take so many events and no more, how many each has, and who waits
//! for room.
//!
//! What counts is what other configurations and threads outside have sent, from when a sending event has put
//! it on its way until it is handled, wherever it is meanwhile: with an event that may yet fail, in the
//! inbox, in the queue, with an actor that is held or with its sponsor. What a configuration sends to itself,
//! and what the runtime sends (ends of actors, results of blocking work, timers that are due), is not counted
//! and always taken.
//!
//! Locks: the table's, and each mailbox's own for who waits; nothing is sent under them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use parking_lot::{Condvar, Mutex, RwLock};

use crate::model::address::{ConfigurationNumber, Local};

/// What is done about a message to a configuration that has as many events as it takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenFull {
    /// Who sends it waits. An event is undone and tried again when there is room, before the events that came
    /// to its actor meanwhile; a thread outside of any event waits. Two configurations that send to each
    /// other may so wait for each other.
    Wait,
    /// The event that sends it fails with [`Failure::Full`](crate::Failure::Full). What a thread outside
    /// sends is dropped.
    Fail,
    /// It is dropped, and counted among the dead letters.
    Drop,
}

/// There is no room for a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the configuration has as many events as it takes")]
pub struct MailboxFull;

/// The events that a configuration takes.
pub(crate) struct Mailbox {
    events_max: usize,
    pub(crate) when_full: WhenFull,
    /// Events that count.
    events: AtomicUsize,
    /// Actors and threads that wait.
    waiting: AtomicUsize,
    waiters: Mutex<Waiters>,
    room: Condvar,
}

#[derive(Default)]
struct Waiters {
    actors: Vec<Local>,
    /// The configuration is no more.
    closed: bool,
}

impl Mailbox {
    pub(crate) fn new(events_max: usize, when_full: WhenFull) -> Self {
        let (events, waiting) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let events_max = events_max.max(1);
        Self { events_max, when_full, events, waiting, waiters: Mutex::default(), room: Condvar::new() }
    }

    /// Takes room for one event, if there is any.
    pub(crate) fn reserve(&self) -> bool {
        let one_more = |events| (events < self.events_max).then_some(events + 1);
        self.events.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_more).is_ok()
    }

    fn has_room(&self) -> bool {
        // Not for each event that is handled: those that wait would come one by one.
        self.events.load(Ordering::SeqCst) <= self.events_max / 2
    }

    /// Some events count no more. Gives the actors that waited, if there is room for them.
    pub(crate) fn release(&self, events: usize) -> Vec<Local> {
        if events == 0 {
            return Vec::new();
        }
        self.events.fetch_sub(events, Ordering::SeqCst);
        // Who begins to wait looks after it has said so.
        if self.waiting.load(Ordering::SeqCst) == 0 || !self.has_room() {
            return Vec::new();
        }
        let mut waiters = self.waiters.lock();
        self.room.notify_all();
        self.take(&mut waiters)
    }

    fn take(&self, waiters: &mut Waiters) -> Vec<Local> {
        self.waiting.fetch_sub(waiters.actors.len(), Ordering::SeqCst);
        std::mem::take(&mut waiters.actors)
    }

    /// An actor waits for room. Gives those that wait if there is some already.
    pub(crate) fn wait_as(&self, actor: Local) -> Vec<Local> {
        let mut waiters = self.waiters.lock();
        waiters.actors.push(actor);
        self.waiting.fetch_add(1, Ordering::SeqCst);
        if waiters.closed || self.has_room() { self.take(&mut waiters) } else { Vec::new() }
    }

    /// Waits on this thread until there was room, and takes it. `false`: the configuration is no more.
    pub(crate) fn wait(&self) -> bool {
        let mut waiters = self.waiters.lock();
        self.waiting.fetch_add(1, Ordering::SeqCst);
        let reserved = loop {
            if waiters.closed {
                break false;
            }
            if self.reserve() {
                break true;
            }
            self.room.wait(&mut waiters);
        };
        self.waiting.fetch_sub(1, Ordering::SeqCst);
        reserved
    }

    /// The configuration is no more: nobody waits for it. Gives the actors that did.
    fn close(&self) -> Vec<Local> {
        let mut waiters = self.waiters.lock();
        waiters.closed = true;
        self.room.notify_all();
        self.take(&mut waiters)
    }
}

/// Mailboxes by configuration.
#[derive(Default)]
pub(crate) struct Mailboxes {
    /// How many there are: mostly none, and then nothing is looked up.
    count: AtomicUsize,
    /// Messages that were dropped for want of room.
    dropped: AtomicU64,
    table: RwLock<BTreeMap<ConfigurationNumber, Arc<Mailbox>>>,
}

impl Mailboxes {
    #[inline]
    pub(crate) fn find(&self, number: ConfigurationNumber) -> Option<Arc<Mailbox>> {
        if self.count.load(Ordering::Relaxed) == 0 { None } else { self.look_up(number) }
    }

    /// Whether who sends to a full one waits.
    pub(crate) fn makes_wait(&self, number: ConfigurationNumber) -> bool {
        // One that is gone takes everything, to no end.
        self.find(number).is_none_or(|mailbox| mailbox.when_full == WhenFull::Wait)
    }

    fn look_up(&self, number: ConfigurationNumber) -> Option<Arc<Mailbox>> {
        self.table.read().get(&number).cloned()
    }

    pub(crate) fn note_dropped(&self) {
        self.dropped.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    pub(crate) fn insert(&self, number: ConfigurationNumber, mailbox: Arc<Mailbox>) {
        self.table.write().insert(number, mailbox);
        self.count.fetch_add(1, Ordering::Relaxed);
    }

    /// Nothing is handled any more: no thread waits.
    pub(crate) fn close(&self) {
        for mailbox in self.table.read().values() {
            // Their configurations do not go on either.
            drop(mailbox.close());
        }
    }

    /// Gives the actors that waited for room there.
    pub(crate) fn remove(&self, number: ConfigurationNumber) -> Vec<Local> {
        let Some(mailbox) = self.table.write().remove(&number) else { return Vec::new() };
        self.count.fetch_sub(1, Ordering::Relaxed);
        mailbox.close()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::{Mailbox, WhenFull};
    use crate::model::address::Local;

    #[test]
    fn who_waits_goes_on_when_half_is_free_and_no_wake_up_is_lost() {
        let mailbox = Mailbox::new(4, WhenFull::Wait);
        let actor = Local { configuration: 7, slot: 0, generation: 0 };
        assert!((0..4).all(|_| mailbox.reserve()) && !mailbox.reserve());
        assert_eq!(mailbox.wait_as(actor), []);
        assert_eq!((mailbox.release(1), mailbox.release(1)), (vec![], vec![actor]));
        assert_eq!(mailbox.release(1), []);
        assert_eq!(mailbox.wait_as(actor), [actor], "there was room before it waited");
    }

    #[test]
    fn threads_that_wait_get_room_one_each_or_the_end() {
        let mailbox = Arc::new(Mailbox::new(2, WhenFull::Wait));
        let waiting: Vec<_> = (0..4)
            .map(|_| {
                let mailbox = mailbox.clone();
                std::thread::spawn(move || mailbox.wait())
            })
            .collect();
        let mut reserved = 0;
        for _ in 0..1_000_000 {
            reserved = waiting.iter().filter(|thread| thread.is_finished()).count();
            if reserved == 2 {
                break;
            }
            std::thread::yield_now();
        }
        assert_eq!(reserved, 2);
        mailbox.release(1);
        while waiting.iter().filter(|thread| thread.is_finished()).count() < 3 {
            std::thread::yield_now();
        }
        assert_eq!(mailbox.close(), []);
        let got: Vec<bool> = waiting.into_iter().map(|thread| thread.join().unwrap_or(false)).collect();
        assert_eq!(got.into_iter().filter(|got| *got).count(), 3);
    }
}
