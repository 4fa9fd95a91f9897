//! One value under a root.

use std::alloc::Layout;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;

use super::{Access, CollectionError, Head, Kinds, Persist, View};
use crate::arena::Arena;
use crate::disk::{Disk, FileDisk};

#[repr(C)]
struct Boxed<T> {
    head: Head,
    value: T,
}

/// A value in an arena.
pub struct ABox<'a, T: Persist, D: Disk = FileDisk> {
    view: View<'a, D>,
    kind: PhantomData<T>,
}

impl<'a, T: Persist, D: Disk> ABox<'a, T, D> {
    pub(super) fn kinds() -> Kinds {
        Kinds::with_name(format!("ABox<{}>", T::description()), &format!("ABox<{}>", T::type_name()))
    }

    pub(super) fn look_up(arena: &'a Arena<D>, name: &str) -> Result<Option<Self>, CollectionError> {
        let view = View::look_up(arena, name, &Self::kinds(), Layout::new::<Boxed<T>>())?;
        Ok(view.map(|view| Self { view, kind: PhantomData }))
    }

    pub(super) fn open(
        arena: Access<'a, D>,
        name: &str,
        first: impl FnOnce() -> T,
    ) -> Result<Self, CollectionError> {
        let view = View::open(arena, name, &Self::kinds(), Layout::new::<Boxed<T>>(), |head| {
            // SAFETY: the object was just allocated with the layout of `Boxed`, which begins with the head.
            unsafe { (&raw mut (*head.cast::<Boxed<T>>().as_ptr()).value).write(first()) };
        })?;
        Ok(Self { view, kind: PhantomData })
    }

    /// Where the value lies behind the head.
    pub(super) fn value_offset() -> u64 {
        std::mem::offset_of!(Boxed<T>, value) as u64
    }

    fn place(&self) -> NonNull<Boxed<T>> {
        self.view.root.head.cast()
    }

    /// Frees the value and removes its root.
    pub fn delete(self) {
        self.view.delete::<T>();
    }
}

impl<T: Persist, D: Disk> Deref for ABox<'_, T, D> {
    type Target = T;
    fn deref(&self) -> &T {
        // SAFETY: the value was written when the head was made, and lives as long; the arena is borrowed.
        unsafe { &self.place().as_ref().value }
    }
}

impl<T: Persist, D: Disk> DerefMut for ABox<'_, T, D> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as above, and the borrow is exclusive.
        unsafe { &mut self.place().as_mut().value }
    }
}
