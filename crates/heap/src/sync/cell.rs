//! The form of a cell of 64 bytes: word 0 is the state, word 1 says what it is.

use std::sync::atomic::{AtomicU64, Ordering};

use super::error::LockError;
use crate::attachment::Attachment;
use crate::layout::{BARRIER_TAG, LOCK_BYTES};

/// What a cell can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub(crate) enum Kind {
    Mutex = 0x3158_5455_4d4b_4e42,
    RwLock = 0x314b_434c_5752_4e42,
    Condition = 0x3144_4e4f_434b_4e42,
    Barrier = BARRIER_TAG,
    Once = 0x3145_434e_4f4b_4e42,
}

impl Kind {
    const fn word(self) -> &'static str {
        match self {
            Self::Mutex => "mutex",
            Self::RwLock => "reader-writer lock",
            Self::Condition => "condition",
            Self::Barrier => "barrier",
            Self::Once => "once",
        }
    }
}

/// A cell that was made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cell<'a> {
    pub(crate) attachment: &'a Attachment,
    pub(crate) address: usize,
    pub(crate) state: &'a AtomicU64,
    /// Word 2, for kinds that have more to say.
    pub(crate) more: &'a AtomicU64,
}

impl<'a> Cell<'a> {
    /// Makes a cell of the memory at `address`, which nothing else uses.
    pub(crate) fn make(
        attachment: &'a Attachment,
        address: usize,
        kind: Kind,
        state: u64,
    ) -> Result<Self, LockError> {
        let (cell, tag) = Self::at(attachment, address, kind)?;
        cell.more.store(0, Ordering::Relaxed);
        cell.state.store(state, Ordering::Relaxed);
        // Last, so that a process that dies before leaves no half-made cell.
        tag.store(kind as u64, Ordering::Release);
        Ok(cell)
    }

    /// The cell of this kind at `address`.
    #[inline]
    pub(crate) fn of(attachment: &'a Attachment, address: usize, kind: Kind) -> Result<Self, LockError> {
        let (cell, tag) = Self::at(attachment, address, kind)?;
        if tag.load(Ordering::Acquire) == kind as u64 {
            Ok(cell)
        } else {
            Err(LockError::NoSuchObject { expected: kind.word(), address })
        }
    }

    /// Ends a cell, so that its memory can be something else.
    pub(crate) fn destroy(attachment: &Attachment, address: usize, kind: Kind) -> Result<(), LockError> {
        Cell::of(attachment, address, kind)?;
        if let Some(tag) = attachment.memory().word(address + 8) {
            tag.store(0, Ordering::Release);
        }
        Ok(())
    }

    #[inline]
    fn at(
        attachment: &'a Attachment,
        address: usize,
        kind: Kind,
    ) -> Result<(Self, &'a AtomicU64), LockError> {
        let memory = attachment.memory();
        let none = || LockError::NoSuchObject { expected: kind.word(), address };
        if !address.is_multiple_of(LOCK_BYTES) {
            return Err(none());
        }
        // Aligned to 64, so that what holds one word holds the cell.
        let state = memory.word(address).ok_or_else(none)?;
        let tag = memory.word(address + 8).ok_or_else(none)?;
        let more = memory.word(address + 16).ok_or_else(none)?;
        Ok((Self { attachment, address, state, more }, tag))
    }
}
