//! The kernel's part of a call channel: futexes, robust words, the counter of the processor, and
//! the few requests a client makes while it waits.
//!
//! For code that may run in a signal handler of any program: nothing here allocates,
//! takes a lock or writes `errno`. Not for process creation; see [`crate::sys::process`].

use banyan_sys::raw::syscall;
use core::arch::asm;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// Set by the kernel in a robust word whose owner has ended.
pub(crate) const OWNER_DIED: u32 = libc::FUTEX_OWNER_DIED;
/// Set in a word by a thread that sleeps on it.
pub(crate) const WAITERS: u32 = libc::FUTEX_WAITERS;
/// The bits of a robust word that hold a thread id.
pub(crate) const THREAD_MASK: u32 = libc::FUTEX_TID_MASK;

/// Sleeps while `word` holds `expected`, for at most `timeout_ns` nanoseconds.
///
/// Returns when woken, when the word differs, at the time-out and at signals: look at the word again.
pub fn futex_wait(word: &AtomicU32, expected: u32, timeout_ns: u64) {
    let timeout = [timeout_ns / 1_000_000_000, timeout_ns % 1_000_000_000];
    // SAFETY: the word and the timeout outlive the call, which only reads them.
    let _ = unsafe {
        syscall(
            libc::SYS_futex as u32,
            [word.as_ptr() as u64, libc::FUTEX_WAIT as u64, expected.into(), timeout.as_ptr() as u64, 0, 0],
        )
    };
}

/// Wakes up to `count` sleepers on `word`, in any process.
pub fn futex_wake(word: &AtomicU32, count: u32) {
    // SAFETY: a wake reads nothing but the address.
    let _ = unsafe {
        syscall(
            libc::SYS_futex as u32,
            [word.as_ptr() as u64, libc::FUTEX_WAKE as u64, count.into(), 0, 0, 0],
        )
    };
}

/// A word that the kernel marks with [`OWNER_DIED`] when the thread whose id it holds ends.
///
/// The distance between the word and the list node is the C library's, so the node can join the
/// list that the C library has registered for the thread.
#[repr(C, align(8))]
#[derive(Debug)]
pub(crate) struct RobustWord {
    /// The word: a thread id, a sequence number, or a death notice.
    pub(crate) word: AtomicU32,
    /// For the owner's own purpose: it lies on the word's cache line.
    pub(crate) beside: AtomicU32,
    reserved: [AtomicU32; 4],
    previous: AtomicU64,
    next: AtomicU64,
}

/// Puts words on the calling thread's robust list; the first is looked at first when it ends.
///
/// Returns false when the C library registered no list, or one of another layout.
///
/// # Safety
/// The words must stay mapped at the same address until the thread has ended, and no other thread
/// may put them on a list.
#[must_use]
pub(crate) unsafe fn join_robust_list(words: &[&RobustWord]) -> bool {
    #[repr(C)]
    struct Head {
        next: u64,
        offset: i64,
        pending: u64,
    }
    let mut head: *mut Head = core::ptr::null_mut();
    let mut length = 0_usize;
    // SAFETY: the kernel writes the two words given to it.
    let result = unsafe {
        syscall(
            libc::SYS_get_robust_list as u32,
            [0, (&raw mut head) as u64, (&raw mut length) as u64, 0, 0, 0],
        )
    };
    if result != 0 || head.is_null() || length != size_of::<Head>() {
        return false;
    }
    // SAFETY: the head belongs to this thread; nothing else writes it meanwhile.
    unsafe {
        if (*head).offset != -32 {
            return false;
        }
        for word in words.iter().rev() {
            let node = word.next.as_ptr() as u64;
            let first = (*head).next;
            word.next.store(first, Ordering::SeqCst);
            word.previous.store(head as u64, Ordering::SeqCst);
            core::ptr::write_volatile(&raw mut (*head).next, node);
        }
    }
    true
}

/// The calling thread's id.
#[must_use]
pub fn thread_id() -> u32 {
    // SAFETY: gettid has no arguments and no effects.
    unsafe { syscall(libc::SYS_gettid as u32, []) as u32 }
}

/// A number that differs between the living threads of this process: the thread pointer.
#[inline]
#[must_use]
pub(crate) fn thread_pointer() -> u64 {
    let pointer: u64;
    // SAFETY: on x86-64 the first word of the thread control block holds its own address.
    unsafe { asm!("mov {}, fs:0", out(reg) pointer, options(nostack, preserves_flags, readonly)) };
    pointer
}

