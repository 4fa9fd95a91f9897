//! Objects and roots.

use std::ffi::{c_char, c_int, c_void};
use std::ptr::NonNull;
use std::sync::atomic::{Ordering, fence};
use std::time::Duration;

use banyan_heap::{Heap, RootError, TypeOf};

use crate::errors::{self, failed, text};
use crate::heaps::heap;

/// As in the header.
#[repr(C)]
pub struct BnType {
    name: *const c_char,
    size: usize,
    align: usize,
}

/// Gives a value to C, if it has a place for it.
///
/// # Safety
/// `place` is null, or valid for a write.
unsafe fn give<T>(place: *mut T, value: T) {
    if !place.is_null() {
        // SAFETY: passed on to the caller.
        unsafe { place.write(value) };
    }
}

/// The type that C named; bytes if it named none.
///
/// # Safety
/// `given` is null or valid, with a name that ends with a zero.
unsafe fn type_of(given: *const BnType) -> Result<TypeOf, c_int> {
    // SAFETY: passed on to the caller.
    match unsafe { given.as_ref() } {
        // SAFETY: as above.
        Some(given) => Ok(TypeOf::new(unsafe { text(given.name) }?, given.size, given.align)),
        None => Ok(TypeOf::new("[]u8", 1, 1)),
    }
}

fn object(pointer: *mut c_void) -> Result<NonNull<u8>, c_int> {
    NonNull::new(pointer.cast()).ok_or_else(|| failed(libc::EINVAL, &"the object is NULL"))
}

/// See the header.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bn_alloc(
    heap: *const Heap,
    size: usize,
    align: usize,
    _near: *const c_void,
    place: *mut *mut c_void,
) -> c_int {
    // SAFETY: the caller gives what the header says.
    let heap = match unsafe { self::heap(heap) } {
        Ok(heap) => heap,
        Err(number) => return number,
    };
    match heap.allocate(size, if align == 0 { 16 } else { align }) {
        Ok(object) => {
            // SAFETY: a place of the caller's.
            unsafe { give(place, object.as_ptr().cast()) };
            0
        }
        Err(error) => errors::allocate(&error),
    }
}

/// See the header.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bn_free(heap: *const Heap, pointer: *mut c_void) -> c_int {
    if pointer.is_null() {
        return 0;
    }
    // SAFETY: the caller gives what the header says.
    let arguments = unsafe { self::heap(heap) }.and_then(|heap| Ok((heap, object(pointer)?)));
    let (heap, object) = match arguments {
        Ok(arguments) => arguments,
        Err(number) => return number,
    };
    // SAFETY: the caller says that nobody uses it any more.
    unsafe { heap.free(object) }.map_or_else(|error| errors::free(&error), |()| 0)
}

/// See the header.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bn_size(heap: *const Heap, pointer: *mut c_void, size: *mut usize) -> c_int {
    // SAFETY: the caller gives what the header says.
    let arguments = unsafe { self::heap(heap) }.and_then(|heap| Ok((heap, object(pointer)?)));
    let (heap, object) = match arguments {
        Ok(arguments) => arguments,
        Err(number) => return number,
    };
    match heap.usable_size(object) {
        Ok(bytes) => {
            // SAFETY: a place of the caller's.
            unsafe { give(size, bytes) };
            0
        }
        Err(error) => errors::free(&error),
    }
}

/// See the header.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bn_realloc(
    heap: *const Heap,
    pointer: *mut c_void,
    size: usize,
    place: *mut *mut c_void,
) -> c_int {
    if pointer.is_null() {
        // SAFETY: passed on.
        return unsafe { bn_alloc(heap, size, 0, std::ptr::null(), place) };
    }
    let mut usable = 0;
    // SAFETY: passed on; the place is ours.
    let number = unsafe { bn_size(heap, pointer, &raw mut usable) };
    if number != 0 {
        return number;
    }
    if size <= usable {
        // SAFETY: a place of the caller's.
        unsafe { give(place, pointer) };
        return 0;
    }
    let mut larger = std::ptr::null_mut();
    // SAFETY: passed on; the place is ours.
    let number = unsafe { bn_alloc(heap, size, 0, std::ptr::null(), &raw mut larger) };
    if number != 0 {
        return number;
    }
    // SAFETY: both objects have that size, and nobody uses the old one meanwhile, as the header says. The
    // new one is in no other hands.
    unsafe {
        std::ptr::copy_nonoverlapping(pointer.cast::<u8>(), larger.cast::<u8>(), usable);
        give(place, larger);
        bn_free(heap, pointer)
    }
}

