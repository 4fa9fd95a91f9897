//! A process's tie to one heap: the mapping, the open file, and the place in the table of participants.
//!
//! A process has one attachment to a heap, however many handles. A copy of the process (fork(3)) keeps the
//! mapping and takes a place of its own before fork returns in it, so that locks know the two apart.
//!
//! Not for what lies in the heap: `allocator`, `roots` and `sync` say that.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Weak};

use crate::death::point;
use crate::identity::{Holder, Participant, this_thread};
use crate::layout::{BARRIER_BROKEN, BARRIER_TAG, Header, WORD_UNUSED_SINCE};
use crate::options::Interest;
use crate::participants::{self, Participants};
use crate::sync::error::LockError;
use crate::sync::holds::Holds;
use crate::sys::clock::now_ns;
use crate::sys::{forks, memory::Memory, registry};

/// See the module.
#[derive(Debug)]
pub struct Attachment {
    name: String,
    interest: Interest,
    header: Header,
    memory: Memory,
    file: OwnedFd,
    file_identity: (u64, u64),
    /// This process's place; 0 in a copy that could take none.
    own: AtomicU32,
    /// Whether it is in the registry, which takes it out of there on drop.
    is_listed: AtomicBool,
    this: Weak<Attachment>,
}

/// Why a process cannot be attached to a file that is a heap.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AttachError {
    #[error("the memory from {0:#x} is used by something else in this process")]
    AddressTaken(u64),
    #[error("1,024 processes are attached already")]
    NoPlace,
    #[error("this process is attached to 64 heaps already")]
    TooManyHeaps,
    #[error("the system refused: {0}")]
    System(#[from] io::Error),
}

