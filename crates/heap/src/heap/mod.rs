//! A heap as a program sees it.
//!
//! `opening` makes and attaches, `objects` allocates and frees, `named` has the roots; each change of the
//! heap's own part goes through `change`.

mod change;
mod named;
mod objects;
mod opening;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::attachment::Attachment;
use crate::error::RootError;
use crate::layout::{Model, WORD_DEATHS, WORD_USED};
use crate::options::Lease;
use crate::participants::ParticipantInfo;
use crate::roots::Root;
use crate::sync::waits::{self, WaitInfo};
use crate::sys::copies;

/// A heap that this process is attached to. Copies of this value are the same attachment, which ends with the
/// last of them and of what was got through them.
#[derive(Clone, Debug)]
pub struct Heap {
    pub(crate) attachment: Arc<Attachment>,
}

/// What a heap is and what is in it.
#[derive(Clone, Debug)]
pub struct HeapInfo {
    /// Its name.
    pub name: String,
    /// Its first address, in every process.
    pub address: u64,
    /// Bytes for objects.
    pub size: u64,
    /// Bytes of objects.
    pub used: u64,
    /// What writes mean to others.
    pub model: Model,
    /// When it ends by itself.
    pub lease: Lease,
    /// Processes that ended without closing it, as far as others have noticed.
    pub deaths: u64,
    /// Who is attached.
    pub participants: Vec<ParticipantInfo>,
    /// What has a name.
    pub roots: Vec<Root>,
    /// Threads that have waited for a lock for longer than a moment.
    pub waits: Vec<WaitInfo>,
}

impl Heap {
    /// Its first address, in every process. What lies there first is the heap's own.
    #[must_use]
    pub fn address(&self) -> usize {
        self.attachment.memory().base()
    }

    /// What the raw locks of [`sync`](crate::sync) are made with.
    #[must_use]
    pub fn attachment(&self) -> &Attachment {
        &self.attachment
    }

    /// Copies what is at `offset` from the start of the heap, as it is at the moment; `false` if that is not
    /// all in the users' part.
    #[must_use = "nothing is read outside of the users' part"]
    pub fn read(&self, offset: usize, to: &mut [u8]) -> bool {
        copies::load(self.attachment.memory(), self.address().saturating_add(offset), to, 1)
    }

    /// What it is, and what is in it.
    ///
    /// # Errors
    /// The heap's lock, or damage.
    pub fn info(&self) -> Result<HeapInfo, RootError> {
        let header = self.attachment.header();
        let metadata = self.attachment.memory().metadata();
        Ok(HeapInfo {
            name: self.attachment.name().to_owned(),
            address: header.base,
            size: header.geometry.data_bytes() as u64,
            used: metadata[WORD_USED].load(Ordering::Relaxed),
            model: header.model,
            lease: match header.lease_ns {
                u64::MAX => Lease::UntilUnlinked,
                lease => Lease::Unused(Duration::from_nanos(lease)),
            },
            deaths: metadata[WORD_DEATHS].load(Ordering::Relaxed),
            participants: self.attachment.participants().list(),
            roots: self.roots()?,
            waits: waits::list(&self.attachment),
        })
    }
}