/// See the header.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bn_root_set(
    heap: *const Heap,
    name: *const c_char,
    pointer: *mut c_void,
    bytes: usize,
    kind: *const BnType,
) -> c_int {
    // SAFETY: the caller gives what the header says.
    let arguments = unsafe { self::heap(heap) }.and_then(|heap| {
        // SAFETY: as above.
        Ok((heap, unsafe { text(name) }?, object(pointer)?, unsafe { type_of(kind) }?))
    });
    match arguments {
        Ok((heap, name, object, kind)) => {
            heap.set_root(name, object, bytes, &kind).map_or_else(|error| errors::root(&error), |()| 0)
        }
        Err(number) => number,
    }
}

/// See the header.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bn_root_get(
    heap: *const Heap,
    name: *const c_char,
    timeout_ns: u64,
    kind: *const BnType,
    place: *mut *mut c_void,
    bytes: *mut usize,
) -> c_int {
    // SAFETY: the caller gives what the header says.
    let arguments = unsafe { self::heap(heap) }.and_then(|heap| {
        // SAFETY: as above.
        Ok((heap, unsafe { text(name) }?, unsafe { type_of(kind) }?))
    });
    let (heap, name, wanted) = match arguments {
        Ok(arguments) => arguments,
        Err(number) => return number,
    };
    match heap.wait_for_root(name, Duration::from_nanos(timeout_ns)) {
        Ok(root) if !kind.is_null() && root.kind.hash != wanted.hash => {
            let (wanted, has) = (wanted.name, root.kind.name);
            errors::root(&RootError::WrongType { name: name.to_owned(), wanted, has })
        }
        Ok(root) => {
            let address = std::ptr::with_exposed_provenance_mut(heap.address() + root.offset);
            // SAFETY: places of the caller's.
            unsafe {
                give(place, address);
                give(bytes, root.bytes);
            }
            0
        }
        Err(error) => errors::root(&error),
    }
}

/// See the header.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bn_root_make(
    heap: *const Heap,
    name: *const c_char,
    bytes: usize,
    align: usize,
    kind: *const BnType,
    place: *mut *mut c_void,
) -> c_int {
    // SAFETY: the caller gives what the header says.
    let arguments = unsafe { self::heap(heap) }.and_then(|heap| {
        // SAFETY: as above.
        Ok((heap, unsafe { text(name) }?, unsafe { type_of(kind) }?))
    });
    let (heap, name, kind) = match arguments {
        Ok(arguments) => arguments,
        Err(number) => return number,
    };
    match heap.root_or_new(name, &kind, bytes, if align == 0 { 64 } else { align }) {
        Ok(object) => {
            // SAFETY: a place of the caller's.
            unsafe { give(place, object.as_ptr().cast()) };
            0
        }
        Err(error) => errors::root(&error),
    }
}

/// See the header.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bn_root_remove(heap: *const Heap, name: *const c_char) -> c_int {
    // SAFETY: the caller gives what the header says.
    let arguments = unsafe { self::heap(heap) }.and_then(|heap| Ok((heap, unsafe { text(name) }?)));
    let (heap, name) = match arguments {
        Ok(arguments) => arguments,
        Err(number) => return number,
    };
    match heap.remove_root(name) {
        Ok(true) => 0,
        Ok(false) => failed(libc::ENOENT, &format_args!("no root {name}")),
        Err(error) => errors::root(&error),
    }
}

/// See the header. One machine keeps its memory coherent by itself: this orders.
#[unsafe(no_mangle)]
pub extern "C" fn bn_acquire(_: *const c_void, _: usize) -> c_int {
    fence(Ordering::SeqCst);
    0
}

/// See the header.
#[unsafe(no_mangle)]
pub extern "C" fn bn_release(_: *const c_void, _: usize) -> c_int {
    fence(Ordering::SeqCst);
    0
}
