//! What the tests need of unsafe code.

use banyan_heap::Heap;
use std::ptr::NonNull;

/// Has the kernel end this process.
pub(crate) fn end_after(seconds: u32) {
    // SAFETY: it sets a timer of this process.
    unsafe { libc::alarm(seconds) };
}

/// Copies the process; the copy runs `child` and ends with what that gives. Gives the copy's id.
pub(crate) fn fork(child: impl FnOnce() -> i32) -> i32 {
    // SAFETY: the copy runs code of the heap, which needs no other thread, and ends without the harness.
    let id = unsafe { libc::fork() };
    assert!(id >= 0);
    if id == 0 {
        end_after(60);
        let status = std::panic::catch_unwind(std::panic::AssertUnwindSafe(child)).unwrap_or(101);
        // SAFETY: ends the process at once.
        unsafe { libc::_exit(status) };
    }
    id
}

/// Waits for a copy, and gives its status; -1 if it was killed.
pub(crate) fn wait_for(id: i32) -> i32 {
    let mut status = 0;
    // SAFETY: the status is a place of ours.
    assert_eq!(unsafe { libc::waitpid(id, &raw mut status, 0) }, id);
    if libc::WIFEXITED(status) { libc::WEXITSTATUS(status) } else { -1 }
}

pub(crate) fn kill(id: i32) {
    // SAFETY: a process that the test has made.
    assert_eq!(unsafe { libc::kill(id, libc::SIGKILL) }, 0);
}

/// Frees an object of the test.
pub(crate) fn free(heap: &Heap, object: NonNull<u8>) -> Result<(), banyan_heap::FreeError> {
    // SAFETY: the tests use no object that they have freed.
    unsafe { heap.free(object) }
}

/// Fills an object of the test.
pub(crate) fn fill(object: NonNull<u8>, bytes: usize, value: u8) {
    // SAFETY: the test has allocated this many bytes, and only it uses them.
    unsafe { object.as_ptr().write_bytes(value, bytes) };
}

/// Whether an object is filled.
pub(crate) fn is_filled(object: NonNull<u8>, bytes: usize, value: u8) -> bool {
    (0..bytes).all(|at| {
        // SAFETY: as in `fill`.
        unsafe { object.as_ptr().add(at).read() == value }
    })
}
