//! C's functions on file descriptors: what the caller opened is used by the caller.
//!
//! A worker keeps the numbers below [`banyan_calls::OWN_DESCRIPTORS`] closed, so a number says
//! whose it is. A library may close a descriptor of the caller only after it has used it: one that
//! closes all numbers must not take its caller's files away.

use crate::caller::{callers, forward, function, own, position};
use crate::seen::{filled, shown};
use std::ffi::{c_char, c_int, c_uint, c_ulong, c_void};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;

/// Bits of the caller's descriptors that the library has used.
static USED: [AtomicU64; 16] = [const { AtomicU64::new(0) }; 16];

/// Whether a descriptor is the caller's.
pub(crate) fn is_callers(descriptor: c_int) -> bool {
    banyan_calls::is_in_call() && (0..banyan_calls::OWN_DESCRIPTORS).contains(&descriptor)
}

fn choose(descriptor: c_int) -> (c_int, bool) {
    let is_callers = is_callers(descriptor);
    if is_callers && let Some(bits) = USED.get(descriptor as usize / 64) {
        bits.fetch_or(1 << (descriptor % 64), Relaxed);
    }
    (descriptor, is_callers)
}

fn choose_used(descriptor: c_int) -> (c_int, bool) {
    let bits = USED.get(descriptor.max(0) as usize / 64).map_or(0, |bits| bits.load(Relaxed));
    let is_used = descriptor > 2 && bits >> (descriptor % 64) & 1 == 1;
    if is_used {
        USED[descriptor as usize / 64].fetch_and(!(1 << (descriptor % 64)), Relaxed);
    }
    (descriptor, is_callers(descriptor) && is_used)
}

/// Whether what a library writes to standard error is to be left out: see [`crate::errors`].
fn is_left_out(bytes: usize) -> bool {
    type Write = unsafe extern "C" fn(c_int, *const c_void, usize) -> isize;
    crate::errors::is_left_out(bytes, |line| {
        // SAFETY: the function's type; the line is shown to the caller, and as long as it is.
        unsafe {
            let write = function!(c"write", true, Write);
            shown(line.as_ptr().cast(), line.len(), |data| write(libc::STDERR_FILENO, data, line.len()));
        }
    })
}

/// C functions that read bytes into memory, or write them, which the caller must see.
macro_rules! transfers {
    ($($name:ident as $c_name:literal ($data:ty $(, $more:ident: $kind:ty)*) $by:ident;)*) => {$(
        /// The C function, for files of this process and of the caller.
        ///
        /// # Safety
        /// As the C function's.
        #[unsafe(no_mangle)]
        pub(crate) unsafe extern "C" fn $name(
            file: c_int,
            data: $data,
            size: usize,
            $($more: $kind),*
        ) -> isize {
            type Transfer = unsafe extern "C" fn(c_int, $data, usize, $($kind),*) -> isize;
            let (file, is_callers) = choose(file);
            // SAFETY: the caller's contract; the function's type.
            unsafe {
                let transfer = function!($c_name, is_callers, Transfer);
                if !is_callers {
                    return transfer(file, data, size, $($more),*);
                }
                if transfers!(@$by is_left_out file, size) {
                    return size as isize;
                }
                transfers!(@$by data, size, |data| transfer(file, data, size, $($more),*))
            }
        }
    )*};
    (@filling is_left_out $file:ident, $size:ident) => {
        false
    };
    (@showing is_left_out $file:ident, $size:ident) => {
        $file == libc::STDERR_FILENO && is_left_out($size)
    };
    (@filling $data:ident, $size:ident, $transfer:expr) => {
        filled($data, $size, $transfer, |&count: &isize| count.max(0) as usize)
    };
    (@showing $data:ident, $size:ident, $transfer:expr) => {
        shown($data, $size, $transfer)
    };
}

transfers! {
    read as c"read" (*mut c_void) filling;
    write as c"write" (*const c_void) showing;
    pread as c"pread" (*mut c_void, offset: i64) filling;
    pread64 as c"pread64" (*mut c_void, offset: i64) filling;
    pwrite as c"pwrite" (*const c_void, offset: i64) showing;
    pwrite64 as c"pwrite64" (*const c_void, offset: i64) showing;
    recv as c"recv" (*mut c_void, flags: c_int) filling;
    send as c"send" (*const c_void, flags: c_int) showing;
}

forward! { choose;
    readv(file: c_int, parts: *const c_void, count: c_int) on file -> isize;
    writev(file: c_int, parts: *const c_void, count: c_int) on file -> isize;
    lseek(file: c_int, offset: i64, whence: c_int) on file -> i64;
    lseek64(file: c_int, offset: i64, whence: c_int) on file -> i64;
    fstat(file: c_int, result: *mut c_void) on file -> c_int;
    fstat64(file: c_int, result: *mut c_void) on file -> c_int;
    fsync(file: c_int) on file -> c_int;
    fdatasync(file: c_int) on file -> c_int;
    ftruncate(file: c_int, length: i64) on file -> c_int;
    ftruncate64(file: c_int, length: i64) on file -> c_int;
    isatty(file: c_int) on file -> c_int;
    fdopen(file: c_int, mode: *const c_char) on file -> *mut c_void;
    fcntl(file: c_int, command: c_int, argument: c_ulong) on file -> c_int;
    fcntl64(file: c_int, command: c_int, argument: c_ulong) on file -> c_int;
    ioctl(file: c_int, request: c_ulong, argument: c_ulong) on file -> c_int;
}

