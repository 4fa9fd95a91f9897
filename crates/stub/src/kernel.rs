//! The system calls that the stub makes for itself, by name.

use banyan_sys::raw::{Errno, call, syscall};
use linux_raw_sys::{general as linux, net};

/// `arch_prctl`: sets the GS base. From the kernel's `asm/prctl.h`, of which linux-raw-sys names only `ARCH_SET_FS`.
pub const ARCH_SET_GS: u64 = 0x1001;
/// `arch_prctl`: sets the FS base.
pub const ARCH_SET_FS: u64 = linux::ARCH_SET_FS as u64;
/// `arch_prctl`: stores the FS base where the argument points.
pub const ARCH_GET_FS: u64 = 0x1003;

/// Makes a call whose pointers belong to the program or to the caller's own live buffers.
pub fn raw(number: u32, arguments: [u64; 6]) -> i64 {
    // SAFETY: the stub passes either pointers to buffers that live across the call, or the program's own
    // pointers, with which the program could have made the same call itself. The kernel checks both.
    unsafe { syscall(number, arguments) }
}

/// As [`raw`], with errors told apart.
///
/// # Errors
/// The kernel's.
pub fn checked(number: u32, arguments: [u64; 6]) -> Result<u64, Errno> {
    // SAFETY: as in `raw`.
    unsafe { call(number, arguments) }
}

/// Ends the whole process.
pub fn exit_group(status: u64) -> ! {
    loop {
        let _ = raw(linux::__NR_exit_group, [status, 0, 0, 0, 0, 0]);
    }
}

/// Sleeps until the process is ended by somebody else. For threads whose node or daemon is gone.
pub fn park() -> ! {
    loop {
        let _ = raw(linux::__NR_pause, [0; 6]);
    }
}

/// Waits; a signal ends it early.
pub fn sleep_seconds(seconds: u64) {
    let time = [seconds, 0];
    let _ = raw(linux::__NR_nanosleep, [time.as_ptr() as u64, 0, 0, 0, 0, 0]);
}

/// For threads whose daemon or peer is gone: gives the service thread time to end the process with a reason, and
/// ends it if there is no service thread yet.
pub fn abandon() -> ! {
    sleep_seconds(1);
    exit_group(crate::report::STATUS_OURS)
}

/// Id of the calling thread.
pub fn thread_id() -> u32 {
    raw(linux::__NR_gettid, [0; 6]) as u32
}

/// Id of the process.
pub fn process_id() -> u32 {
    raw(linux::__NR_getpid, [0; 6]) as u32
}

/// Closes a descriptor of the stub.
pub fn close(descriptor: i32) {
    let _ = raw(linux::__NR_close, [descriptor as u64, 0, 0, 0, 0, 0]);
}

/// Maps fresh anonymous memory of the stub; the kernel chooses the place.
///
/// # Errors
/// The kernel's.
pub fn map_anonymous(length: u64) -> Result<u64, Errno> {
    const FLAGS: u64 = (linux::MAP_PRIVATE | linux::MAP_ANONYMOUS | linux::MAP_NORESERVE) as u64;
    const RIGHTS: u64 = (linux::PROT_READ | linux::PROT_WRITE) as u64;
    checked(linux::__NR_mmap, [0, length, RIGHTS, FLAGS, u64::MAX, 0])
}

/// CPU time of the calling thread in nanoseconds.
pub fn thread_cpu_nanoseconds() -> u64 {
    const CLOCK: u64 = linux::CLOCK_THREAD_CPUTIME_ID as u64;
    let mut time = [0_u64; 2];
    let _ = raw(linux::__NR_clock_gettime, [CLOCK, (&raw mut time) as u64, 0, 0, 0, 0]);
    time[0] * 1_000_000_000 + time[1]
}

/// `FUTEX_PRIVATE_FLAG`: the futex is found by its address, not by the page that it lies in. All futexes of the
/// program are made private, since no other process maps its memory, and since the kernel's look at the page fails
/// with EFAULT, which no program expects, when the pager takes the page away at that moment.
pub const FUTEX_PRIVATE: u64 = linux::FUTEX_PRIVATE_FLAG as u64;

/// Wakes one waiter on a futex word, of the stub or of the program.
pub fn futex_wake(word: u64) {
    const FUTEX_WAKE: u64 = linux::FUTEX_WAKE as u64;
    let _ = raw(linux::__NR_futex, [word, FUTEX_WAKE | FUTEX_PRIVATE, 1, 0, 0, 0]);
}

/// Sends all bytes on a stream socket, without SIGPIPE.
///
/// # Errors
/// The kernel's.
pub fn send_all(socket: i32, mut from: *const u8, mut length: usize) -> Result<(), Errno> {
    const FLAGS: u64 = net::MSG_NOSIGNAL as u64;
    while length > 0 {
        match checked(linux::__NR_sendto, [socket as u64, from as u64, length as u64, FLAGS, 0, 0]) {
            Ok(sent) => {
                from = from.wrapping_add(sent as usize);
                length -= sent as usize;
            }
            Err(Errno::EINTR) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Receives exactly `length` bytes from a stream socket.
///
/// # Errors
/// The kernel's; `EPIPE` at the end of the stream.
pub fn receive_all(socket: i32, mut to: *mut u8, mut length: usize) -> Result<(), Errno> {
    const FLAGS: u64 = net::MSG_WAITALL as u64;
    while length > 0 {
        match checked(linux::__NR_recvfrom, [socket as u64, to as u64, length as u64, FLAGS, 0, 0]) {
            Ok(0) => return Err(Errno::EPIPE),
            Ok(received) => {
                to = to.wrapping_add(received as usize);
                length -= received as usize;
            }
            Err(Errno::EINTR) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
