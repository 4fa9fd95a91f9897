//! Descriptors that come by number from the process before, and what the kernel knows of a connection.

use banyan_sys::raw::{self, call};
use linux_raw_sys::general as linux;
use linux_raw_sys::net;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::time::Duration;

/// Takes over a descriptor that was inherited by number, and marks it to be closed on exec.
///
/// One that is so marked was opened by this process, or taken before, and has an owner: it is refused.
///
/// # Errors
/// `EBADF` if there is none, `InvalidInput` for the standard ones and for those that have an owner.
pub(crate) fn take(number: i32) -> io::Result<OwnedFd> {
    // SAFETY: reads a flag of a descriptor and touches no memory.
    let flags = unsafe { call(linux::__NR_fcntl, [number as u64, u64::from(linux::F_GETFD)]) }?;
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
pub(crate) fn keep_on_exec(number: i32) -> io::Result<()> {
    set_flags(number, 0)
}

fn set_flags(number: i32, flags: u32) -> io::Result<()> {
    // SAFETY: changes a flag of a descriptor and touches no memory.
    unsafe {
        call(linux::__NR_fcntl, [number as u64, u64::from(linux::F_SETFD), u64::from(flags)])?;
    }
    Ok(())
}

/// Marks every descriptor but the standard three to be closed on exec.
///
/// # Errors
/// The system's.
pub(crate) fn close_all_on_exec() -> io::Result<()> {
    const CLOSE_RANGE_CLOEXEC: u64 = 1 << 2;
    // SAFETY: changes flags of descriptors and touches no memory.
    unsafe { call(linux::__NR_close_range, [3, u64::from(u32::MAX), CLOSE_RANGE_CLOEXEC]) }?;
    Ok(())
}

/// Whether somebody has a file open for writing, as far as can be found out by who owns it or may lease it:
/// no lease for reading is to be had then (fcntl(2)). The file must be open for reading only, and not be
/// leased.
#[must_use]
pub(crate) fn is_written(file: BorrowedFd<'_>) -> bool {
    let set = |command: u32, value: u32| {
        // SAFETY: changes what the kernel keeps of a descriptor and touches no memory.
        unsafe { call(linux::__NR_fcntl, [file.as_raw_fd() as u64, command.into(), value.into(), 0, 0, 0]) }
    };
    // Who opens it for writing meanwhile has the kernel tell the owner of the lease: by a signal that nobody
    // waits for, and not by SIGIO, of which a process dies.
    let leased = set(linux::F_SETSIG, linux::SIGURG).and_then(|_| set(linux::F_SETLEASE, linux::F_RDLCK));
    let _ = set(linux::F_SETLEASE, linux::F_UNLCK);
    leased == Err(raw::Errno::EAGAIN)
}

/// The shortest time in which bytes were acknowledged on a TCP connection lately, as the kernel has measured
/// it: others have waited for a peer that acknowledges late. None if nothing was acknowledged yet.
///
/// # Errors
/// The system's; of what is no TCP socket, too.
pub(crate) fn round_trip(socket: BorrowedFd<'_>) -> io::Result<Option<Duration>> {
    let mut facts = MaybeUninit::<net::tcp_info>::zeroed();
    let mut length = size_of::<net::tcp_info>() as u32;
    let arguments = [
        socket.as_raw_fd() as u64,
        net::IPPROTO_TCP as u64,
        u64::from(net::TCP_INFO),
        facts.as_mut_ptr() as u64,
        (&raw mut length) as u64,
        0,
    ];
    // SAFETY: the kernel writes at most `length` bytes to `facts`, which has as many, and the number of them
    // to `length`.
    unsafe { call(linux::__NR_getsockopt, arguments) }?;
    // SAFETY: it was zero, which is a value of all its fields; an older kernel leaves the rest of it so.
    let facts = unsafe { facts.assume_init() };
    let is_known = facts.tcpi_min_rtt > 0 && facts.tcpi_min_rtt < u32::MAX;
    Ok(is_known.then(|| Duration::from_micros(facts.tcpi_min_rtt.into())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::{AsFd, IntoRawFd};

    #[test]
    fn the_round_trip_of_a_connection_is_known_when_something_went_to_and_fro() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut here = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut there, _) = listener.accept().unwrap();
        let mut byte = [0];
        for _ in 0..100 {
            here.write_all(b"x").unwrap();
            there.read_exact(&mut byte).unwrap();
            there.write_all(b"y").unwrap();
            here.read_exact(&mut byte).unwrap();
        }
        let found = round_trip(here.as_fd()).unwrap().unwrap();
        assert!(found > Duration::ZERO && found < Duration::from_secs(1), "{found:?}");
        let file = std::fs::File::open("/dev/null").unwrap();
        assert!(round_trip(file.as_fd()).is_err());
    }

    #[test]
    fn a_file_is_written_while_it_is_open_for_that() {
        let path = std::env::temp_dir().join(format!("banyan-written-{}", std::process::id()));
        let writing = std::fs::File::create(&path).unwrap();
        let file = std::fs::File::open(&path).unwrap();
        assert!(is_written(file.as_fd()));
        drop(writing);
        assert!(!is_written(file.as_fd()));
        // Nothing is left of the lease: nobody waits for its end.
        drop(std::fs::File::options().write(true).open(&path).unwrap());
        std::fs::remove_file(path).unwrap();
        assert!(!is_written(std::fs::File::open("/dev/null").unwrap().as_fd()));
    }

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
