//! The system calls that the stub makes for itself, by name, and the two functions that make any call.

use banyan_sys::raw::{Errno, call, syscall};
use core::sync::atomic::AtomicU32;
use linux_raw_sys::general as linux;
use linux_raw_sys::{net, prctl};

/// `arch_prctl`: sets the GS base. From the kernel's `asm/prctl.h`, of which linux-raw-sys names only
/// `ARCH_SET_FS`.
pub const ARCH_SET_GS: u64 = 0x1001;
/// `arch_prctl`: sets the FS base.
pub const ARCH_SET_FS: u64 = linux::ARCH_SET_FS as u64;
/// `arch_prctl`: stores the FS base where the argument points.
pub const ARCH_GET_FS: u64 = 0x1003;
/// `arch_prctl`: stores the GS base where the argument points.
pub const ARCH_GET_GS: u64 = 0x1004;

/// `FUTEX_PRIVATE_FLAG`: the futex is found by its address, not by the page that it lies in.
const FUTEX_PRIVATE: u64 = linux::FUTEX_PRIVATE_FLAG as u64;

/// Makes a system call and returns what the kernel returned.
///
/// # Safety
/// As the call itself: what its arguments point to must be valid for what the kernel does with it, and it
/// must not take away memory, descriptors or threads that the stub relies on. The program's own calls with
/// the program's own arguments are allowed: it could make them itself, and what would touch the stub's memory
/// or descriptors is not passed on.
pub unsafe fn raw<const N: usize>(number: u32, arguments: [u64; N]) -> i64 {
    // SAFETY: passed on to the caller.
    unsafe { syscall(number, arguments) }
}

/// As [`raw`], with errors told apart.
///
/// # Errors
/// The kernel's.
///
/// # Safety
/// As [`raw`].
pub unsafe fn checked<const N: usize>(number: u32, arguments: [u64; N]) -> Result<u64, Errno> {
    // SAFETY: passed on to the caller.
    unsafe { call(number, arguments) }
}

/// Ends the whole process.
pub fn exit_group(status: u64) -> ! {
    loop {
        // SAFETY: no pointers; nothing runs afterwards.
        let _ = unsafe { raw(linux::__NR_exit_group, [status]) };
    }
}

/// Sleeps until the process is ended from elsewhere. For threads whose node or daemon is gone.
pub fn park() -> ! {
    loop {
        // SAFETY: no pointers.
        let _ = unsafe { raw(linux::__NR_pause, []) };
    }
}

/// Waits; a signal ends it early.
pub fn sleep_seconds(seconds: u64) {
    let time = [seconds, 0];
    // SAFETY: the time lives across the call, which only reads it.
    let _ = unsafe { raw(linux::__NR_nanosleep, [time.as_ptr() as u64, 0]) };
}

/// For threads whose daemon or peer is gone: gives the service thread time to end the process with a reason,
/// and ends it if there is no service thread yet.
pub fn abandon() -> ! {
    sleep_seconds(1);
    exit_group(crate::report::STATUS_OURS)
}

/// Id of the calling thread.
pub fn thread_id() -> u32 {
    // SAFETY: no pointers.
    unsafe { raw(linux::__NR_gettid, []) as u32 }
}

/// Id of the process.
pub fn process_id() -> u32 {
    // SAFETY: no pointers.
    unsafe { raw(linux::__NR_getpid, []) as u32 }
}

/// Sends a signal to a thread of this process.
pub fn signal_thread(thread: u32, signal: u64) {
    // SAFETY: no pointers.
    let _ = unsafe { raw(linux::__NR_tgkill, [u64::from(process_id()), u64::from(thread), signal]) };
}

/// How [`set_mask`] changes the mask.
#[derive(Clone, Copy)]
#[repr(u64)]
pub enum MaskChange {
    /// Lets these signals in.
    Unblock = linux::SIG_UNBLOCK as u64,
    /// Blocks these and no others.
    Set = linux::SIG_SETMASK as u64,
}

/// Changes which signals the kernel blocks for the calling thread. Returns the mask before.
pub fn set_mask(change: MaskChange, mask: u64) -> u64 {
    let mut before = 0_u64;
    let arguments = [change as u64, &raw const mask as u64, &raw mut before as u64, 8];
    // SAFETY: both masks live across the call and have the size that it says.
    let _ = unsafe { raw(linux::__NR_rt_sigprocmask, arguments) };
    before
}

/// Closes a descriptor of the stub.
pub fn close(descriptor: i32) {
    // SAFETY: no pointers. The stub's own descriptors have no other owner than the caller.
    let _ = unsafe { raw(linux::__NR_close, [descriptor as u64]) };
}

