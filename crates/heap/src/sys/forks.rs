//! What is done when the process is copied (fork(3)) or ends, and giving a copy its own descriptor of a file.
//!
//! A lock on a byte of a file belongs to the open file description, which a copy shares: it would keep the
//! place of a parent that is dead. Copies that clone(2) makes without the C library's knowledge are not seen.

use std::ffi::CStr;
use std::io::{self, Write as _};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use rustix::fs::{Mode, OFlags};

/// Has `before` and `in_parent` called around each fork, and `in_child` in the copy. They may use atomics and
/// system calls, as in a signal handler.
///
/// # Errors
/// What the C library says.
pub(crate) fn watch(
    before: extern "C" fn(),
    in_parent: extern "C" fn(),
    in_child: extern "C" fn(),
) -> io::Result<()> {
    // SAFETY: the handlers are functions of this program, which is never unloaded while they are known.
    match unsafe { libc::pthread_atfork(Some(before), Some(in_parent), Some(in_child)) } {
        0 => Ok(()),
        error => Err(io::Error::from_raw_os_error(error)),
    }
}

/// Has `at_exit` called when the process ends by exit(3) or from `main`.
///
/// # Errors
/// The C library has no memory for it.
pub(crate) fn watch_exit(at_exit: extern "C" fn()) -> io::Result<()> {
    // SAFETY: as for `watch`.
    match unsafe { libc::atexit(at_exit) } {
        0 => Ok(()),
        _ => Err(io::ErrorKind::OutOfMemory.into()),
    }
}

/// Opens the file of `descriptor` anew and has the new description take the descriptor's number. Allocates
/// nothing.
///
/// # Errors
/// What the kernel says, for instance without /proc. The descriptor then stands for no file.
pub(crate) fn reopen(descriptor: BorrowedFd<'_>) -> io::Result<()> {
    let number = descriptor.as_raw_fd();
    let mut path = [0_u8; 32];
    write!(&mut path[..31], "/proc/self/fd/{number}")?;
    let path = CStr::from_bytes_until_nul(&path).map_err(io::Error::other)?;
    let flags = OFlags::RDWR | OFlags::CLOEXEC;
    let opened = rustix::fs::open(path, flags, Mode::empty());
    let replaced = match &opened {
        Ok(file) => replace(number, file.as_fd()),
        Err(_) => {
            // Whatever happens, the copy must close its parent's description.
            let nothing = rustix::fs::open(c"/", OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
            replace(number, nothing.as_fd())
        }
    };
    opened?;
    replaced
}

fn replace(number: i32, by: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: the number stays an open descriptor of its owner's, who uses it for this file only.
    match unsafe { libc::dup3(by.as_raw_fd(), number, libc::O_CLOEXEC) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}
