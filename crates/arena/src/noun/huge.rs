//! A growing array in huge pages, for tables that are read at random: with small pages most of the time of
//! such a look goes into finding the page, above all in a virtual machine. Plain data only; small arrays are
//! like any other.

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;

const HUGE: usize = 2 << 20;

/// A vector of plain data.
pub(super) struct HugeVec<T: Copy> {
    data: NonNull<T>,
    length: usize,
    capacity: usize,
}

// SAFETY: the memory is this vector's alone, as that of a `Vec` is.
unsafe impl<T: Copy + Send> Send for HugeVec<T> {}

impl<T: Copy> Default for HugeVec<T> {
    fn default() -> Self {
        Self { data: NonNull::dangling(), length: 0, capacity: 0 }
    }
}

impl<T: Copy> HugeVec<T> {
    /// Items that there is room for.
    pub(super) fn capacity(&self) -> usize {
        self.capacity
    }

    /// Makes it so long; what is new has that value.
    pub(super) fn resize(&mut self, length: usize, value: T) {
        if length > self.capacity {
            self.grow(length);
        }
        for at in self.length..length {
            // SAFETY: there is room for `length` items.
            unsafe { self.data.add(at).write(value) };
        }
        self.length = length;
    }

    pub(super) fn clear(&mut self) {
        self.length = 0;
    }

    #[inline]
    pub(super) fn push(&mut self, value: T) {
        if self.length == self.capacity {
            self.grow(self.length + 1);
        }
        // SAFETY: there is room for one more.
        unsafe { self.data.add(self.length).write(value) };
        self.length += 1;
    }

    fn layout(capacity: usize) -> Layout {
        match Layout::array::<T>(capacity) {
            Ok(layout) if layout.size() >= HUGE => layout.align_to(HUGE).unwrap_or(layout),
            Ok(layout) => layout,
            // As `Vec` has it: more than the address space is a defect of the program.
            Err(_) => panic!("{capacity} items are more than memory can hold"),
        }
    }

    #[cold]
    fn grow(&mut self, least: usize) {
        let capacity = least.max(self.capacity * 2).max(64);
        let layout = Self::layout(capacity);
        // SAFETY: the layout is not empty, since no `T` here is.
        let Some(data) = NonNull::new(unsafe { alloc(layout) }) else { handle_alloc_error(layout) };
        if layout.size() >= HUGE {
            // SAFETY: advice on page size does not change what the memory holds. Where it is refused, small
            // pages do.
            let _small = unsafe {
                rustix::mm::madvise(
                    data.as_ptr().cast(),
                    layout.size() / HUGE * HUGE,
                    rustix::mm::Advice::LinuxHugepage,
                )
            };
        }
        let data = data.cast::<T>();
        // SAFETY: the new memory has room for the items, and the old holds them.
        unsafe { data.copy_from_nonoverlapping(self.data, self.length) };
        self.free();
        (self.data, self.capacity) = (data, capacity);
    }

    fn free(&mut self) {
        if self.capacity > 0 {
            // SAFETY: the memory was allocated with this layout, and is replaced or dropped after this.
            unsafe { dealloc(self.data.as_ptr().cast(), Self::layout(self.capacity)) };
        }
    }
}

impl<T: Copy> Drop for HugeVec<T> {
    fn drop(&mut self) {
        self.free();
    }
}

impl<T: Copy> Deref for HugeVec<T> {
    type Target = [T];
    #[inline]
    fn deref(&self) -> &[T] {
        // SAFETY: this many items are written.
        unsafe { std::slice::from_raw_parts(self.data.as_ptr(), self.length) }
    }
}

impl<T: Copy> DerefMut for HugeVec<T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as above, and the borrow is exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.data.as_ptr(), self.length) }
    }
}

#[cfg(test)]
mod tests {
    use super::HugeVec;

    #[test]
    fn it_does_what_a_vector_does() {
        let mut vector = HugeVec::default();
        for value in 0..1_000_000_u64 {
            vector.push(value);
        }
        assert!(vector.iter().copied().eq(0..1_000_000));
        assert_eq!(vector.as_ptr() as usize % (2 << 20), 0);
        vector.resize(1_000_002, 7);
        assert_eq!(vector[999_999..], [999_999, 7, 7]);
        vector.clear();
        vector.resize(3, 1);
        assert_eq!(*vector, [1, 1, 1]);
        assert_eq!(HugeVec::<u8>::default().len(), 0);
    }
}
