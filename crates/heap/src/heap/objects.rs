//! Allocating and freeing.
//!
//! A small object is one change under the heap's lock; memory for a large one is taken and given back between
//! two, so that others do not wait for it.

use std::ptr::NonNull;
use std::sync::atomic::Ordering;

use super::Heap;
use super::change::FileBacking;
use crate::allocator::{Allocator, Backing, Object, Refused};
use crate::death::point;
use crate::error::{AllocateError, FreeError};
use crate::layout::{GRANULE, WORD_USED};
use crate::sys::copies;

static ZEROES: [u8; 4096] = [0; 4096];

impl Heap {
    /// Memory for an object, not set to anything: what was freed there may be there still. It is at the same
    /// address in every process, and stays until it is freed, whatever becomes of this process.
    ///
    /// # Errors
    /// See [`AllocateError`].
    pub fn allocate(&self, bytes: usize, align: usize) -> Result<NonNull<u8>, AllocateError> {
        let object = self.allocate_object(bytes, align)?;
        Ok(pointer(self.data() + object.offset))
    }

    fn allocate_object(&self, bytes: usize, align: usize) -> Result<Object, AllocateError> {
        check_alignment(align)?;
        let attempt = || {
            if Allocator::is_small(bytes, align) {
                return self.change(|change, allocator, _| allocator.small(change, bytes, align));
            }
            let object = self.begin_large(bytes)?;
            self.change(|change, allocator, _| allocator.finish_large(change, object))?;
            Ok(object)
        };
        self.with_room(attempt).map_err(|refused| self.allocate_error(refused, bytes))
    }

    /// Granules with memory, which are nobody's object yet.
    pub(super) fn begin_large(&self, bytes: usize) -> Result<Object, Refused> {
        let object =
            self.change(|change, allocator, process| allocator.begin_large(change, bytes, process))?;
        point("object.pending");
        if let Err(error) = FileBacking(&self.attachment).reserve(object) {
            self.give_back(object)?;
            return Err(Refused::NoMemory(error));
        }
        Ok(object)
    }

    /// Ends granules that are pending for this process.
    pub(super) fn give_back(&self, object: Object) -> Result<(), Refused> {
        if FileBacking(&self.attachment).discard(object).is_err() {
            // The machine does not take its memory back: the next object there has it, and finds zeroes.
            self.clear(object);
        }
        point("object.discarded");
        self.change(|change, allocator, _| allocator.finish_free(change, object.offset))
    }

    /// Writes zeroes over an object, whose bytes are a multiple of 8.
    pub(super) fn clear(&self, object: Object) {
        for offset in (0..object.bytes).step_by(ZEROES.len()) {
            let bytes = ZEROES.len().min(object.bytes - offset);
            let address = self.data() + object.offset + offset;
            copies::store(self.attachment.memory(), address, &ZEROES[..bytes], 8);
        }
    }

    /// Tries, and once more after what dead processes were working on is free.
    pub(super) fn with_room<T>(&self, attempt: impl Fn() -> Result<T, Refused>) -> Result<T, Refused> {
        match attempt() {
            Err(Refused::NoRoom | Refused::NoMemory(_)) if self.reclaim()? => attempt(),
            result => result,
        }
    }

    pub(super) fn allocate_error(&self, refused: Refused, bytes: usize) -> AllocateError {
        match refused {
            Refused::Lock(error) => error.into(),
            Refused::Damaged(damaged) => damaged.into(),
            Refused::NoMemory(source) => {
                AllocateError::NoMemory { heap: self.attachment.name().to_owned(), bytes, source }
            }
            Refused::NoRoom | Refused::NoObject | Refused::TooManyRoots => self.no_room(bytes),
        }
    }

    fn no_room(&self, bytes: usize) -> AllocateError {
        let mut roots = self.roots().unwrap_or_default();
        roots.sort_by_key(|root| std::cmp::Reverse(root.bytes));
        let largest = roots.into_iter().take(3).map(|root| (root.name, root.bytes as u64)).collect();
        AllocateError::NoRoom {
            heap: self.attachment.name().to_owned(),
            bytes,
            used: self.attachment.memory().metadata()[WORD_USED].load(Ordering::Relaxed),
            size: self.attachment.header().geometry.data_bytes() as u64,
            largest,
        }
    }

    /// Frees what dead processes had begun to allocate or to free; whether there was any.
    fn reclaim(&self) -> Result<bool, Refused> {
        let participants = self.attachment.participants();
        let mut has_found = false;
        loop {
            let found = self.change(|change, allocator, process| {
                let found = allocator.next_abandoned(change, |other| participants.is_alive(other))?;
                if let Some(object) = found {
                    // Now it is this process's, and no other frees it.
                    allocator.adopt(change, object, process)?;
                }
                Ok(found)
            })?;
            let Some(object) = found else { return Ok(has_found) };
            self.give_back(object)?;
            has_found = true;
        }
    }

    /// Frees an object.
    ///
    /// # Errors
    /// [`FreeError::NoObject`] for an address that is none, which also finds most double frees.
    ///
    /// # Safety
    /// No process uses the object from now on.
    #[expect(unsafe_code, reason = "others may use what is freed")]
    pub unsafe fn free(&self, object: NonNull<u8>) -> Result<(), FreeError> {
        self.free_object(object.as_ptr().addr())
    }

    pub(crate) fn free_object(&self, address: usize) -> Result<(), FreeError> {
        let offset = self.offset_of(address)?;
        let freed = self.change(|change, allocator, process| allocator.free(change, offset, process));
        let emptied = freed.map_err(|failed| self.free_error(failed, address))?;
        match emptied {
            Some(object) => self.give_back(object).map_err(|failed| self.free_error(failed, address)),
            None => Ok(()),
        }
    }

    /// Bytes that an object may use.
    ///
    /// # Errors
    /// [`FreeError::NoObject`].
    pub fn usable_size(&self, object: NonNull<u8>) -> Result<usize, FreeError> {
        let address = object.as_ptr().addr();
        let offset = self.offset_of(address)?;
        let found = self.change(|change, allocator, _| allocator.object(change, offset));
        found.map(|object| object.bytes).map_err(|failed| self.free_error(failed, address))
    }

    fn offset_of(&self, address: usize) -> Result<usize, FreeError> {
        let heap = self.attachment.name();
        let is_inside = self.attachment.memory().holds(address, 1);
        let none = || FreeError::NoObject { heap: heap.to_owned(), address };
        is_inside.then(|| address - self.data()).ok_or_else(none)
    }

    fn free_error(&self, refused: Refused, address: usize) -> FreeError {
        match refused {
            Refused::Lock(error) => error.into(),
            Refused::Damaged(damaged) => damaged.into(),
            _ => FreeError::NoObject { heap: self.attachment.name().to_owned(), address },
        }
    }

    pub(super) fn data(&self) -> usize {
        self.attachment.memory().data().0
    }
}

pub(super) fn check_alignment(align: usize) -> Result<(), AllocateError> {
    let is_possible = align.is_power_of_two() && align <= GRANULE;
    if is_possible { Ok(()) } else { Err(AllocateError::BadAlignment(align)) }
}

pub(super) fn pointer(address: usize) -> NonNull<u8> {
    let pointer = std::ptr::with_exposed_provenance_mut(address);
    // The heap begins far above 0.
    NonNull::new(pointer).unwrap_or(NonNull::dangling())
}
