//! A robust mutex in a cell.

use std::time::Duration;

use super::cell::{Cell, Kind};
use super::error::{Acquired, LockError};
use super::word::{LockWord, Wake};
use crate::attachment::Attachment;

/// A mutex at an address of a heap.
#[derive(Clone, Copy, Debug)]
pub struct RawMutex<'a>(Cell<'a>);

impl<'a> RawMutex<'a> {
    /// Makes a mutex of 64 bytes at `address` that nothing else uses. It is free.
    ///
    /// # Errors
    /// [`LockError::NoSuchObject`] if the address is not one.
    pub fn make(attachment: &'a Attachment, address: usize) -> Result<Self, LockError> {
        Cell::make(attachment, address, Kind::Mutex, 0).map(Self)
    }

    /// The mutex at `address`.
    ///
    /// # Errors
    /// [`LockError::NoSuchObject`] if none was made there.
    #[inline]
    pub fn at(attachment: &'a Attachment, address: usize) -> Result<Self, LockError> {
        Cell::of(attachment, address, Kind::Mutex).map(Self)
    }

    /// Ends it.
    ///
    /// # Errors
    /// [`LockError::NoSuchObject`] if none was made there.
    pub fn destroy(attachment: &Attachment, address: usize) -> Result<(), LockError> {
        Cell::destroy(attachment, address, Kind::Mutex)
    }

    /// Takes it, and waits for that for `timeout` at most.
    ///
    /// # Errors
    /// Time over, or a deadlock, which includes that this thread has it already.
    #[inline]
    pub fn lock(&self, timeout: Option<Duration>) -> Result<Acquired, LockError> {
        self.word().lock(timeout)
    }

    /// Takes it if that takes no wait.
    ///
    /// # Errors
    /// This process is not attached.
    pub fn try_lock(&self) -> Result<Option<Acquired>, LockError> {
        self.word().try_lock()
    }

    /// Gives it up.
    ///
    /// # Errors
    /// [`LockError::NotHeld`].
    #[inline]
    pub fn unlock(&self) -> Result<(), LockError> {
        self.word().unlock(Wake::One)
    }

    /// Says that what it protects is whole again after [`Acquired::OwnerDied`]. Until then every holder
    /// hears that.
    ///
    /// # Errors
    /// [`LockError::NotHeld`].
    pub fn make_consistent(&self) -> Result<(), LockError> {
        self.word().make_consistent()
    }

    #[inline]
    fn word(&self) -> LockWord<'a> {
        LockWord { attachment: self.0.attachment, word: self.0.state, address: self.0.address }
    }
}
