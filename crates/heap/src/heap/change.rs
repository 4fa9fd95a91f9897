//! One change of a heap's own part: under its lock, whole or not at all.

use std::io;
use std::time::Duration;

use rustix::fs::FallocateFlags;

use super::Heap;
use crate::allocator::{Allocator, Backing, Change, Object, Refused};
use crate::attachment::Attachment;
use crate::identity::Participant;
use crate::layout::{Room, WORD_LOCK};
use crate::sync::error::Acquired;
use crate::sync::word::{LockWord, Wake};

/// For how long the heap's own lock is waited for: its holders have it for microseconds, unless stopped.
const LOCK_PATIENCE: Duration = Duration::from_secs(30);

impl Heap {
    /// Changes metadata under the heap's lock: all of it if `what` gives `Ok`, else nothing.
    pub(super) fn change<T>(
        &self,
        what: impl FnOnce(&mut Change<'_>, &Allocator<'_>, Participant) -> Result<T, Refused>,
    ) -> Result<T, Refused> {
        let metadata = self.attachment.memory().metadata();
        let process = self.attachment.this_holder()?.process();
        let address = self.address() + WORD_LOCK * 8;
        let lock = LockWord { attachment: &self.attachment, word: &metadata[WORD_LOCK], address };
        let acquired = lock.lock(Some(LOCK_PATIENCE))?;
        // Before the change, so that what fails is undone before the lock is released.
        let _unlocks = Unlocks(lock);
        // Takes back what a holder that died has left.
        let mut change = Change::begin(metadata);
        if acquired == Acquired::OwnerDied {
            lock.make_consistent()?;
        }
        let backing = FileBacking(&self.attachment);
        let allocator = Allocator { geometry: self.attachment.header().geometry, backing: &backing };
        let value = what(&mut change, &allocator, process)?;
        change.commit();
        Ok(value)
    }
}

/// Gives the heap's lock up, also when a change ends early.
struct Unlocks<'a>(LockWord<'a>);

impl Drop for Unlocks<'_> {
    fn drop(&mut self) {
        // This thread has it.
        let _unlocked = self.0.unlock(Wake::One);
    }
}

/// Memory of the machine for a heap's file.
pub(super) struct FileBacking<'a>(pub(super) &'a Attachment);

impl FileBacking<'_> {
    fn call(&self, flags: FallocateFlags, offset: usize, bytes: usize) -> io::Result<()> {
        loop {
            match rustix::fs::fallocate(self.0.file(), flags, offset as u64, bytes as u64) {
                Err(rustix::io::Errno::INTR) => {}
                result => return result.map_err(Into::into),
            }
        }
    }

    fn place(&self, object: Object) -> usize {
        self.0.header().geometry.metadata_bytes() + object.offset
    }
}

impl Backing for FileBacking<'_> {
    fn reserve_metadata(&self, offset: usize, bytes: usize) -> io::Result<()> {
        self.call(FallocateFlags::KEEP_SIZE, offset, bytes)
    }

    fn reserve(&self, object: Object) -> io::Result<()> {
        match self.0.header().room {
            Room::OnTouch => Ok(()),
            Room::Reserved => self.call(FallocateFlags::KEEP_SIZE, self.place(object), object.bytes),
        }
    }

    fn discard(&self, object: Object) -> io::Result<()> {
        let flags = FallocateFlags::KEEP_SIZE | FallocateFlags::PUNCH_HOLE;
        self.call(flags, self.place(object), object.bytes)
    }
}
