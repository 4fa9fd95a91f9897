//! A thread that sleeps nearly always and should run at once when it wakes, however busy the processors are.

use std::ptr::addr_of;

/// A slice of a tenth of a millisecond, the shortest that the kernel gives.
const SLICE_NS: u64 = 100_000;

/// What `sched_setattr(2)` reads.
#[repr(C)]
struct Attributes {
    size: u32,
    policy: u32,
    flags: u64,
    nice: i32,
    priority: u32,
    runtime: u64,
    deadline: u64,
    period: u64,
}

/// Gives the calling thread a short slice: among threads of the same weight the scheduler prefers the one
/// whose slice ends first (Linux 6.12; Documentation/scheduler/sched-eevdf.rst), and its share stays what it
/// is. Older kernels ignore it, and who may not ask goes on as before.
pub(crate) fn run_soon_after_waking() {
    // SAFETY: takes and gives numbers.
    let nice = unsafe { libc::getpriority(libc::PRIO_PROCESS, 0) };
    let size = u32::try_from(size_of::<Attributes>()).unwrap_or(0);
    let policy = libc::SCHED_OTHER.unsigned_abs();
    let attributes =
        Attributes { size, policy, flags: 0, nice, priority: 0, runtime: SLICE_NS, deadline: 0, period: 0 };
    // SAFETY: the kernel reads as many bytes as the attributes say that they have.
    unsafe { libc::syscall(libc::SYS_sched_setattr, 0, addr_of!(attributes), 0) };
}
