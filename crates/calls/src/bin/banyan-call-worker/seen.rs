//! What a caller can be given the address of: bytes of a worker's that it would not find are copied to the
//! heap.
//!
//! The caller sees the library, those that were loaded with it, their stacks and their heap. It does not see
//! what a library opens later, nor what it maps to share: there the caller would crash.

use std::ffi::{CStr, c_char, c_void};

/// A text, where the caller sees it.
pub(crate) struct Text {
    text: *const c_char,
    copy: Option<Vec<u8>>,
}

impl Text {
    /// # Safety
    /// `text` must be null or a C string.
    pub(crate) unsafe fn of(text: *const c_char) -> Self {
        let is_hidden = !text.is_null() && !banyan_calls::is_seen(text as u64);
        // SAFETY: the caller's contract.
        let copy = is_hidden.then(|| unsafe { CStr::from_ptr(text) }.to_bytes_with_nul().to_vec());
        Self { text, copy }
    }

    pub(crate) fn address(&self) -> *const c_char {
        self.copy.as_ref().map_or(self.text, |copy| copy.as_ptr().cast())
    }
}

/// Whether all of a range is seen.
fn is_seen(start: u64, length: usize) -> bool {
    length == 0 || banyan_calls::is_seen(start) && banyan_calls::is_seen(start + length as u64 - 1)
}

/// Has the caller write up to `length` bytes at `to`, by `write`, which gives how many it wrote.
///
/// # Safety
/// There must be room for them.
pub(crate) unsafe fn filled<T>(
    to: *mut c_void,
    length: usize,
    write: impl FnOnce(*mut c_void) -> T,
    count: impl FnOnce(&T) -> usize,
) -> T {
    if is_seen(to as u64, length) {
        return write(to);
    }
    let mut copy = vec![0_u8; length];
    let result = write(copy.as_mut_ptr().cast());
    // SAFETY: the caller's contract.
    unsafe { std::ptr::copy_nonoverlapping(copy.as_ptr(), to.cast(), count(&result).min(length)) };
    result
}

/// Has the caller read `length` bytes at `from`, by `read`.
///
/// # Safety
/// There must be as many.
pub(crate) unsafe fn shown<T>(
    from: *const c_void,
    length: usize,
    read: impl FnOnce(*const c_void) -> T,
) -> T {
    if is_seen(from as u64, length) {
        return read(from);
    }
    // SAFETY: the caller's contract.
    let copy = unsafe { std::slice::from_raw_parts(from.cast::<u8>(), length) }.to_vec();
    read(copy.as_ptr().cast())
}
