//! Stops a thread of the program that runs at home between two of its instructions, so that it can move.
//!
//! At home most calls go straight to the kernel, and a signal would end some of those that wait with EINTR.
//! So a timer on the thread's own user time stops it: the kernel looks for such timers when a tick finds the
//! thread, and sends the signal on the thread's way back to the program, never into a call
//! (`CONFIG_POSIX_CPU_TIMERS_TASK_WORK`, all of x86-64 since Linux 5.11).

use crate::kernel;
use crate::signal::SIGSYS;
use crate::signal::frame::SignalInformation;
use crate::thread::Thread;
use banyan_sys::raw::Errno;
use core::sync::atomic::Ordering;
use linux_raw_sys::general as linux;

/// The value of the timer that stops a thread: no timer of the program's has it but by its own wish.
const STOP: u64 = u64::from_be_bytes(*b"\0banyan\0");

/// Stops the thread, which has this id here, when it next runs the program: with SIGSYS, which the program
/// never blocks in the kernel.
///
/// # Errors
/// The kernel's, if the process has no timer left.
pub fn stop(thread: &Thread, id: u32) -> Result<(), Errno> {
    if thread.stopper.load(Ordering::Relaxed) == 0 {
        /// `CPUCLOCK_PERTHREAD_MASK | CPUCLOCK_VIRT`: the user time of the thread whose id, negated, stands
        /// before it.
        const USER_TIME_OF_THREAD: i32 = 4 | 1;
        const SIGEV_THREAD_ID: u64 = linux::SIGEV_THREAD_ID as u64;
        let clock = (!(id as i32) << 3 | USER_TIME_OF_THREAD) as u64;
        // `struct sigevent`: value, signal and way in one word, thread.
        let mut event = [0_u64; 8];
        (event[0], event[1], event[2]) = (STOP, SIGEV_THREAD_ID << 32 | SIGSYS, id.into());
        let mut timer = 0_u32;
        let arguments = [clock, event.as_ptr() as u64, &raw mut timer as u64];
        // SAFETY: event and id live across the call, which reads the one and writes the other.
        match unsafe { kernel::checked(linux::__NR_timer_create, arguments) } {
            Ok(_) => {}
            // The thread has just ended.
            Err(Errno::EINVAL) => return Ok(()),
            Err(error) => return Err(error),
        }
        thread.stopper.store(timer + 1, Ordering::Relaxed);
    }
    again(thread);
    Ok(())
}

/// Stops the thread once more, at another instruction.
pub fn again(thread: &Thread) {
    set(thread, 1);
}

/// Stops the thread no more.
pub fn never(thread: &Thread) {
    set(thread, 0);
}

/// Has the timer stop the thread after this much of its user time; never, if it is 0.
fn set(thread: &Thread, nanoseconds: u64) {
    let Some(timer) = thread.stopper.load(Ordering::Relaxed).checked_sub(1) else { return };
    // Interval and value.
    let time = [0, 0, 0, nanoseconds];
    // SAFETY: the time lives across the call, which only reads it.
    let _ = unsafe { kernel::raw(linux::__NR_timer_settime, [timer.into(), 0, time.as_ptr() as u64, 0]) };
}

/// The OS thread ends, and with it its timer.
pub fn forget(thread: &Thread) {
    if let Some(timer) = thread.stopper.swap(0, Ordering::Relaxed).checked_sub(1) {
        // SAFETY: no pointers.
        let _ = unsafe { kernel::raw(linux::__NR_timer_delete, [timer.into()]) };
    }
}

/// Whether a SIGSYS comes from the timer.
pub const fn is_stop(information: &SignalInformation) -> bool {
    /// `SI_TIMER`.
    const FROM_TIMER: i32 = linux::SI_TIMER;
    information.code == FROM_TIMER && information.value() == STOP
}
