//! Descriptors that come by number from the process before.

use crate::raw::call;
use linux_raw_sys::general as linux;
use std::io;
use std::os::fd::{FromRawFd, OwnedFd};

/// Takes over a descriptor that was inherited by number, and marks it to be closed on exec.
///
/// One that is so marked was opened by this process, or taken before, and has an owner: it is refused.
///
/// # Errors
/// `EBADF` if there is none, `InvalidInput` for the standard ones and for those that have an owner.
pub fn take(number: i32) -> io::Result<OwnedFd> {
    // SAFETY: reads a flag of a descriptor and touches no memory.
    let flags = unsafe { call(linux::__NR_fcntl, [number as u64, u64::from(linux::F_GETFD), 0, 0, 0, 0]) }?;
    if number < 3 || flags & u64::from(linux::FD_CLOEXEC) != 0 {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    set_flags(number, linux::FD_CLOEXEC)?;
    // SAFETY: it is open, as the calls above have shown. It came through exec, as no descriptor does that the
    // standard library or this workspace opens for itself; and it is not taken twice, since it is marked now.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Lets an inherited descriptor pass the next exec too.
///
/// # Errors
/// `EBADF` if there is none.
pub fn keep_on_exec(number: i32) -> io::Result<()> {
    set_flags(number, 0)
}

fn set_flags(number: i32, flags: u32) -> io::Result<()> {
    // SAFETY: changes a flag of a descriptor and touches no memory.
    unsafe {
        call(linux::__NR_fcntl, [number as u64, u64::from(linux::F_SETFD), u64::from(flags), 0, 0, 0])?;
    }
    Ok(())
}

/// Marks every descriptor but the standard three to be closed on exec.
///
/// # Errors
/// The system's.
pub fn close_all_on_exec() -> io::Result<()> {
    const CLOSE_RANGE_CLOEXEC: u64 = 1 << 2;
    // SAFETY: changes flags of descriptors and touches no memory.
    unsafe { call(linux::__NR_close_range, [3, u64::from(u32::MAX), CLOSE_RANGE_CLOEXEC, 0, 0, 0]) }?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::IntoRawFd;

    #[test]
    fn a_descriptor_is_taken_once_and_only_if_it_came_through_exec() {
        let file = std::fs::File::open("/dev/null").unwrap();
        let number = file.into_raw_fd();
        assert!(take(number).is_err(), "opened by this process");
        keep_on_exec(number).unwrap();
        let taken = take(number).unwrap();
        assert!(take(number).is_err(), "taken");
        drop(taken);
        assert!(take(1 << 20).is_err() && take(1).is_err());
    }
}