/// Duplicates a descriptor to the first free number from `floor` on; the duplicate is closed by exec.
///
/// # Errors
/// The kernel's.
pub fn duplicate_from(descriptor: i32, floor: u64) -> Result<i32, Errno> {
    const F_DUPFD_CLOEXEC: u64 = linux::F_DUPFD_CLOEXEC as u64;
    // SAFETY: no pointers.
    unsafe { checked(linux::__NR_fcntl, [descriptor as u64, F_DUPFD_CLOEXEC, floor]) }
        .map(|duplicate| duplicate as i32)
}

/// Whether a descriptor stays open at exec.
#[derive(Clone, Copy)]
#[repr(u64)]
pub enum AtExec {
    /// It stays open.
    Kept = 0,
    /// It is closed (`FD_CLOEXEC`).
    Closed = 1,
}

/// Sets whether a descriptor stays open at exec.
pub fn set_at_exec(descriptor: i32, what: AtExec) {
    const F_SETFD: u64 = linux::F_SETFD as u64;
    // SAFETY: no pointers.
    let _ = unsafe { raw(linux::__NR_fcntl, [descriptor as u64, F_SETFD, what as u64]) };
}

/// The soft and the hard limit of open files.
///
/// # Errors
/// The kernel's.
pub fn file_limit() -> Result<[u64; 2], Errno> {
    let mut limit = [0_u64; 2];
    let arguments = [0, u64::from(linux::RLIMIT_NOFILE), 0, limit.as_mut_ptr() as u64];
    // SAFETY: the limit lives across the call, which writes it.
    unsafe { checked(linux::__NR_prlimit64, arguments) }.map(|_| limit)
}

/// Soft limits of memory, in bytes; `u64::MAX` is none.
pub struct MemoryLimits {
    /// `RLIMIT_AS`.
    pub address_space: u64,
    /// `RLIMIT_DATA`.
    pub data: u64,
    /// `RLIMIT_MEMLOCK`, unless the process may lock what it likes.
    pub locked: u64,
}

/// The limits of memory calls.
pub fn memory_limits(number: u32) -> MemoryLimits {
    let soft = |resource: u32| {
        let mut limit = [u64::MAX; 2];
        let arguments = [0, resource.into(), 0, limit.as_mut_ptr() as u64];
        // SAFETY: the limit lives across the call, which writes it.
        let _ = unsafe { raw(linux::__NR_prlimit64, arguments) };
        limit[0]
    };
    let mut limits = MemoryLimits { address_space: u64::MAX, data: u64::MAX, locked: u64::MAX };
    match number {
        linux::__NR_mlock | linux::__NR_mlock2 | linux::__NR_mlockall if !may_lock_memory() => {
            limits.locked = soft(linux::RLIMIT_MEMLOCK);
        }
        linux::__NR_mmap
        | linux::__NR_mprotect
        | linux::__NR_mremap
        | linux::__NR_brk
        | linux::__NR_shmat => {
            limits.address_space = soft(linux::RLIMIT_AS);
            limits.data = soft(linux::RLIMIT_DATA);
        }
        _ => {}
    }
    limits
}

/// Whether the calling thread has `CAP_IPC_LOCK`.
fn may_lock_memory() -> bool {
    let header = [linux::_LINUX_CAPABILITY_VERSION_3, 0];
    // Effective, permitted, inheritable; twice, for the lower and the upper half.
    let mut sets = [0_u32; 6];
    let arguments = [header.as_ptr() as u64, sets.as_mut_ptr() as u64];
    // SAFETY: header and sets live across the call and have the sizes that the version says.
    let _ = unsafe { raw(linux::__NR_capget, arguments) };
    sets[0] & 1 << linux::CAP_IPC_LOCK != 0
}

/// Changes the soft and the hard limit of open files.
///
/// # Errors
/// The kernel's.
pub fn set_file_limit(limit: [u64; 2]) -> Result<(), Errno> {
    let arguments = [0, u64::from(linux::RLIMIT_NOFILE), limit.as_ptr() as u64, 0];
    // SAFETY: the limit lives across the call, which only reads it.
    unsafe { checked(linux::__NR_prlimit64, arguments) }.map(drop)
}

/// Names the calling thread, and the process if it is the first one. The name ends with its first zero.
pub fn set_name(name: &[u8; 16]) {
    let mut name = *name;
    name[15] = 0;
    // SAFETY: the name lives across the call and ends with a zero.
    let _ = unsafe { raw(linux::__NR_prctl, [prctl::PR_SET_NAME.into(), name.as_ptr() as u64]) };
}

