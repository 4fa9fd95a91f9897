//! Descriptors that come by number from the process before.

use crate::raw::{Errno, call};
use linux_raw_sys::general as linux;
use std::io;
use std::os::fd::{FromRawFd, OwnedFd};

fn error(errno: Errno) -> io::Error {
    io::Error::from_raw_os_error(i32::from(errno.0))
}

/// Takes over a descriptor that was inherited by number, and marks it to be closed on exec.
///
/// # Errors
/// `EBADF` if there is none, `InvalidInput` for the standard ones.
pub fn take(number: i32) -> io::Result<OwnedFd> {
    if number < 3 {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    set_close_on_exec(number, true)?;
    // SAFETY: it is open, as the call above has shown; the number was passed for this process alone,
    // and taking the same number twice is a defect of the caller that the second owner's close reports.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Lets an inherited descriptor pass the next exec, or not.
///
/// # Errors
/// `EBADF` if there is none.
pub fn set_close_on_exec(number: i32, close: bool) -> io::Result<()> {
    const F_SETFD: u64 = 2;
    // SAFETY: changes a flag of a descriptor and touches no memory.
    unsafe { call(linux::__NR_fcntl, [number as u64, F_SETFD, u64::from(close), 0, 0, 0]) }
        .map(drop)
        .map_err(error)
}

/// Marks every descriptor but the standard three to be closed on exec.
///
/// # Errors
/// The system's.
pub fn close_all_on_exec() -> io::Result<()> {
    const CLOSE_RANGE_CLOEXEC: u64 = 4;
    // SAFETY: changes flags of descriptors and touches no memory.
    unsafe { call(linux::__NR_close_range, [3, u64::from(u32::MAX), CLOSE_RANGE_CLOEXEC, 0, 0, 0]) }
        .map(drop)
        .map_err(error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::IntoRawFd;

    #[test]
    fn only_open_descriptors_can_be_taken() {
        let file = std::fs::File::open("/dev/null").unwrap().into_raw_fd();
        assert!(take(file).is_ok());
        assert!(take(1 << 20).is_err() && take(1).is_err());
    }
}
