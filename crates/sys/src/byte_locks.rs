//! Locks on single bytes of a file, owned by the open file description (fcntl(2), `F_OFD_SETLK`).
//!
//! The kernel drops them with the last descriptor, so a process that dies holds nothing. They say nothing
//! about the bytes themselves, which need not even exist. Not the same locks as flock(2)'s.

use std::io;
use std::os::fd::{AsFd, AsRawFd};

/// What a lock is set to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ByteLock {
    /// Shared with other holders.
    Shared,
    /// Held alone; the descriptor must be open for writing.
    Exclusive,
    /// Given back.
    Released,
}

/// Sets the lock on a byte without waiting; `false` if another holder's stands against it.
///
/// # Errors
/// What the kernel says.
pub fn set(file: &impl AsFd, byte: u64, lock: ByteLock) -> io::Result<bool> {
    apply(file, byte, 1, lock)
}

/// Locks `count` bytes from `byte` for this description alone, all or none, without waiting; `false` if
/// another holder's lock stands against it.
///
/// # Errors
/// What the kernel says.
pub fn take_all(file: &impl AsFd, byte: u64, count: u64) -> io::Result<bool> {
    apply(file, byte, i64::try_from(count).map_err(io::Error::other)?, ByteLock::Exclusive)
}

/// Gives back every lock on `byte` and the bytes behind it, also those of a duplicate of the descriptor.
///
/// # Errors
/// What the kernel says.
pub fn release_from(file: &impl AsFd, byte: u64) -> io::Result<()> {
    apply(file, byte, 0, ByteLock::Released).map(drop)
}

/// Whether another open file description has a lock on one of `count` bytes from `byte`. Locks of
/// `file`'s own do not count.
///
/// # Errors
/// What the kernel says.
pub fn is_held(file: &impl AsFd, byte: u64, count: u64) -> io::Result<bool> {
    let mut request = request(libc::F_WRLCK, byte, i64::try_from(count).map_err(io::Error::other)?)?;
    // SAFETY: the kernel reads and writes the request during the call only.
    let result = unsafe { libc::fcntl(file.as_fd().as_raw_fd(), libc::F_OFD_GETLK, &raw mut request) };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(i32::from(request.l_type) != libc::F_UNLCK)
}

fn request(kind: i32, start: u64, length: i64) -> io::Result<libc::flock> {
    // SAFETY: all zero is a valid `flock`.
    let mut request: libc::flock = unsafe { std::mem::zeroed() };
    request.l_type = kind as i16;
    request.l_whence = libc::SEEK_SET as i16;
    request.l_start = i64::try_from(start).map_err(io::Error::other)?;
    request.l_len = length;
    Ok(request)
}

/// `length` bytes from `start`; 0 stands for all that follow.
fn apply(file: &impl AsFd, start: u64, length: i64, lock: ByteLock) -> io::Result<bool> {
    let kind = match lock {
        ByteLock::Shared => libc::F_RDLCK,
        ByteLock::Exclusive => libc::F_WRLCK,
        ByteLock::Released => libc::F_UNLCK,
    };
    let request = request(kind, start, length)?;
    // SAFETY: the kernel reads the request during the call only.
    let result = unsafe { libc::fcntl(file.as_fd().as_raw_fd(), libc::F_OFD_SETLK, &raw const request) };
    if result == 0 {
        return Ok(true);
    }
    match io::Error::last_os_error() {
        error if matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EACCES)) => Ok(false),
        error => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shared_and_exclusive_exclude_each_other() {
        let path = std::env::temp_dir().join(format!("banyan-byte-locks-{}", std::process::id()));
        let open = || {
            std::fs::File::options().read(true).write(true).create(true).truncate(false).open(&path).unwrap()
        };
        let (one, two) = (open(), open());
        assert!(set(&one, 7, ByteLock::Shared).unwrap());
        assert!(set(&two, 7, ByteLock::Shared).unwrap());
        assert!(!set(&two, 7, ByteLock::Exclusive).unwrap());
        assert!(set(&two, 8, ByteLock::Exclusive).unwrap());
        assert!(is_held(&two, 0, 8).unwrap() && !is_held(&two, 8, 100).unwrap(), "one has byte 7, two has 8");
        drop(one);
        assert!(!is_held(&two, 7, 1).unwrap());
        assert!(set(&two, 7, ByteLock::Exclusive).unwrap());
        assert!(set(&two, 7, ByteLock::Released).unwrap());
        let all = open();
        assert!(!take_all(&all, 0, 9).unwrap(), "two has byte 8");
        assert!(take_all(&all, 0, 8).unwrap() && !set(&two, 7, ByteLock::Shared).unwrap());
        drop(all);
        let duplicate = two.try_clone().unwrap();
        release_from(&two, 7).unwrap();
        assert!(set(&open(), 8, ByteLock::Exclusive).unwrap(), "although a duplicate of the other is open");
        drop(duplicate);
        std::fs::remove_file(&path).unwrap();
    }
}