forward! { choose;
    preadv(file: c_int, parts: *const c_void, count: c_int, offset: i64) on file -> isize;
    pwritev(file: c_int, parts: *const c_void, count: c_int, offset: i64) on file -> isize;
    fallocate(file: c_int, mode: c_int, offset: i64, length: i64) on file -> c_int;
    posix_fallocate(file: c_int, offset: i64, length: i64) on file -> c_int;
    posix_fadvise(file: c_int, offset: i64, length: i64, advice: c_int) on file -> c_int;
    flock(file: c_int, operation: c_int) on file -> c_int;
    lockf(file: c_int, command: c_int, length: i64) on file -> c_int;
    fchmod(file: c_int, mode: c_uint) on file -> c_int;
    fchown(file: c_int, user: c_uint, group: c_uint) on file -> c_int;
    futimens(file: c_int, times: *const c_void) on file -> c_int;
    fstatfs(file: c_int, result: *mut c_void) on file -> c_int;
    fstatvfs(file: c_int, result: *mut c_void) on file -> c_int;
    tcgetattr(file: c_int, result: *mut c_void) on file -> c_int;
    tcsetattr(file: c_int, when: c_int, attributes: *const c_void) on file -> c_int;
    sendto(file: c_int, data: *const c_void, size: usize, flags: c_int, to: *const c_void, length: c_uint)
        on file -> isize;
    recvfrom(file: c_int, data: *mut c_void, size: usize, flags: c_int, from: *mut c_void, length: *mut c_void)
        on file -> isize;
    sendmsg(file: c_int, message: *const c_void, flags: c_int) on file -> isize;
    recvmsg(file: c_int, message: *mut c_void, flags: c_int) on file -> isize;
    shutdown(file: c_int, how: c_int) on file -> c_int;
    connect(file: c_int, to: *const c_void, length: c_uint) on file -> c_int;
    bind(file: c_int, to: *const c_void, length: c_uint) on file -> c_int;
    listen(file: c_int, backlog: c_int) on file -> c_int;
    getsockname(file: c_int, name: *mut c_void, length: *mut c_void) on file -> c_int;
    getpeername(file: c_int, name: *mut c_void, length: *mut c_void) on file -> c_int;
    getsockopt(file: c_int, level: c_int, name: c_int, value: *mut c_void, length: *mut c_void)
        on file -> c_int;
    setsockopt(file: c_int, level: c_int, name: c_int, value: *const c_void, length: c_uint)
        on file -> c_int;
}

forward! { choose;
    __fxstat(version: c_int, file: c_int, result: *mut c_void) on file -> c_int;
    __fxstat64(version: c_int, file: c_int, result: *mut c_void) on file -> c_int;
}

// What these give is a descriptor of the same process.
forward! { choose, note_used;
    dup(file: c_int) on file -> c_int;
    accept(file: c_int, from: *mut c_void, length: *mut c_void) on file -> c_int;
    accept4(file: c_int, from: *mut c_void, length: *mut c_void, flags: c_int) on file -> c_int;
}

forward! { choose_used;
    close(file: c_int) on file -> c_int;
}

/// Remembers that the library uses a descriptor of its caller's that it was given by a call.
fn note_used(descriptor: c_int) -> c_int {
    if (0..banyan_calls::OWN_DESCRIPTORS).contains(&descriptor) {
        choose(descriptor);
    }
    descriptor
}

/// As poll(2) has it.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Polled {
    descriptor: c_int,
    wanted: i16,
    found: i16,
}

/// How long one side is asked before the other, where both have descriptors in a list.
const SLICE_MS: c_int = 2;

type Poll = unsafe extern "C" fn(*mut Polled, c_ulong, c_int) -> c_int;

/// Polls those of a list that are the caller's, or those that are not.
///
/// # Safety
/// As of C's `poll`.
unsafe fn poll_side(polled: &mut [Polled], is_side_callers: bool, milliseconds: c_int) -> c_int {
    const POSITION: usize = position(c"poll");
    let address = if is_side_callers { callers(POSITION) } else { own(POSITION, c"poll") };
    if address == 0 {
        return 0;
    }
    let mut part = polled.to_vec();
    for one in part.iter_mut().filter(|one| is_callers(one.descriptor) != is_side_callers) {
        one.descriptor = -1;
    }
    // SAFETY: both are functions of this name; the caller's becomes a call-back.
    let found = unsafe {
        let poll: Poll = std::mem::transmute(address as *const ());
        poll(part.as_mut_ptr(), part.len() as c_ulong, milliseconds)
    };
    for (one, part) in polled.iter_mut().zip(&part).filter(|(_, part)| part.descriptor >= 0) {
        one.found = part.found;
    }
    found
}

/// C's `poll`. Where both sides have descriptors in the list they are asked in turn.
///
/// # Safety
/// As the C function's.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn poll(polled: *mut Polled, count: c_ulong, milliseconds: c_int) -> c_int {
    let polled = if count == 0 {
        &mut []
    } else {
        // SAFETY: the caller's contract.
        unsafe { std::slice::from_raw_parts_mut(polled, count as usize) }
    };
    let of_caller = polled.iter().filter(|one| is_callers(one.descriptor)).count();
    let own = polled.iter().filter(|one| one.descriptor >= 0).count() - of_caller;
    // SAFETY: the caller's contract.
    unsafe {
        if of_caller == 0 || own == 0 {
            return poll_side(polled, of_caller > 0, milliseconds);
        }
        let start = Instant::now();
        loop {
            let found = poll_side(polled, false, 0);
            let more = if found < 0 { 0 } else { poll_side(polled, true, 0) };
            let is_late = milliseconds >= 0 && start.elapsed().as_millis() >= milliseconds as u128;
            if found < 0 || more < 0 || found + more > 0 || is_late {
                return if found < 0 || more < 0 { -1 } else { found + more };
            }
            poll_side(polled, false, SLICE_MS);
        }
    }
}
