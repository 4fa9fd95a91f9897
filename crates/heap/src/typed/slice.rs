//! A slice in a heap, read and written by copies.

use std::marker::PhantomData;

use zerocopy::IntoBytes;

use super::{HeapSafe, type_of};
use crate::Heap;
use crate::error::RootError;
use crate::sys::copies;

/// `length` elements at a place of a heap. Elements of up to 8 bytes are read and written whole; what several
/// threads write at once without a lock is one of their values.
#[derive(Clone, Debug)]
pub struct Slice<T> {
    heap: Heap,
    address: usize,
    length: usize,
    element: PhantomData<fn() -> T>,
}

impl Heap {
    /// The slice with this name, made of zeroes if there is none.
    ///
    /// # Errors
    /// [`RootError::WrongType`] if the name is something else's; no room.
    pub fn slice<T: HeapSafe>(&self, name: &str, length: usize) -> Result<Slice<T>, RootError> {
        let bytes = size_of::<T>().saturating_mul(length);
        let align = align_of::<T>().max(8);
        let address = self.root_or_make(name, &type_of::<T>("[]"), bytes, align, |_| {})?;
        Ok(Slice { heap: self.clone(), address, length, element: PhantomData })
    }
}

impl<T: HeapSafe> Slice<T> {
    /// How many elements it has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.length
    }

    /// Whether it has none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// An element.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<T> {
        let mut value = T::new_zeroed();
        self.read(index, std::slice::from_mut(&mut value)).then_some(value)
    }

    /// Writes an element; `false` if the slice has none there.
    #[must_use = "nothing is written past the end"]
    pub fn set(&self, index: usize, value: T) -> bool {
        self.write(index, std::slice::from_ref(&value))
    }

    /// Reads elements from `first` on; `false`, and nothing, if they are not all in the slice.
    #[must_use = "nothing is read past the end"]
    pub fn read(&self, first: usize, to: &mut [T]) -> bool {
        let Some(address) = self.place(first, to.len()) else { return false };
        copies::load(self.heap.attachment.memory(), address, to.as_mut_bytes(), align_of::<T>())
    }

    /// Writes elements from `first` on; `false`, and nothing, if they are not all in the slice.
    #[must_use = "nothing is written past the end"]
    pub fn write(&self, first: usize, from: &[T]) -> bool {
        let Some(address) = self.place(first, from.len()) else { return false };
        copies::store(self.heap.attachment.memory(), address, from.as_bytes(), align_of::<T>())
    }

    /// Where it lies, in every process. Using it is a program's own affair.
    #[must_use]
    pub fn as_ptr(&self) -> *mut T {
        std::ptr::with_exposed_provenance_mut(self.address)
    }

    fn place(&self, first: usize, count: usize) -> Option<usize> {
        let end = first.checked_add(count)?;
        (end <= self.length).then(|| self.address + first * size_of::<T>())
    }
}
