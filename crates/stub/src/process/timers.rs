//! Timers that run by processor time of the program, which is a sum over the nodes: the home daemon knows
//! which these are, keeps them, and has the service thread raise their signals.
//!
//! The kernel has a timer of its own for each that timer_create(2) makes: it gives the number and checks what
//! is asked for. That one is never set.
//!
//! Not here: other timers, and those of a process on one node. They are the kernel's.

use crate::daemon::{requests, settings};
use crate::kernel;
use crate::memory::copy::{self, ProgramAddress};
use crate::signal::frame::SignalInformation;
use crate::thread::Thread;
use crate::trap::arguments::ProgramArguments;
use banyan_sys::raw::Errno;
use banyan_wire::stub::{Answer, Raise, Request, TimerCall};
use core::sync::atomic::{AtomicBool, Ordering};
use linux_raw_sys::general as linux;

/// Whether there ever was one with a number: otherwise the kernel has all that have one.
static ANY: AtomicBool = AtomicBool::new(false);

/// A call about a timer.
pub fn call(thread: &Thread, number: u32, arguments: &ProgramArguments) -> i64 {
    kept(thread, number, arguments).unwrap_or_else(Errno::negated)
}

fn kept(thread: &Thread, number: u32, arguments: &ProgramArguments) -> Result<i64, Errno> {
    // SAFETY: the program's own call.
    let kernels = || unsafe { kernel::raw(number, **arguments) };
    let [first, second, third, fourth, ..] = **arguments;
    let creates = number == linux::__NR_timer_create;
    // What the call reads, and what it writes.
    let (reads, writes) = match number {
        linux::__NR_timer_settime => (third, fourth),
        linux::__NR_setitimer => (second, third),
        linux::__NR_timer_create => (second, 0),
        linux::__NR_timer_delete | linux::__NR_timer_getoverrun => (0, 0),
        _ => (0, second),
    };
    let is_interval =
        matches!(number, linux::__NR_setitimer | linux::__NR_getitimer) && first as u32 != linux::ITIMER_REAL;
    if settings::is_alone() || !(is_interval || creates || ANY.load(Ordering::Relaxed)) {
        return Ok(kernels());
    }
    let read = if reads == 0 { [0; 4] } else { copy::load(ProgramAddress(reads))? };
    let mut timer = first as u32;
    if creates {
        let made = kernels();
        if made < 0 {
            return Ok(made);
        }
        timer = copy::load(ProgramAddress(third))?;
    }
    let thread = thread.thread_id.load(Ordering::Relaxed);
    let call = TimerCall { number, timer, thread, clock: first as u32, second, third, read };
    match requests::ask(&Request::Timer(call)) {
        Answer::Timer(state) if creates || state.result < 0 => {
            ANY.store(true, Ordering::Relaxed);
            Ok(state.result)
        }
        Answer::Timer(state) if number != linux::__NR_timer_delete => {
            if writes != 0 {
                copy::store(ProgramAddress(writes), &state.was)?;
            }
            Ok(state.result)
        }
        _ if creates => Ok(0),
        _ => Ok(kernels()),
    }
}

/// A signal was taken. If it is that of a timer which the daemon keeps, it tells how often that was due
/// while the signal waited.
pub fn count(information: &mut SignalInformation) {
    if information.code != linux::SI_TIMER || !ANY.load(Ordering::Relaxed) {
        return;
    }
    let (number, timer) = (linux::__NR_timer_getoverrun, information.sender());
    let read = TimerCall::SIGNAL_TAKEN;
    let call = TimerCall { number, timer, thread: 0, clock: 0, second: 0, third: 0, read };
    if let Answer::Timer(state) = requests::ask(&Request::Timer(call)) {
        information.address = u64::from(timer) | (state.result as u64) << 32;
    }
}

/// Raises a timer's signal, as the kernel does.
pub fn raise(raise: &Raise) {
    let mut information = [0; 16];
    information[..4].copy_from_slice(&raise.information);
    let (process, signal) = (u64::from(kernel::process_id()), u64::from(information[0] as u32));
    let from = information.as_ptr() as u64;
    let (number, arguments) = if raise.to == 0 {
        (linux::__NR_rt_sigqueueinfo, [process, signal, from, 0])
    } else {
        (linux::__NR_rt_tgsigqueueinfo, [process, raise.to, signal, from])
    };
    // SAFETY: the information lives across the call, which only reads it.
    let _ = unsafe { kernel::raw(number, arguments) };
}
