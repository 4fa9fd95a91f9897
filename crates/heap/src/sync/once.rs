//! What is done once for all processes, in a cell: if the process that does it dies, the next one does.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::cell::{Cell, Kind};
use super::error::{Acquired, LockError};
use super::word::{DONE, LockWord, Waiting, Wake, holder_in};
use crate::attachment::Attachment;

/// A once at an address of a heap.
#[derive(Clone, Copy, Debug)]
pub struct RawOnce<'a>(Cell<'a>);

/// What is to do for the one who asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "it may be this thread's to do"]
pub enum Begun {
    /// Nothing, it is done.
    Done,
    /// It is this thread's to do, and to end with `finish` or `abandon`. `OwnerDied`: somebody has begun.
    Begin(Acquired),
}

impl<'a> RawOnce<'a> {
    /// Makes a once of 64 bytes at `address` that nothing else uses. Nothing is done.
    ///
    /// # Errors
    /// [`LockError::NoSuchObject`] if the address is not one.
    pub fn make(attachment: &'a Attachment, address: usize) -> Result<Self, LockError> {
        Cell::make(attachment, address, Kind::Once, 0).map(Self)
    }

    /// The once at `address`.
    ///
    /// # Errors
    /// [`LockError::NoSuchObject`] if none was made there.
    pub fn at(attachment: &'a Attachment, address: usize) -> Result<Self, LockError> {
        Cell::of(attachment, address, Kind::Once).map(Self)
    }

    /// Ends it.
    ///
    /// # Errors
    /// [`LockError::NoSuchObject`] if none was made there.
    pub fn destroy(attachment: &Attachment, address: usize) -> Result<(), LockError> {
        Cell::destroy(attachment, address, Kind::Once)
    }

    /// Waits until it is done or this thread's to do.
    ///
    /// # Errors
    /// Time over, or a deadlock.
    pub fn begin(&self, timeout: Option<Duration>) -> Result<Begun, LockError> {
        let mut waiting = Waiting::new(timeout);
        loop {
            let seen = self.0.state.load(Ordering::SeqCst);
            if seen & DONE != 0 {
                return Ok(Begun::Done);
            }
            match holder_in(seen) {
                Some(holder) if self.0.attachment.is_alive(holder) => {
                    if holder == self.0.attachment.this_holder()? {
                        let circle = vec![self.0.attachment.info_of(holder)];
                        return Err(LockError::Deadlock { circle });
                    }
                    self.word().sleep(seen, &mut waiting)?;
                }
                // Free, or its holder is dead.
                _ => {
                    if let Some(acquired) = self.word().try_lock()? {
                        return Ok(Begun::Begin(acquired));
                    }
                }
            }
        }
    }

    /// Says that it is done.
    ///
    /// # Errors
    /// [`LockError::NotHeld`].
    pub fn finish(&self) -> Result<(), LockError> {
        self.word().unlock_done()
    }

    /// Leaves it to the next one.
    ///
    /// # Errors
    /// [`LockError::NotHeld`].
    pub fn abandon(&self) -> Result<(), LockError> {
        self.word().unlock(Wake::All)
    }

    /// Whether it is done.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.0.state.load(Ordering::SeqCst) & DONE != 0
    }

    fn word(&self) -> LockWord<'a> {
        LockWord { attachment: self.0.attachment, word: self.0.state, address: self.0.address }
    }
}
