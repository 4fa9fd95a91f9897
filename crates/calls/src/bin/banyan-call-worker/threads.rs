//! C's `pthread_create`, to learn that the library has threads of its own.
//!
//! They share the pages that a call has fetched, so these must not be taken away under their hands.

use std::ffi::{c_int, c_void};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

static OWN: AtomicU64 = AtomicU64::new(0);

type Create = unsafe extern "C" fn(*mut c_void, *const c_void, *const c_void, *mut c_void) -> c_int;

/// C's `pthread_create`.
///
/// # Safety
/// As the C function's.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn pthread_create(
    thread: *mut c_void,
    attributes: *const c_void,
    main: *const c_void,
    argument: *mut c_void,
) -> c_int {
    if banyan_calls::is_in_call() {
        banyan_calls::note_thread();
    }
    let mut address = OWN.load(Relaxed);
    if address == 0 {
        // SAFETY: looks up the C library's function behind ours.
        address = unsafe { libc::dlsym(libc::RTLD_NEXT, c"pthread_create".as_ptr()) } as u64;
        OWN.store(address, Relaxed);
    }
    // SAFETY: the function of that name; the caller's contract.
    unsafe {
        std::mem::transmute::<*const (), Create>(address as *const ())(thread, attributes, main, argument)
    }
}
