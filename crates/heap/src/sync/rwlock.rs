//! A robust reader-writer lock in a cell.
//!
//! A writer takes the word as a mutex's, which keeps new readers out, and then waits until those that are in
//! the table of holds have gone. A reader puts itself into the table, and *then* looks whether there is a
//! writer; both are sequentially consistent, so at least one of the two sees the other. A reader that sees a
//! writer takes itself out and waits. So readers of one lock write different words, a reader that dies leaves
//! a word that names it, and a stream of readers cannot keep a writer out.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::cell::{Cell, Kind};
use super::error::{Acquired, LockError};
use super::word::{LockWord, Waiting, Wake, holder_in};
use crate::attachment::Attachment;
use crate::death::point;
use crate::identity::this_thread;
use crate::sys::futex::{self, Half};

/// A reader-writer lock at an address of a heap.
#[derive(Clone, Copy, Debug)]
pub struct RawRwLock<'a>(Cell<'a>);

impl<'a> RawRwLock<'a> {
    /// Makes a lock of 64 bytes at `address` that nothing else uses. It is free.
    ///
    /// # Errors
    /// [`LockError::NoSuchObject`] if the address is not one.
    pub fn make(attachment: &'a Attachment, address: usize) -> Result<Self, LockError> {
        Cell::make(attachment, address, Kind::RwLock, 0).map(Self)
    }

    /// The lock at `address`.
    ///
    /// # Errors
    /// [`LockError::NoSuchObject`] if none was made there.
    pub fn at(attachment: &'a Attachment, address: usize) -> Result<Self, LockError> {
        Cell::of(attachment, address, Kind::RwLock).map(Self)
    }

    /// Ends it.
    ///
    /// # Errors
    /// [`LockError::NoSuchObject`] if none was made there.
    pub fn destroy(attachment: &Attachment, address: usize) -> Result<(), LockError> {
        Cell::destroy(attachment, address, Kind::RwLock)
    }

    /// Takes it beside other readers, and waits for that for `timeout` at most.
    ///
    /// # Errors
    /// Time over, a deadlock, or too many readers.
    pub fn read(&self, timeout: Option<Duration>) -> Result<Acquired, LockError> {
        let process = self.0.attachment.this_holder()?.process();
        let holds = self.0.attachment.holds();
        let mut waiting = Waiting::new(timeout);
        loop {
            if !holds.enter(self.0.address, process, this_thread()) {
                // The places of the dead are as good as free.
                self.0.attachment.count_holds(self.0.address);
                if !holds.enter(self.0.address, process, this_thread()) {
                    return Err(LockError::TooManyReaders);
                }
            }
            point("read.entered");
            let seen = self.0.state.load(Ordering::SeqCst);
            let Some(writer) = holder_in(seen) else {
                let is_whole = !LockWord::is_left_by_the_dead(seen);
                return Ok(if is_whole { Acquired::Clean } else { Acquired::OwnerDied });
            };
            self.leave(process);
            if self.0.attachment.is_alive(writer) {
                if writer == self.0.attachment.this_holder()? {
                    let circle = vec![self.0.attachment.info_of(writer)];
                    return Err(LockError::Deadlock { circle });
                }
                self.word().sleep(seen, &mut waiting)?;
            } else {
                self.word().free_of_the_dead(seen);
            }
        }
    }

    /// Takes it alone, and waits for that for `timeout` at most.
    ///
    /// # Errors
    /// Time over, or a deadlock.
    pub fn write(&self, timeout: Option<Duration>) -> Result<Acquired, LockError> {
        let waiting = Waiting::new(timeout);
        let acquired = self.word().lock(timeout)?;
        loop {
            let drained = self.0.more.load(Ordering::SeqCst);
            point("write.draining");
            if self.0.attachment.count_holds(self.0.address).0 == 0 {
                return Ok(acquired);
            }
            let Some(at_most) = waiting.next_sleep() else {
                self.word().unlock(Wake::All)?;
                return Err(LockError::TimedOut { waited: waiting.waited(), holder: None });
            };
            futex::wait(self.0.more, Half::Low, drained, at_most);
        }
    }

    /// Gives up one reader's hold of this process.
    ///
    /// # Errors
    /// [`LockError::NotHeld`].
    pub fn unlock_read(&self) -> Result<(), LockError> {
        let process = self.0.attachment.this_holder()?.process();
        if self.leave(process) { Ok(()) } else { Err(LockError::NotHeld { holder: None }) }
    }

    /// Gives it up as its writer.
    ///
    /// # Errors
    /// [`LockError::NotHeld`].
    pub fn unlock_write(&self) -> Result<(), LockError> {
        self.word().unlock(Wake::All)
    }

    /// Gives up whichever hold this thread has.
    ///
    /// # Errors
    /// [`LockError::NotHeld`].
    pub fn unlock(&self) -> Result<(), LockError> {
        let me = self.0.attachment.this_holder()?;
        if holder_in(self.0.state.load(Ordering::SeqCst)) == Some(me) {
            self.unlock_write()
        } else {
            self.unlock_read()
        }
    }

    /// Says, as the writer, that what it protects is whole again after [`Acquired::OwnerDied`].
    ///
    /// # Errors
    /// [`LockError::NotHeld`].
    pub fn make_consistent(&self) -> Result<(), LockError> {
        self.word().make_consistent()
    }

    fn leave(&self, process: crate::identity::Participant) -> bool {
        let left = self.0.attachment.holds().leave(self.0.address, process, this_thread());
        point("read.left");
        // A writer that came before this look waits for the table to change, and is woken; one that comes
        // after it finds the hold gone.
        if holder_in(self.0.state.load(Ordering::SeqCst)).is_some() {
            self.0.more.fetch_add(1, Ordering::SeqCst);
            futex::wake(self.0.more, Half::Low, futex::ALL);
        }
        left
    }

    fn word(&self) -> LockWord<'a> {
        LockWord { attachment: self.0.attachment, word: self.0.state, address: self.0.address }
    }
}
