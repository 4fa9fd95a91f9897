//! Signals with the numbers of faults that somebody sent (`raise`, `kill`, `sigqueue`).
//!
//! The stub cannot block SIGSEGV and SIGBUS, for its copies of program memory may fault; and it never blocks
//! SIGSYS while the program runs. So one that is sent may arrive while it cannot be delivered. It is kept
//! with the thread, which gives it to the kernel again before it continues the program: the kernel then does
//! with it what it does with any signal.

use crate::kernel::{self, MaskChange};
use crate::lock::Lock;
use crate::signal::frame::SignalInformation;
use crate::signal::pending::NUMBERS;
use crate::signal::{self, SIGSYS};
use crate::thread::{Role, Thread, block};
use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicBool, Ordering};
use linux_raw_sys::general as linux;

/// A SIGSYS that was sent to the process while every thread blocked it.
static PROCESS: ForProcess =
    ForProcess { lock: Lock::new(), kept: AtomicBool::new(false), information: UnsafeCell::new(None) };

struct ForProcess {
    lock: Lock,
    /// Whether there is one.
    kept: AtomicBool,
    information: UnsafeCell<Option<SignalInformation>>,
}

// SAFETY: the information is touched under the lock only.
unsafe impl Sync for ForProcess {}

impl ForProcess {
    fn replace(&self, information: Option<SignalInformation>) -> Option<SignalInformation> {
        let _guard = self.lock.lock();
        self.kept.store(information.is_some(), Ordering::Relaxed);
        // SAFETY: the lock is held.
        unsafe { core::mem::replace(&mut *self.information.get(), information) }
    }
}

/// What is kept for the thread and for the process, as a mask.
pub fn pending(thread: &Thread) -> u64 {
    let process = PROCESS.kept.load(Ordering::Relaxed);
    thread.deferred.bits() | if process { signal::bit(SIGSYS) } else { 0 }
}

/// The thread cannot take a SIGSYS that the kernel gave it, for the program blocks it there. If it was sent
/// to the process, another thread gets it, now or when one no longer blocks it.
pub fn pass_on(thread: &Thread, information: &SignalInformation) {
    if !is_for_process(information) {
        return thread.deferred.keep(SIGSYS, information);
    }
    let takes = |other: &&Thread| match other.role() {
        Role::Home => other.sigsys_blocked.load(Ordering::Relaxed) == 0,
        Role::Deputy => other.mask.load(Ordering::Relaxed) & signal::bit(SIGSYS) == 0,
        Role::Carrier | Role::Service => false,
    };
    let _ = PROCESS.replace(Some(*information));
    if let Some(other) = block::all().find(takes) {
        kernel::signal_thread(other.thread_id.load(Ordering::Relaxed), SIGSYS);
    }
}

/// What a SIGSYS that came stands for: the one for the process, if another thread passed it on.
pub fn passed_on(signal: u64, information: &SignalInformation) -> SignalInformation {
    let kept =
        if signal == SIGSYS && PROCESS.kept.load(Ordering::Relaxed) { PROCESS.replace(None) } else { None };
    kept.unwrap_or(*information)
}

/// Gives the kernel again what is kept, unless it is SIGSYS and the program blocks it. For the end of a
/// handler of the stub: from here on the thread must not touch program memory.
pub fn release(thread: &Thread) {
    let held = thread.sigsys_blocked.load(Ordering::Relaxed);
    if pending(thread) & !held == 0 {
        return;
    }
    kernel::set_mask(MaskChange::Set, !0);
    for (slot, number) in thread.deferred.0.iter().zip(NUMBERS) {
        if held & signal::bit(number) == 0
            && let Some(information) = slot.take()
        {
            send_again(&information);
        }
    }
    if held == 0
        && let Some(information) = PROCESS.replace(None)
    {
        send_to_self(&information);
    }
}

/// Whether a signal was sent to the process and not to one of its threads, as far as its code tells.
const fn is_for_process(information: &SignalInformation) -> bool {
    matches!(information.code, SENT_BY_KILL | linux::SI_QUEUE)
}

/// `SI_USER`.
const SENT_BY_KILL: i32 = linux::SI_USER as i32;

/// Gives the kernel a signal that it had delivered to this thread: to the process if it was sent to the
/// process. A sender's code other than `sigqueue`'s can be given to oneself only, so what another process
/// sent by `kill` stays with the thread.
pub fn send_again(information: &SignalInformation) {
    let own = information.sender() == kernel::process_id();
    if information.code == linux::SI_QUEUE || (information.code == SENT_BY_KILL && own) {
        give_back(information);
    } else {
        send_to_self(information);
    }
}

/// Gives the process a signal that was sent to it, whichever thread takes it.
pub fn give_back(information: &SignalInformation) {
    let (process, signal) = (u64::from(kernel::process_id()), information.signal as u64);
    let at = core::ptr::from_ref(information) as u64;
    // SAFETY: the information lives across the call, which only reads it; `kill` has no pointers.
    let _ = unsafe {
        match information.code {
            linux::SI_QUEUE => kernel::raw(linux::__NR_rt_sigqueueinfo, [process, signal, at, 0, 0, 0]),
            SENT_BY_KILL => kernel::raw(linux::__NR_kill, [process, signal, 0, 0, 0, 0]),
            _ => 0,
        }
    };
}

fn send_to_self(information: &SignalInformation) {
    let (process, thread) = (u64::from(kernel::process_id()), u64::from(kernel::thread_id()));
    let at = core::ptr::from_ref(information) as u64;
    // SAFETY: the information lives across the call, which only reads it.
    let _ = unsafe {
        let signal = information.signal as u64;
        kernel::raw(linux::__NR_rt_tgsigqueueinfo, [process, thread, signal, at, 0, 0])
    };
}
