//! Where in a heap an object goes, for all processes that use it.
//!
//! The users' part is cut into granules of 64 KiB, each with a descriptor. A small object (up to 8 KiB)
//! lies in a *span*, a granule of one size class, which has a bit for each; a larger one takes a run of
//! granules. All of that is metadata (`layout`), none lies among the objects, and all of it is changed
//! under one lock, through a log (`change`): a process that dies in the middle of a change leaves a log,
//! and the next holder of the lock takes the change back.
//!
//! Memory of the machine is taken and given back outside of the lock where there is much of it: the run
//! is then *pending*, in the name of the process that works on it; if that dies, [`Allocator::reclaim`]
//! frees the run.
//!
//! An address that was never given out, or was freed, is refused: descriptors and bits tell. What a process
//! had when it died stays allocated, as after `bn_free` was forgotten: nobody can know who else uses it.

mod change;
mod classes;
mod runs;
mod spans;

use std::io;

use crate::identity::Participant;
use crate::layout::{GRANULE, Geometry, PAGE, WORD_USED};
use crate::sync::error::LockError;

pub(crate) use change::Change;
pub use change::Damaged;
use runs::Run;

/// The machine's memory behind a heap's file.
pub(crate) trait Backing {
    /// Has the file own memory for some bytes of the metadata, from its start.
    fn reserve_metadata(&self, offset: usize, bytes: usize) -> io::Result<()>;
    /// Has it own memory for a part of the users' part, unless the heap takes it when it is touched.
    fn reserve(&self, object: Object) -> io::Result<()>;
    /// Gives memory of the users' part back; what is there reads as zero from then on.
    fn discard(&self, object: Object) -> io::Result<()>;
}

/// Why there is no object.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refused {
    /// The heap's addresses are used up.
    #[error("no room")]
    NoRoom,
    /// The machine has no memory for it.
    #[error("no memory: {0}")]
    NoMemory(io::Error),
    /// No object is at this address.
    #[error("no object")]
    NoObject,
    /// All places for names are used.
    #[error("too many roots")]
    TooManyRoots,
    /// The heap's lock.
    #[error(transparent)]
    Lock(#[from] LockError),
    #[error(transparent)]
    Damaged(#[from] Damaged),
}

/// An object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Object {
    /// From the start of the users' part.
    pub(crate) offset: usize,
    /// Usable bytes.
    pub(crate) bytes: usize,
}

/// The rules, over the metadata of one heap. Its methods are called with the heap's lock held; each is one
/// change, and the caller commits it.
#[derive(Clone, Copy)]
pub(crate) struct Allocator<'a> {
    pub(crate) geometry: Geometry,
    pub(crate) backing: &'a dyn Backing,
}

impl Allocator<'_> {
    /// Whether an object is small enough for one change.
    pub(crate) fn is_small(bytes: usize, align: usize) -> bool {
        classes::class_for(bytes, align).is_some()
    }

    /// A small object.
    pub(crate) fn small(
        &self,
        change: &mut Change<'_>,
        bytes: usize,
        align: usize,
    ) -> Result<Object, Refused> {
        let class = classes::class_for(bytes, align).ok_or(Refused::NoRoom)?;
        let object = spans::allocate(self, change, class)?;
        count(change, object.bytes as i64)?;
        Ok(object)
    }

    /// Takes granules for a large object, in the name of `process`, which sees to memory for them.
    pub(crate) fn begin_large(
        &self,
        change: &mut Change<'_>,
        bytes: usize,
        process: Participant,
    ) -> Result<Object, Refused> {
        let granules = bytes.max(1).div_ceil(GRANULE);
        let run = runs::take(self, change, granules)?;
        runs::set_pending(change, self.geometry, run, process)?;
        Ok(Object { offset: run.first * GRANULE, bytes: bytes.max(1).next_multiple_of(PAGE) })
    }

    /// Makes an object of what [`Allocator::begin_large`] gave.
    pub(crate) fn finish_large(&self, change: &mut Change<'_>, object: Object) -> Result<(), Refused> {
        let run = runs::pending_at(change, self.geometry, object.offset / GRANULE)?;
        runs::set_large(change, self.geometry, run, object.bytes)?;
        count(change, object.bytes as i64)
    }

    /// The object that begins at `offset`.
    pub(crate) fn object(&self, change: &Change<'_>, offset: usize) -> Result<Object, Refused> {
        if offset >= self.geometry.data_bytes() {
            return Err(Refused::NoObject);
        }
        match runs::large_at(change, self.geometry, offset / GRANULE)? {
            Some((_, bytes)) if offset.is_multiple_of(GRANULE) => Ok(Object { offset, bytes }),
            _ => spans::object(self, change, offset),
        }
    }

    /// Frees the object at `offset`. Granules that have nothing left are pending then and given back
    /// here: their memory is to be discarded, and [`Allocator::finish_free`] called.
    pub(crate) fn free(
        &self,
        change: &mut Change<'_>,
        offset: usize,
        process: Participant,
    ) -> Result<Option<Object>, Refused> {
        let object = self.object(change, offset)?;
        count(change, -(object.bytes as i64))?;
        match runs::large_at(change, self.geometry, offset / GRANULE)? {
            Some((run, _)) => {
                runs::set_pending(change, self.geometry, run, process)?;
                Ok(Some(object))
            }
            None => spans::free(self, change, offset, process),
        }
    }

    /// Ends what is pending without an object.
    pub(crate) fn finish_free(&self, change: &mut Change<'_>, offset: usize) -> Result<(), Refused> {
        let run = runs::pending_at(change, self.geometry, offset / GRANULE)?;
        runs::free(self, change, run)
    }

    /// The first run that is pending for a process that is dead.
    pub(crate) fn next_abandoned(
        &self,
        change: &Change<'_>,
        is_alive: impl Fn(Participant) -> bool,
    ) -> Result<Option<Object>, Refused> {
        let found = runs::next_pending(change, self.geometry, is_alive)?;
        Ok(found.map(|Run { first, length }| Object { offset: first * GRANULE, bytes: length * GRANULE }))
    }

    /// Has what is pending be pending for `process`.
    pub(crate) fn adopt(
        &self,
        change: &mut Change<'_>,
        object: Object,
        process: Participant,
    ) -> Result<(), Refused> {
        let run = runs::pending_at(change, self.geometry, object.offset / GRANULE)?;
        Ok(runs::set_pending(change, self.geometry, run, process)?)
    }
}

fn count(change: &mut Change<'_>, bytes: i64) -> Result<(), Refused> {
    let used = change.get(WORD_USED)?;
    Ok(change.set(WORD_USED, used.wrapping_add_signed(bytes))?)
}

#[cfg(test)]
mod tests;