/// The stack pointer of the caller, near enough to order frames.
#[inline(always)]
#[must_use]
pub(crate) fn stack_pointer() -> u64 {
    let pointer: u64;
    // SAFETY: reads a register.
    unsafe { asm!("mov {}, rsp", out(reg) pointer, options(nostack, nomem, preserves_flags)) };
    pointer
}

/// The processor's time-stamp counter.
#[inline]
#[must_use]
pub fn counter() -> u64 {
    // SAFETY: rdtsc is allowed to every process unless it asked for the contrary.
    unsafe { core::arch::x86_64::_rdtsc() }
}

/// Monotonic time in nanoseconds.
#[must_use]
pub(crate) fn now_ns() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the kernel, or its vDSO, writes the struct; clock_gettime is async-signal-safe.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// Ticks of the counter in a microsecond, measured once.
pub fn ticks_per_us() -> u64 {
    static TICKS: AtomicU64 = AtomicU64::new(0);
    let known = TICKS.load(Ordering::Relaxed);
    if known != 0 {
        return known;
    }
    let (start, ticks) = (now_ns(), counter());
    while now_ns() - start < 1_000_000 {
        std::hint::spin_loop();
    }
    let value = ((counter() - ticks) / ((now_ns() - start) / 1000).max(1)).max(1);
    TICKS.store(value, Ordering::Relaxed);
    value
}

/// Processor time that process `process` has used, in nanoseconds, or `None` when it is gone.
#[must_use]
pub fn process_cpu_ns(process: u32) -> Option<u64> {
    let mut time = [0_u64; 2];
    let clock = (!i64::from(process) << 3) | 2;
    // SAFETY: the kernel writes the two words.
    let result = unsafe { syscall(libc::SYS_clock_gettime as u32, [clock as u64, time.as_mut_ptr() as u64]) };
    (result == 0).then(|| time[0] * 1_000_000_000 + time[1])
}

/// The processor that runs the caller.
#[must_use]
pub fn current_processor() -> u32 {
    // SAFETY: no arguments; served by the C library's rseq area without a system call.
    unsafe { libc::sched_getcpu() as u32 }
}

/// The processors that a thread may use, bit by bit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Processors([u64; 16]);

impl Processors {
    /// Those of the calling thread; all, if the kernel does not say.
    #[must_use]
    pub fn of_this_thread() -> Self {
        let mut mask = [0_u64; 16];
        // SAFETY: the kernel writes at most 128 bytes of the mask.
        let written =
            unsafe { syscall(libc::SYS_sched_getaffinity as u32, [0, 128, mask.as_mut_ptr() as u64]) };
        if written > 0 { Self(mask) } else { Self([u64::MAX; 16]) }
    }

    /// Has the calling thread use these, as far as there are such.
    pub fn take(&self) {
        self.give(0);
    }

    /// Has `thread` (of any process of this user) use these, as far as there are such.
    pub fn give(&self, thread: u32) {
        let mask = self.0.as_ptr() as u64;
        // SAFETY: the kernel reads the mask.
        let _ = unsafe { syscall(libc::SYS_sched_setaffinity as u32, [thread.into(), 128, mask]) };
    }
}

/// Restricts thread `thread` (of any process of this user) to one processor.
pub fn place_thread(thread: u32, processor: u32) {
    let mut mask = [0_u64; 16];
    if let Some(word) = mask.get_mut(processor as usize / 64) {
        *word = 1 << (processor % 64);
        Processors(mask).give(thread);
    }
}

/// Sends `signal` to process `process`; 0 only asks whether it exists. Returns whether it does.
pub(crate) fn signal_process(process: u32, signal: i32) -> bool {
    if process <= 1 {
        return false;
    }
    // SAFETY: a signal to another process has no effect on this one's memory.
    unsafe { syscall(libc::SYS_kill as u32, [process.into(), signal as u64]) == 0 }
}

/// Whether process `process` has ended, collected by its parent or not. When the kernel will not
/// say (no descriptors left), the answer is no.
#[must_use]
pub(crate) fn process_has_ended(process: u32) -> bool {
    // SAFETY: opens a descriptor, asks whether it is readable, and closes it; no memory but the
    // local `poll` is touched.
    unsafe {
        let descriptor = syscall(libc::SYS_pidfd_open as u32, [process.into(), 0]);
        if descriptor < 0 {
            return descriptor == -i64::from(libc::ESRCH);
        }
        let mut poll = libc::pollfd { fd: descriptor as i32, events: libc::POLLIN, revents: 0 };
        let ready = syscall(libc::SYS_poll as u32, [(&raw mut poll) as u64, 1, 0]);
        let _ = syscall(libc::SYS_close as u32, [descriptor as u64]);
        ready == 1
    }
}

