//! How a heap is opened.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::layout::{Model, Room};

/// When a heap ends by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Lease {
    /// Never: it lives until it is unlinked, or the machine starts anew.
    #[default]
    UntilUnlinked,
    /// When no process has been attached for this long. The next process that makes or lists heaps in the
    /// directory removes it.
    Unused(Duration),
}

/// What to do if the heap is there, or is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Existing {
    /// Attach if there is one, else make it.
    #[default]
    AttachOrCreate,
    /// Attach only.
    Attach,
    /// Make only.
    Create,
}

/// Whether opening a heap begins its lease anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) enum Interest {
    /// It does, and closing it too.
    #[default]
    User,
    /// It does not: who looks at heaps does not keep them.
    Observer,
}

/// Settings of [`Heap::open`](crate::Heap::open). What concerns a new heap alone is ignored for one that
/// exists; a size and a model that are given must be those that it has.
#[derive(Clone, Debug)]
pub struct Options {
    pub(crate) size: Option<u64>,
    pub(crate) model: Option<Model>,
    pub(crate) lease: Lease,
    pub(crate) existing: Existing,
    pub(crate) mode: u32,
    pub(crate) room: Room,
    pub(crate) directory: Option<PathBuf>,
    pub(crate) address: Option<u64>,
    pub(crate) interest: Interest,
}

/// Bytes of a heap for which no size is given. Memory is used for what is allocated only.
pub(crate) const DEFAULT_SIZE: u64 = 16 << 30;

impl Default for Options {
    fn default() -> Self {
        Self {
            size: None,
            model: None,
            lease: Lease::default(),
            existing: Existing::default(),
            mode: 0o600,
            room: Room::default(),
            directory: None,
            address: None,
            interest: Interest::default(),
        }
    }
}

impl Options {
    /// Attach, or make a heap of 16 GiB, sequential, for this user, that lives until it is unlinked.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Bytes for objects; of addresses, not of memory.
    #[must_use]
    pub fn size(mut self, bytes: u64) -> Self {
        self.size = Some(bytes);
        self
    }

    /// What writes mean to others.
    #[must_use]
    pub fn model(mut self, model: Model) -> Self {
        self.model = Some(model);
        self
    }

    /// When it ends by itself.
    #[must_use]
    pub fn lease(mut self, lease: Lease) -> Self {
        self.lease = lease;
        self
    }

    /// Whether it may or must exist.
    #[must_use]
    pub fn existing(mut self, existing: Existing) -> Self {
        self.existing = existing;
        self
    }

    /// Who may attach, as the mode of a file: 0o600 is this user, 0o660 its group too.
    #[must_use]
    pub fn mode(mut self, mode: u32) -> Self {
        self.mode = mode;
        self
    }

    /// When memory is taken from the machine.
    #[must_use]
    pub fn room(mut self, room: Room) -> Self {
        self.room = room;
        self
    }

    /// Where the heap's file is, in place of `$BANYAN_HEAPS` or the user's own directory in `/dev/shm`.
    /// Processes find each other's heaps only in the same directory.
    #[must_use]
    pub fn directory(mut self, path: &Path) -> Self {
        self.directory = Some(path.to_owned());
        self
    }

    /// Attach to look, which does not count as use where a lease is concerned.
    #[must_use]
    pub fn observe(mut self) -> Self {
        self.existing = Existing::Attach;
        self.interest = Interest::Observer;
        self
    }

    /// Where a new heap is mapped in every process, for tools that cannot use the usual range.
    #[must_use]
    pub fn address(mut self, address: u64) -> Self {
        self.address = Some(address);
        self
    }
}