/// Has the kernel kill this process when its parent ends.
pub fn end_with_parent() {
    // SAFETY: no pointers.
    let _ = unsafe { raw(linux::__NR_prctl, [prctl::PR_SET_PDEATHSIG.into(), linux::SIGKILL.into()]) };
}

/// Maps fresh anonymous memory of the stub; the kernel chooses the place.
///
/// # Errors
/// The kernel's.
pub fn map_anonymous(length: u64) -> Result<u64, Errno> {
    const FLAGS: u32 = linux::MAP_PRIVATE | linux::MAP_ANONYMOUS | linux::MAP_NORESERVE;
    const READ_WRITE: u32 = linux::PROT_READ | linux::PROT_WRITE;
    // SAFETY: new memory at an address that the kernel chooses takes nothing away.
    unsafe { checked(linux::__NR_mmap, [0, length, READ_WRITE.into(), FLAGS.into(), u64::MAX, 0]) }
}

/// A segment register, by the code of `arch_prctl` that asks for its base.
#[derive(Clone, Copy)]
#[repr(u64)]
pub enum Segment {
    /// FS, by which C libraries find what is a thread's own.
    Fs = ARCH_GET_FS,
    /// GS, which is the program's to use.
    Gs = ARCH_GET_GS,
}

/// A segment base of the calling thread.
pub fn segment_base(segment: Segment) -> u64 {
    let mut base = 0_u64;
    // SAFETY: the base lives across the call, which writes it.
    let _ = unsafe { raw(linux::__NR_arch_prctl, [segment as u64, &raw mut base as u64]) };
    base
}

/// CPU time of the calling thread in nanoseconds.
pub fn thread_cpu_nanoseconds() -> u64 {
    let mut time = [0_u64; 2];
    let clock = u64::from(linux::CLOCK_THREAD_CPUTIME_ID);
    // SAFETY: the time lives across the call, which writes it.
    let _ = unsafe { raw(linux::__NR_clock_gettime, [clock, (&raw mut time) as u64]) };
    time[0] * 1_000_000_000 + time[1]
}

/// Waits until a word of the stub is woken, if it still has this value. May end for other reasons.
pub fn futex_wait(word: &AtomicU32, value: u32) {
    let word = core::ptr::from_ref(word) as u64;
    let operation = u64::from(linux::FUTEX_WAIT) | FUTEX_PRIVATE;
    // SAFETY: the word lives across the call, which only reads it.
    let _ = unsafe { raw(linux::__NR_futex, [word, operation, value.into(), 0]) };
}

/// Wakes one waiter on a word of the stub.
pub fn futex_wake(word: &AtomicU32) {
    let word = core::ptr::from_ref(word) as u64;
    let operation = u64::from(linux::FUTEX_WAKE) | FUTEX_PRIVATE;
    // SAFETY: waking a private futex uses the address as a key and touches no memory.
    let _ = unsafe { raw(linux::__NR_futex, [word, operation, 1]) };
}

/// Writes to standard error, as much as it takes at once.
pub fn write_error(text: &[u8]) {
    // SAFETY: the text lives across the call, which only reads it.
    let _ = unsafe { raw(linux::__NR_write, [2, text.as_ptr() as u64, text.len() as u64]) };
}

/// Sends all bytes on a stream socket, without SIGPIPE.
///
/// # Errors
/// The kernel's.
pub fn send_all(socket: i32, mut bytes: &[u8]) -> Result<(), Errno> {
    while !bytes.is_empty() {
        let (from, length) = (bytes.as_ptr() as u64, bytes.len() as u64);
        let arguments = [socket as u64, from, length, net::MSG_NOSIGNAL.into(), 0, 0];
        // SAFETY: the bytes live across the call, which only reads them.
        match unsafe { checked(linux::__NR_sendto, arguments) } {
            Ok(sent) => bytes = &bytes[(sent as usize).min(bytes.len())..],
            Err(Errno::EINTR) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Fills the buffer from a stream socket.
///
/// # Errors
/// The kernel's; `EPIPE` at the end of the stream.
pub fn receive_all(socket: i32, buffer: &mut [u8]) -> Result<(), Errno> {
    let mut filled = 0;
    while filled < buffer.len() {
        let rest = &mut buffer[filled..];
        let (to, length) = (rest.as_mut_ptr() as u64, rest.len() as u64);
        let arguments = [socket as u64, to, length, net::MSG_WAITALL.into(), 0, 0];
        // SAFETY: the buffer lives across the call, which writes no more than its length.
        match unsafe { checked(linux::__NR_recvfrom, arguments) } {
            Ok(0) => return Err(Errno::EPIPE),
            Ok(received) => filled += received as usize,
            Err(Errno::EINTR) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
