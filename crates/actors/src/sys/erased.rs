//! [`Erased`]: one value of any type, small ones held in place, with a table of what its owner knows about
//! the type.
//!
//! A `Box<dyn Any>` allocates for each value. Here three words lie beside the table's address, and what is
//! larger is boxed. The table is the owner's too: whatever it tells of a type (`about`) is found without a
//! second look-up.
//!
//! The interface is safe, since a value is only ever given out as the type that went in: a table can be made
//! for a type that may move between threads, and an [`Erased`] only from a value of its table's type.

use std::any::TypeId;
use std::marker::PhantomData;
use std::mem::{ManuallyDrop, MaybeUninit};

use crate::containment::drop_contained;

/// Words of a value that are held in place.
const PLACE_WORDS: usize = 3;
type Place = [MaybeUninit<u64>; PLACE_WORDS];

const fn is_boxed<T>() -> bool {
    size_of::<T>() > size_of::<Place>() || align_of::<T>() > align_of::<Place>()
}

/// What is known of a type: how to drop a value of it, and what its owner has to say.
#[derive(Debug)]
pub(crate) struct Table<V> {
    type_id: TypeId,
    boxed: bool,
    /// # Safety
    /// The pointer is to a live value of the table's type, which is dead afterwards; one in a box, if the
    /// table says so. `None`: nothing to do.
    drop: Option<unsafe fn(*mut ())>,
    /// Dropping a value runs code of the type's own, which may panic.
    has_drop: bool,
    type_name: fn() -> &'static str,
    about: V,
}

impl<V> Table<V> {
    /// The table of a type.
    #[must_use]
    pub(crate) const fn of<T: Send + 'static>(about: V) -> Self {
        let drop: Option<unsafe fn(*mut ())> = if is_boxed::<T>() {
            Some(drop_box::<T>)
        } else if std::mem::needs_drop::<T>() {
            Some(drop_in_place::<T>)
        } else {
            None
        };
        Self {
            type_id: TypeId::of::<T>(),
            boxed: is_boxed::<T>(),
            drop,
            has_drop: std::mem::needs_drop::<T>(),
            type_name: std::any::type_name::<T>,
            about,
        }
    }
}

/// # Safety
/// As [`Table::drop`]: a value in place.
unsafe fn drop_in_place<T>(value: *mut ()) {
    // SAFETY: as the caller promises.
    unsafe { std::ptr::drop_in_place(value.cast::<T>()) }
}

/// # Safety
/// As [`Table::drop`]: a value that `Box::into_raw` gave.
unsafe fn drop_box<T>(value: *mut ()) {
    // SAFETY: as the caller promises.
    drop(unsafe { Box::from_raw(value.cast::<T>()) });
}

/// A value of a type that only its table knows. It moves between threads, but two threads never see one at a
/// time, since its type need not allow that.
pub(crate) struct Erased<V: 'static> {
    table: &'static Table<V>,
    place: Place,
    /// Neither `Send` nor `Sync` by itself.
    value: PhantomData<*mut ()>,
}

// SAFETY: tables are made for `Send` types alone, and values are of their tables' types.
unsafe impl<V: Sync> Send for Erased<V> {}

impl<V> Erased<V> {
    /// Holds a value. Dropping it does not unwind, whatever the value does then.
    ///
    /// # Panics
    /// If the table is one of another type.
    #[inline]
    pub(crate) fn new<T: 'static>(value: T, table: &'static Table<V>) -> Self {
        assert!(table.type_id == TypeId::of::<T>(), "a value and its table are of one type");
        let mut place: Place = [MaybeUninit::uninit(); PLACE_WORDS];
        if is_boxed::<T>() {
            let pointer = Box::into_raw(Box::new(value));
            // SAFETY: a pointer fits into the first word.
            unsafe { place.as_mut_ptr().cast::<*mut T>().write(pointer) };
        } else {
            // SAFETY: the value fits, by `is_boxed`.
            unsafe { place.as_mut_ptr().cast::<T>().write(value) };
        }
        Self { table, place, value: PhantomData }
    }

    /// What its owner says of the value's type.
    #[inline]
    #[must_use]
    pub(crate) fn about(&self) -> &'static V {
        &self.table.about
    }

    /// Whether a value of a type would be held in place.
    #[must_use]
    pub(crate) const fn is_held_in_place<T>() -> bool {
        !is_boxed::<T>()
    }

    /// Whether the value takes no memory beside this: it is held in place and owns nothing.
    #[inline]
    #[must_use]
    pub(crate) fn is_all_in_place(&self) -> bool {
        self.table.drop.is_none()
    }

    /// The value's type, for people.
    #[must_use]
    pub(crate) fn type_name(&self) -> &'static str {
        (self.table.type_name)()
    }

    /// Whether the value is of this type.
    #[inline]
    #[must_use]
    pub(crate) fn is<T: 'static>(&self) -> bool {
        self.table.type_id == TypeId::of::<T>()
    }

    #[inline]
    fn pointer(&self) -> *const () {
        if self.table.boxed {
            // SAFETY: `new` wrote a pointer there.
            unsafe { self.place.as_ptr().cast::<*const ()>().read() }
        } else {
            self.place.as_ptr().cast()
        }
    }

    /// The value, if it is of this type.
    #[inline]
    #[must_use]
    pub(crate) fn get<T: 'static>(&self) -> Option<&T> {
        // SAFETY: the value is a `T`, and lives as long as this.
        self.is::<T>().then(|| unsafe { &*self.pointer().cast::<T>() })
    }

    /// The value, if it is of this type; else it is given back.
    ///
    /// # Errors
    /// The value is of another type.
    pub(crate) fn take<T: 'static>(self) -> Result<T, Self> {
        if !self.is::<T>() {
            return Err(self);
        }
        let this = ManuallyDrop::new(self);
        let value = this.pointer().cast::<T>();
        if is_boxed::<T>() {
            // SAFETY: the value is a `T` in a box, and this is not dropped.
            Ok(*unsafe { Box::from_raw(value.cast_mut()) })
        } else {
            // SAFETY: the value is a `T` in place, and this is not dropped.
            Ok(unsafe { value.read() })
        }
    }
}