impl Attachment {
    /// Maps the heap in `file` and takes a place in it. The caller has the registry, and knows that this
    /// process is not attached to the file yet.
    pub(crate) fn make(
        locked: &registry::Locked,
        name: &str,
        file: OwnedFd,
        file_identity: (u64, u64),
        header: Header,
        interest: Interest,
    ) -> Result<Arc<Self>, AttachError> {
        let geometry = header.geometry;
        let memory =
            Memory::map(&file, header.base as usize, geometry.file_bytes(), geometry.metadata_bytes());
        let memory = memory.map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => AttachError::AddressTaken(header.base),
            _ => error.into(),
        })?;
        let attachment = Arc::new_cyclic(|this| Self {
            name: name.to_owned(),
            interest,
            header,
            memory,
            file,
            file_identity,
            own: AtomicU32::new(0),
            is_listed: AtomicBool::new(false),
            this: this.clone(),
        });
        if !attachment.take_place()? {
            return Err(AttachError::NoPlace);
        }
        if !locked.add(&attachment)? {
            return Err(AttachError::TooManyHeaps);
        }
        attachment.is_listed.store(true, Ordering::Release);
        if interest == Interest::User {
            attachment.memory.metadata()[WORD_UNUSED_SINCE].store(0, Ordering::SeqCst);
        }
        Ok(attachment)
    }

    /// Takes a place, and takes out of the tables what the dead have left there. Allocates nothing.
    fn take_place(&self) -> io::Result<bool> {
        self.own.store(0, Ordering::SeqCst);
        let Some(taken) = self.participants().take()? else { return Ok(false) };
        point("place.taken");
        // Before this process is anybody, so that nothing of its own is taken.
        self.holds().sweep(taken.process.place(), |address| {
            if taken.after_death {
                self.break_barrier(address);
            }
            true
        });
        self.own.store(taken.process.0, Ordering::SeqCst);
        Ok(true)
    }

    /// A process that held something at `address` died, and its hold is gone: if that was a barrier, it is
    /// broken. Those who wait there see it with their next tick.
    fn break_barrier(&self, address: usize) {
        if self.is_barrier(address)
            && let Some(more) = self.memory.word(address + 16)
        {
            more.fetch_or(BARRIER_BROKEN, Ordering::SeqCst);
        }
    }

    fn is_barrier(&self, address: usize) -> bool {
        self.memory.word(address + 8).is_some_and(|tag| tag.load(Ordering::Acquire) == BARRIER_TAG)
    }

    /// The process ends in order, with the heap open: it does not come to barriers any more, and breaks none.
    /// Locks stay its own, since other threads go on until it is gone.
    pub(crate) fn is_exiting(&self) {
        if let Some(own) = self.participants().own {
            self.holds().sweep(own.place(), |address| self.is_barrier(address));
        }
    }

    /// In a copy of the process: a description of its own, and a place.
    pub(crate) fn is_copied(&self) {
        self.own.store(0, Ordering::SeqCst);
        // Whatever fails, the copy is then not attached, and its locks say so.
        if forks::reopen(self.file.as_fd()).is_ok() {
            let _taken = self.take_place();
        }
    }

    /// Another handle; `None` if the last one is just being dropped.
    pub(crate) fn handle(&self) -> Option<Arc<Self>> {
        self.this.upgrade()
    }

    /// Device and number of the file.
    pub(crate) fn file_identity(&self) -> (u64, u64) {
        self.file_identity
    }

    /// Whether the file still has a name: without, nobody finds the heap any more.
    pub(crate) fn has_name(&self) -> io::Result<bool> {
        Ok(rustix::fs::fstat(&self.file)?.st_nlink > 0)
    }

    /// The heap's name, as this process opened it.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn header(&self) -> Header {
        self.header
    }

    pub(crate) fn file(&self) -> &OwnedFd {
        &self.file
    }

    #[inline]
    pub(crate) fn memory(&self) -> &Memory {
        &self.memory
    }

    pub(crate) fn participants(&self) -> Participants<'_> {
        let own = self.own.load(Ordering::SeqCst);
        let own = (own != 0).then_some(Participant(own));
        Participants { metadata: self.memory.metadata(), file: self.file.as_fd(), own }
    }

    pub(crate) fn holds(&self) -> Holds<'_> {
        Holds { metadata: self.memory.metadata(), base: self.memory.base() }
    }

    /// How many holds on the lock at `address` the living have, and how many the dead had, which are gone
    /// now.
    pub(crate) fn count_holds(&self, address: usize) -> (usize, usize) {
        let participants = self.participants();
        self.holds().count(address, |place, kept| {
            let now = participants.at_place(place);
            now.is_some_and(|process| Holds::is_taking(process, kept) && participants.is_alive(process))
        })
    }

    /// The calling thread, as locks name it.
    #[inline]
    pub(crate) fn this_holder(&self) -> Result<Holder, LockError> {
        match self.own.load(Ordering::Relaxed) {
            0 => Err(LockError::NotAttached),
            own => Ok(Holder::new(Participant(own), this_thread())),
        }
    }

    /// Whether the process of a holder is attached still.
    pub(crate) fn is_alive(&self, holder: Holder) -> bool {
        self.participants().is_alive(holder.process())
    }
}

impl Drop for Attachment {
    fn drop(&mut self) {
        // What was never listed is dropped by its maker, who has the lock.
        let locked = self.is_listed.load(Ordering::Acquire).then(registry::lock);
        if let Some(locked) = &locked {
            locked.remove(self);
        }
        if let Some(own) = self.participants().own {
            // Readers' holds and places at barriers: the process goes in order, so nothing is broken.
            self.holds().sweep(own.place(), |_| true);
            self.participants().leave();
            if self.interest == Interest::User
                && participants::any(self.file.as_fd()).is_ok_and(|others| !others)
            {
                self.memory.metadata()[WORD_UNUSED_SINCE].store(now_ns(), Ordering::SeqCst);
            }
        }
        // Before the registry is let go: a thread that opens the heap then maps it at the same address.
        self.memory.unmap();
    }
}
