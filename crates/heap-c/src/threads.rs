//! Threads by function call. There is one node, so they are threads of this process.

use std::ffi::{c_int, c_void};
use std::thread::{Builder, JoinHandle};

use crate::errors::failed;

const ANY: c_int = -1;

/// A pointer of the caller's that goes to a thread and back.
struct Passed(*mut c_void);

// SAFETY: what it points to is the caller's and its function's own affair.
unsafe impl Send for Passed {}

impl Passed {
    fn pointer(self) -> *mut c_void {
        self.0
    }
}

/// A thread that was made and not joined.
pub struct BnThread(JoinHandle<Passed>);

/// See the header.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bn_thread_create(
    node: c_int,
    function: Option<unsafe extern "C" fn(*mut c_void) -> *mut c_void>,
    argument: *mut c_void,
    thread: *mut *mut BnThread,
) -> c_int {
    let Some(function) = function else { return failed(libc::EINVAL, &"the function is NULL") };
    if thread.is_null() {
        return failed(libc::EINVAL, &"there is no place for the thread");
    }
    if node != ANY && node != 0 {
        return failed(
            libc::ENODEV,
            &format_args!("no node {node}: heaps are of one machine, which is node 0"),
        );
    }
    let argument = Passed(argument);
    let made = Builder::new().spawn(move || {
        // SAFETY: a function of the caller's with its argument.
        Passed(unsafe { function(argument.pointer()) })
    });
    match made {
        Ok(handle) => {
            // SAFETY: a place of the caller's.
            unsafe { thread.write(Box::into_raw(Box::new(BnThread(handle)))) };
            0
        }
        Err(error) => failed(error.raw_os_error().unwrap_or(libc::EAGAIN), &error),
    }
}

/// See the header.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bn_thread_join(thread: *mut BnThread, result: *mut *mut c_void) -> c_int {
    if thread.is_null() {
        return failed(libc::EINVAL, &"the thread is NULL");
    }
    // SAFETY: it came from `bn_thread_create`, and the caller joins it once.
    let thread = unsafe { Box::from_raw(thread) };
    match thread.0.join() {
        Ok(value) => {
            if !result.is_null() {
                // SAFETY: a place of the caller's.
                unsafe { result.write(value.pointer()) };
            }
            0
        }
        Err(_) => failed(libc::EIO, &"the thread ended by a panic"),
    }
}