/// Whether thread `thread` of the calling process is alive.
#[must_use]
pub(crate) fn thread_lives(thread: u32) -> bool {
    // SAFETY: getpid has no arguments and no effects.
    is_thread_of(unsafe { syscall(libc::SYS_getpid as u32, []) as u32 }, thread)
}

/// Whether `thread` is alive, and one of process `process`.
#[must_use]
pub(crate) fn is_thread_of(process: u32, thread: u32) -> bool {
    // SAFETY: signal 0 is never delivered.
    unsafe { syscall(libc::SYS_tgkill as u32, [process.into(), thread.into(), 0]) == 0 }
}

/// Copies between two ranges of the calling process, by the kernel, which reports bad addresses
/// instead of faulting. Returns the bytes copied.
///
/// # Safety
/// Memory at `to` is overwritten: it must be memory that the caller may change.
#[must_use]
pub(crate) unsafe fn copy_checked(from: u64, to: u64, length: usize) -> usize {
    let local = [to, length as u64];
    let remote = [from, length as u64];
    // SAFETY: the vectors outlive the call; the kernel checks both ranges.
    let copied = unsafe {
        let process = syscall(libc::SYS_getpid as u32, []) as u64;
        syscall(
            libc::SYS_process_vm_readv as u32,
            [process, local.as_ptr() as u64, 1, remote.as_ptr() as u64, 1, 0],
        )
    };
    copied.max(0) as usize
}

/// Copies pages of the calling process to others that follow each other from `to` on, as [`copy_checked`]
/// does: those of `addresses` whose bits are set in `wanted`. Returns the bits of those that were mapped.
///
/// # Safety
/// As many pages at `to` as there are bits must be memory that the caller may change.
#[must_use]
pub(crate) unsafe fn copy_pages_checked(addresses: &[u64; 64], wanted: u64, to: u64) -> u64 {
    const PAGE: u64 = 4096;
    let (mut left, mut there) = (wanted, 0_u64);
    while left != 0 {
        let mut remote = [[0_u64; 2]; 64];
        let mut count = 0;
        for number in (0..64).filter(|number| left >> number & 1 != 0) {
            remote[count] = [addresses[number], PAGE];
            count += 1;
        }
        let local = [to + u64::from(there.count_ones()) * PAGE, count as u64 * PAGE];
        // SAFETY: the vectors outlive the call; the kernel checks the ranges it reads.
        let copied = unsafe {
            let process = syscall(libc::SYS_getpid as u32, []) as u64;
            let (local, remote) = (local.as_ptr() as u64, remote.as_ptr() as u64);
            syscall(libc::SYS_process_vm_readv as u32, [process, local, 1, remote, count as u64, 0])
        };
        // Whole pages, up to the first that is not mapped.
        for _ in 0..copied.max(0) as u64 / PAGE {
            let first = left & left.wrapping_neg();
            there |= first;
            left &= !first;
        }
        left &= left.wrapping_sub(1);
    }
    there
}

/// Writes `pieces` of this process's memory over others of the same lengths, by the kernel, which
/// reports bad addresses instead of faulting. Each piece is (from, to, length). Returns the bytes written.
///
/// # Safety
/// Memory at each `to` is overwritten: it must be memory that the caller may change.
#[must_use]
pub(crate) unsafe fn write_checked(pieces: &[(u64, u64, u64)]) -> usize {
    const VECTOR_MAX: usize = 64;
    let mut written = 0;
    for pieces in pieces.chunks(VECTOR_MAX) {
        let mut local = [[0_u64; 2]; VECTOR_MAX];
        let mut remote = [[0_u64; 2]; VECTOR_MAX];
        for (index, &(from, to, length)) in pieces.iter().enumerate() {
            local[index] = [from, length];
            remote[index] = [to, length];
        }
        let count = pieces.len() as u64;
        // SAFETY: the vectors outlive the call; the kernel checks every range.
        let result = unsafe {
            let process = syscall(libc::SYS_getpid as u32, []) as u64;
            syscall(
                libc::SYS_process_vm_writev as u32,
                [process, local.as_ptr() as u64, count, remote.as_ptr() as u64, count, 0],
            )
        };
        written += result.max(0) as usize;
    }
    written
}
