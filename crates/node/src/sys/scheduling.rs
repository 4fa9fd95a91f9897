//! Urgency of threads: a page fault must not wait for a processor behind the program that it belongs to.

use banyan_sys::raw::call;
use linux_raw_sys::general as linux;

/// How urgent the calling thread has become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Urgency {
    /// It runs before every ordinary thread (SCHED_FIFO).
    RealTime,
    /// It has a higher weight than ordinary threads.
    Weighted,
    /// Neither was allowed.
    Ordinary,
}

/// Makes the calling thread as urgent as the system allows. For threads that block nearly always.
pub(crate) fn make_urgent() -> Urgency {
    const SCHED_FIFO: u64 = 1;
    /// Children of the thread are ordinary again.
    const SCHED_RESET_ON_FORK: u64 = 0x4000_0000;
    const NICE: u64 = -10_i64 as u64;
    let priority = 1_i32;
    let parameters = [0, SCHED_FIFO | SCHED_RESET_ON_FORK, &raw const priority as u64, 0, 0, 0];
    // SAFETY: the kernel reads one `struct sched_param`, which is one integer.
    if unsafe { call(linux::__NR_sched_setscheduler, parameters) }.is_ok() {
        return Urgency::RealTime;
    }
    // SAFETY: no pointers.
    if unsafe { call(linux::__NR_setpriority, [0, 0, NICE]) }.is_ok() {
        return Urgency::Weighted;
    }
    Urgency::Ordinary
}
