//! A growing array under a root.

use std::alloc::Layout;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};

use super::{Access, CollectionError, Head, Kinds, Persist, View};
use crate::arena::{AllocateError, Arena};
use crate::disk::{Disk, FileDisk};

/// A vector in an arena. Everything that a slice can do, it can.
pub struct AVec<'a, T: Persist, D: Disk = FileDisk> {
    view: View<'a, D>,
    kind: PhantomData<T>,
}

impl<'a, T: Persist, D: Disk> AVec<'a, T, D> {
    pub(super) fn kinds() -> Kinds {
        Kinds::with_name(format!("AVec<{}>", T::description()), &format!("AVec<{}>", T::type_name()))
    }

    pub(super) fn open(arena: Access<'a, D>, name: &str) -> Result<Self, CollectionError> {
        Self::open_as(arena, name, &Self::kinds())
    }

    pub(super) fn open_as(arena: Access<'a, D>, name: &str, kinds: &Kinds) -> Result<Self, CollectionError> {
        let view = View::open(arena, name, kinds, Layout::new::<Head>(), |_| {})?;
        Ok(Self { view, kind: PhantomData })
    }

    pub(super) fn look_up(arena: &'a Arena<D>, name: &str) -> Result<Option<Self>, CollectionError> {
        Self::look_up_as(arena, name, &Self::kinds())
    }

    pub(super) fn look_up_as(
        arena: &'a Arena<D>,
        name: &str,
        kinds: &Kinds,
    ) -> Result<Option<Self>, CollectionError> {
        let view = View::look_up(arena, name, kinds, Layout::new::<Head>())?;
        Ok(view.map(|view| Self { view, kind: PhantomData }))
    }

    /// Items that there is room for.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.view.head().capacity as usize
    }

    /// Makes room for this many more items.
    ///
    /// # Errors
    /// [`AllocateError`] if the arena is full; the vector is then as it was.
    pub fn reserve(&mut self, more: usize) -> Result<(), AllocateError> {
        let error = AllocateError::Full { size: usize::MAX, alignment: align_of::<T>() };
        let needed = self.len().checked_add(more).ok_or(error)?;
        if needed > self.capacity() {
            let doubled = self.capacity().saturating_mul(2).max(4);
            self.view.resize::<T>(needed.max(doubled))?;
        }
        Ok(())
    }

    /// Puts an item at the end.
    ///
    /// # Errors
    /// [`AllocateError`] if the arena is full.
    pub fn push(&mut self, item: T) -> Result<(), AllocateError> {
        self.extend_from_slice(&[item])
    }

    /// Puts items at the end.
    ///
    /// # Errors
    /// [`AllocateError`] if the arena is full; the vector is then as it was.
    pub fn extend_from_slice(&mut self, items: &[T]) -> Result<(), AllocateError> {
        self.reserve(items.len())?;
        let length = self.len();
        // SAFETY: there is room for the items behind the last one, and the slice is not in it: this vector is
        // borrowed exclusively.
        unsafe {
            let end = self.view.data::<T>().add(length);
            end.copy_from_nonoverlapping(std::ptr::NonNull::from(items).cast(), items.len());
        }
        self.view.head_mut().length += items.len() as u64;
        Ok(())
    }

    /// Takes the last item.
    pub fn pop(&mut self) -> Option<T> {
        let last = *self.last()?;
        self.view.head_mut().length -= 1;
        Some(last)
    }

    /// Puts an item before the one at `at`, which with all behind it moves up.
    ///
    /// # Errors
    /// [`AllocateError`] if the arena is full.
    ///
    /// # Panics
    /// If `at` is behind the end.
    pub fn insert(&mut self, at: usize, item: T) -> Result<(), AllocateError> {
        assert!(at <= self.len(), "the place {at} is behind the end, {}", self.len());
        self.push(item)?;
        self[at..].rotate_right(1);
        Ok(())
    }

    /// Takes the item at `at`; all behind it move down.
    ///
    /// # Panics
    /// If there is none.
    pub fn remove(&mut self, at: usize) -> T {
        let item = self[at];
        self[at..].rotate_left(1);
        self.view.head_mut().length -= 1;
        item
    }

    /// Keeps at most this many items.
    pub fn truncate(&mut self, length: usize) {
        let kept = self.len().min(length);
        self.view.head_mut().length = kept as u64;
    }

    /// Removes all items. Their room stays.
    pub fn clear(&mut self) {
        self.truncate(0);
    }

    /// Frees the vector and removes its root.
    pub fn delete(self) {
        self.view.delete::<T>();
    }
}

impl<T: Persist, D: Disk> Deref for AVec<'_, T, D> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        // SAFETY: that many items were written there, and the arena is borrowed.
        unsafe { std::slice::from_raw_parts(self.view.data().as_ptr(), self.view.head().length as usize) }
    }
}

impl<T: Persist, D: Disk> DerefMut for AVec<'_, T, D> {
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as above, and the borrow is exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.view.data().as_ptr(), self.view.head().length as usize) }
    }
}
