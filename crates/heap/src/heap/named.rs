//! Roots: names for places of a heap.

use std::ptr::NonNull;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::Heap;
use super::objects::{check_alignment, pointer};
use crate::allocator::{Allocator, Refused};
use crate::error::RootError;
use crate::layout::WORD_ROOTS_CHANGED;
use crate::roots::{self, Root, TypeOf};
use crate::sync::TICK;
use crate::sys::futex::{self, Half};

enum Made {
    New(usize),
    Found(Root),
}

impl Heap {
    /// Gives a place of the heap a name, in place of what had it.
    ///
    /// # Errors
    /// See [`RootError`].
    pub fn set_root(
        &self,
        name: &str,
        place: NonNull<u8>,
        bytes: usize,
        kind: &TypeOf,
    ) -> Result<(), RootError> {
        let address = place.as_ptr().addr();
        if !roots::is_name(name) {
            return Err(RootError::BadName(name.to_owned()));
        }
        if !self.attachment.memory().holds(address, bytes.max(1)) {
            return Err(RootError::Outside(address));
        }
        let offset = address - self.address();
        let root = Root { name: name.to_owned(), offset, bytes, kind: kind.clone() };
        match self.change(|change, _, _| Ok(roots::set(change, &root)?)) {
            Ok(true) => {
                self.say_that_roots_changed();
                Ok(())
            }
            Ok(false) => Err(RootError::TooMany),
            Err(refused) => Err(root_error(refused)),
        }
    }

    /// The place with this name.
    ///
    /// # Errors
    /// The heap's lock, or damage.
    pub fn root(&self, name: &str) -> Result<Option<Root>, RootError> {
        if !roots::is_name(name) {
            return Err(RootError::BadName(name.to_owned()));
        }
        let found = self.change(|change, allocator, _| Ok(roots::find(change, allocator.geometry, name)?));
        found.map_err(root_error)
    }

    /// The place with this name, which another process may still have to make.
    ///
    /// # Errors
    /// [`RootError::Missing`] after `timeout`.
    pub fn wait_for_root(&self, name: &str, timeout: Duration) -> Result<Root, RootError> {
        let began = Instant::now();
        let changed = &self.attachment.memory().metadata()[WORD_ROOTS_CHANGED];
        loop {
            let seen = changed.load(Ordering::SeqCst);
            if let Some(root) = self.root(name)? {
                return Ok(root);
            }
            let left = timeout.saturating_sub(began.elapsed());
            if left.is_zero() {
                return Err(RootError::Missing { name: name.to_owned(), waited: timeout });
            }
            futex::wait(changed, Half::Low, seen, left.min(TICK));
        }
    }

    /// The object with this name, or a new one of zeroes; made once for all processes.
    ///
    /// # Errors
    /// [`RootError::WrongType`] if the name has something else; no room.
    pub fn root_or_new(
        &self,
        name: &str,
        kind: &TypeOf,
        bytes: usize,
        align: usize,
    ) -> Result<NonNull<u8>, RootError> {
        let address = self.root_or_make(name, kind, bytes, align, |_| {})?;
        Ok(pointer(address))
    }

    /// Takes a name away, not what it names. `false` if there is none.
    ///
    /// # Errors
    /// The heap's lock, or damage.
    pub fn remove_root(&self, name: &str) -> Result<bool, RootError> {
        let removed = self.change(|change, _, _| Ok(roots::remove(change, name)?));
        removed.map_err(root_error)
    }

    /// All named places.
    ///
    /// # Errors
    /// The heap's lock, or damage.
    pub fn roots(&self) -> Result<Vec<Root>, RootError> {
        let found = self.change(|change, allocator, _| Ok(roots::list(change, allocator.geometry)?));
        found.map_err(root_error)
    }

    /// What has this name, or a new object of zeroes that `make` has made something of, and that gets it.
    /// `make` is called with the heap's lock, once for all processes, and may not wait.
    pub(crate) fn root_or_make(
        &self,
        name: &str,
        kind: &TypeOf,
        bytes: usize,
        align: usize,
        make: impl Fn(usize),
    ) -> Result<usize, RootError> {
        if !roots::is_name(name) {
            return Err(RootError::BadName(name.to_owned()));
        }
        check_alignment(align)?;
        let attempt = || {
            let known =
                self.change(|change, allocator, _| Ok(roots::find(change, allocator.geometry, name)?))?;
            if let Some(root) = known {
                return Ok(Made::Found(root));
            }
            let large = if Allocator::is_small(bytes, align) { None } else { Some(self.begin_large(bytes)?) };
            let made = self.change(|change, allocator, _| {
                if let Some(root) = roots::find(change, allocator.geometry, name)? {
                    return Ok(Made::Found(root));
                }
                let object = match large {
                    Some(object) => {
                        allocator.finish_large(change, object)?;
                        object
                    }
                    None => allocator.small(change, bytes, align)?,
                };
                let address = self.data() + object.offset;
                if large.is_none() {
                    // Memory of a large object is fresh.
                    self.clear(object);
                }
                make(address);
                let offset = address - self.address();
                let root = Root { name: name.to_owned(), offset, bytes, kind: kind.clone() };
                if roots::set(change, &root)? { Ok(Made::New(address)) } else { Err(Refused::TooManyRoots) }
            });
            match (&made, large) {
                (Ok(Made::New(_)), _) | (_, None) => {}
                (_, Some(object)) => self.give_back(object)?,
            }
            made
        };
        let made = self.with_room(attempt).map_err(|refused| match refused {
            Refused::TooManyRoots => RootError::TooMany,
            refused => self.allocate_error(refused, bytes).into(),
        });
        match made? {
            Made::New(address) => {
                self.say_that_roots_changed();
                Ok(address)
            }
            Made::Found(root) => self.checked(&root, kind, bytes),
        }
    }

    fn checked(&self, root: &Root, kind: &TypeOf, bytes: usize) -> Result<usize, RootError> {
        let address = self.address().wrapping_add(root.offset);
        let say = |kind: &TypeOf, bytes: usize| format!("{} of {bytes} bytes", kind.name);
        if root.kind.hash != kind.hash
            || root.bytes != bytes
            || !self.attachment.memory().holds(address, bytes)
        {
            return Err(RootError::WrongType {
                name: root.name.clone(),
                wanted: say(kind, bytes),
                has: say(&root.kind, root.bytes),
            });
        }
        Ok(address)
    }

    fn say_that_roots_changed(&self) {
        let changed = &self.attachment.memory().metadata()[WORD_ROOTS_CHANGED];
        changed.fetch_add(1, Ordering::SeqCst);
        futex::wake(changed, Half::Low, futex::ALL);
    }
}

fn root_error(refused: Refused) -> RootError {
    match refused {
        Refused::Lock(error) => error.into(),
        Refused::Damaged(damaged) => damaged.into(),
        _ => RootError::TooMany,
    }
}