impl<V> Drop for Erased<V> {
    #[inline]
    fn drop(&mut self) {
        let Some(drop) = self.table.drop else { return };
        let pointer = self.pointer().cast_mut();
        // SAFETY: the value is live, of the table's type and where the table says, and dead from here.
        let drop = || unsafe { drop(pointer) };
        if self.table.has_drop {
            drop_contained(drop, self.table.type_name);
        } else {
            drop();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::{Erased, Table};

    /// Not `Sync`: for a type that is, both blocks would give the function, and this would not compile.
    const _: fn() = || {
        trait IsSyncOr<Of> {
            fn is_not() {}
        }
        struct Sync_;
        impl<T> IsSyncOr<()> for T {}
        impl<T: Sync> IsSyncOr<Sync_> for T {}
        let _ = <Erased<()> as IsSyncOr<_>>::is_not;
    };

    /// A value that is as large as its numbers.
    struct Words<const COUNT: usize>([u64; COUNT], Arc<()>);

    #[repr(align(32))]
    #[derive(Debug, PartialEq)]
    struct Aligned(u8);

    fn held<T: Send + 'static>(
        value: T,
        table: &'static Table<&'static str>,
        boxed: bool,
    ) -> Erased<&'static str> {
        let held = Erased::new(value, table);
        assert_eq!(Erased::<()>::is_held_in_place::<T>(), !boxed, "{}", held.about());
        held
    }

    #[test]
    fn a_value_is_dropped_once_wherever_it_lies() {
        static SMALL: Table<&str> = Table::of::<Words<2>>("small");
        static LARGE: Table<&str> = Table::of::<Words<3>>("large");
        let count = Arc::new(());
        let both = || {
            [
                held(Words([1; 2], count.clone()), &SMALL, false),
                held(Words([1; 3], count.clone()), &LARGE, true),
            ]
        };
        drop(both());
        assert_eq!(Arc::strong_count(&count), 1);
        let [small, large] = both();
        let small = small.take::<Words<3>>().err().unwrap().take::<Words<2>>().ok().unwrap();
        let large = large.take::<Words<2>>().err().unwrap().take::<Words<3>>().ok().unwrap();
        assert_eq!(Arc::strong_count(&count), 3, "what was taken lives");
        drop((small.1, large.1));
        assert_eq!(Arc::strong_count(&count), 1);
    }

    #[test]
    fn a_value_is_seen_as_its_own_type_alone() {
        static ALIGNED: Table<&str> = Table::of::<Aligned>("aligned");
        static NOTHING: Table<&str> = Table::of::<()>("nothing");
        static FULL: Table<&str> = Table::of::<[u64; 3]>("full");
        let aligned = held(Aligned(7), &ALIGNED, true);
        assert_eq!((aligned.get::<Aligned>(), aligned.get::<u8>()), (Some(&Aligned(7)), None));
        assert!(std::ptr::from_ref(aligned.get::<Aligned>().unwrap()).addr().is_multiple_of(32));
        let nothing = held((), &NOTHING, false);
        assert!(nothing.is::<()>() && nothing.get::<u64>().is_none());
        let full = held([1_u64, 2, 3], &FULL, false);
        let moved = std::thread::spawn(move || full.take::<[u64; 3]>().ok()).join().unwrap();
        assert_eq!(moved, Some([1, 2, 3]));
    }

    #[test]
    #[should_panic = "of one type"]
    fn a_table_of_another_type_is_refused() {
        static NUMBER: Table<()> = Table::of::<u64>(());
        drop(Erased::new(1_u32, &NUMBER));
    }
}
