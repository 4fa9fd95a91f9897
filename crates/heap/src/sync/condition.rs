//! A condition in a cell: threads sleep until another one says that something changed.
//!
//! The state counts the changes; a thread reads it before it gives its mutex up, and sleeps while it is the
//! same. Nothing is kept of who waits but a count that may be too high, so that nothing is wrong after a
//! process died.
//!
//! A wait ends after a tick also when nothing was said, as POSIX permits: so a process that was told and died
//! before it did anything does not leave the others asleep. Always wait in a loop.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::TICK;
use super::cell::{Cell, Kind};
use super::error::{Acquired, LockError};
use super::mutex::RawMutex;
use crate::attachment::Attachment;
use crate::sys::futex::{self, Half};

/// A condition at an address of a heap.
#[derive(Clone, Copy, Debug)]
pub struct RawCondition<'a>(Cell<'a>);

impl<'a> RawCondition<'a> {
    /// Makes a condition of 64 bytes at `address` that nothing else uses.
    ///
    /// # Errors
    /// [`LockError::NoSuchObject`] if the address is not one.
    pub fn make(attachment: &'a Attachment, address: usize) -> Result<Self, LockError> {
        Cell::make(attachment, address, Kind::Condition, 0).map(Self)
    }

    /// The condition at `address`.
    ///
    /// # Errors
    /// [`LockError::NoSuchObject`] if none was made there.
    pub fn at(attachment: &'a Attachment, address: usize) -> Result<Self, LockError> {
        Cell::of(attachment, address, Kind::Condition).map(Self)
    }

    /// Ends it.
    ///
    /// # Errors
    /// [`LockError::NoSuchObject`] if none was made there.
    pub fn destroy(attachment: &Attachment, address: usize) -> Result<(), LockError> {
        Cell::destroy(attachment, address, Kind::Condition)
    }

    /// Gives `mutex` up, sleeps until something is said, or `at_most` or a tick is over, and takes it again.
    ///
    /// # Errors
    /// [`LockError::NotHeld`] if this thread does not have the mutex; what taking it again gives.
    pub fn wait(&self, mutex: &RawMutex<'_>, at_most: Option<Duration>) -> Result<Acquired, LockError> {
        let seen = self.0.state.load(Ordering::SeqCst);
        self.0.more.fetch_add(1, Ordering::SeqCst);
        let at_most = at_most.unwrap_or(TICK).min(TICK);
        let slept = mutex.unlock().map(|()| futex::wait(self.0.state, Half::Low, seen, at_most));
        self.0.more.fetch_sub(1, Ordering::SeqCst);
        slept?;
        mutex.lock(None)
    }

    /// Wakes one thread that waits.
    pub fn notify_one(&self) {
        self.notify(1);
    }

    /// Wakes all threads that wait.
    pub fn notify_all(&self) {
        self.notify(futex::ALL);
    }

    fn notify(&self, count: u32) {
        self.0.state.fetch_add(1, Ordering::SeqCst);
        if self.0.more.load(Ordering::SeqCst) != 0 {
            futex::wake(self.0.state, Half::Low, count);
        }
    }
}
