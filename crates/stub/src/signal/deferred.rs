//! Signals with the numbers of faults that somebody sent (`raise`, `kill`, `sigqueue`).
//!
//! The stub cannot block SIGSEGV and SIGBUS, for its copies of program memory may fault; and it never blocks
//! SIGSYS while the program runs. So one that is sent may arrive while it cannot be delivered. It is kept
//! with the thread, which gives it to the kernel again before it continues the program: the kernel then does
//! with it what it does with any signal, and one that was sent to the process may be another thread's.
//!
//! From the moment at which a thread has looked for what is kept until it continues the program it touches no
//! program memory. What comes in between goes back to the kernel at once, and everything is blocked until the
//! kernel has the program's mask again: kept, it would stay for as long as the program's next call waits.

use crate::kernel::{self, MaskChange};
use crate::lock::Lock;
use crate::signal::frame::{SignalInformation, UserContext};
use crate::signal::mask::Copies;
use crate::signal::pending::NUMBERS;
use crate::signal::{self, SIGSYS, mask};
use crate::thread::{Role, Thread, block};
use core::cell::{Cell, UnsafeCell};
use core::sync::atomic::{AtomicU64, Ordering, compiler_fence};
use linux_raw_sys::general as linux;
use zerocopy::FromZeros;

/// What the kernel cannot keep of signals that were sent to the process: a SIGSYS that every thread blocks;
/// and of the others, while the kernel has them again, who sent them if it was another process.
static PROCESS: ForProcess = ForProcess {
    lock: Lock::new(),
    kept: AtomicU64::new(0),
    information: UnsafeCell::new([None; NUMBERS.len()]),
};

struct ForProcess {
    lock: Lock,
    /// The signals of which there is something, as a mask.
    kept: AtomicU64,
    information: UnsafeCell<[Option<SignalInformation>; NUMBERS.len()]>,
}

// SAFETY: the information is touched under the lock only.
unsafe impl Sync for ForProcess {}

impl ForProcess {
    fn holds(&self, signal: u64) -> bool {
        mask::holds(self.kept.load(Ordering::Relaxed), signal)
    }

    /// Puts what there is of a signal in the place of what there was.
    fn replace(&self, signal: u64, information: Option<SignalInformation>) -> Option<SignalInformation> {
        let index = NUMBERS.iter().position(|&number| number == signal)?;
        let _guard = self.lock.lock();
        let others = self.kept.load(Ordering::Relaxed) & !signal::bit(signal);
        let own = if information.is_some() { signal::bit(signal) } else { 0 };
        self.kept.store(others | own, Ordering::Relaxed);
        // SAFETY: the lock is held.
        let slots = unsafe { &mut *self.information.get() };
        core::mem::replace(&mut slots[index], information)
    }
}

/// In a copy of the process: what is pending for the other one is not for it.
pub fn begin_copy() {
    PROCESS.lock.free();
    PROCESS.kept.store(0, Ordering::Relaxed);
}

/// What is kept for the thread and for the process, as a mask.
pub fn pending(thread: &Thread) -> u64 {
    thread.deferred.bits() | (PROCESS.kept.load(Ordering::Relaxed) & signal::bit(SIGSYS))
}

/// Keeps a signal that came while the thread was in the stub. If the thread has looked already, the signal
/// goes back to the kernel.
pub fn keep(thread: &Thread, information: &SignalInformation, context: &mut UserContext) {
    thread.deferred.keep(information.signal as u64, information);
    // A carrier always touches program memory; nothing of the program's is sent to it.
    let is_at_home = matches!(thread.role(), Role::Home | Role::Deputy | Role::Child);
    if is_at_home && thread.copies.load(Ordering::Relaxed) != Copies::Made as u32 {
        release(thread);
        thread.copies.store(Copies::DoneAndBlocked as u32, Ordering::Relaxed);
        context.mask = !0;
    }
}

/// The thread cannot take a SIGSYS that the kernel gave it, for the program blocks it there. If it was sent
/// to the process, another thread gets it, now or when one no longer blocks it.
pub fn pass_on(thread: &Thread, information: &SignalInformation) {
    if is_for_process(information) {
        let _ = PROCESS.replace(SIGSYS, Some(*information));
    } else if information.code != TOKEN {
        return thread.deferred.keep(SIGSYS, information);
    }
    let takes =
        |other: &&Thread| matches!(other.role(), Role::Home | Role::Deputy) && blocked_sigsys(other) == 0;
    if PROCESS.holds(SIGSYS)
        && let Some(other) = block::all().find(takes)
    {
        send_token(other.thread_id.load(Ordering::Relaxed));
    }
}

/// Tells a thread that there is a SIGSYS for the process. What is for the process stays there until the token
/// comes: the kernel drops one that is sent while another SIGSYS of the thread is pending.
fn send_token(thread: u32) {
    let mut token = SignalInformation::new_zeroed();
    (token.signal, token.code) = (SIGSYS as i32, TOKEN);
    send_to_thread(thread, &token);
}

/// What a signal that came stands for: the one for the process, if a thread of ours passed it on. `None` if
/// another thread was faster.
pub fn passed_on(signal: u64, information: &SignalInformation) -> Option<SignalInformation> {
    let is_token = information.code == TOKEN;
    let may_be = is_token || (information.code == SENT_BY_KILL && is_own(information));
    let kept = if may_be && PROCESS.holds(signal) { PROCESS.replace(signal, None) } else { None };
    kept.or(Some(*information).filter(|_| !is_token))
}

/// Gives the kernel again what is kept, unless it is SIGSYS and the program blocks it. For the end of a
/// handler of the stub: from here on the thread must not touch program memory.
pub fn release(thread: &Thread) {
    thread.copies.store(Copies::Done as u32, Ordering::Relaxed);
    // What comes before this is seen below; what comes after it sees the store.
    compiler_fence(Ordering::SeqCst);
    let held = blocked_sigsys(thread);
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
    if held == 0 && PROCESS.holds(SIGSYS) {
        send_token(kernel::thread_id());
    }
}

/// The bit of SIGSYS if the program blocks it in the thread.
fn blocked_sigsys(thread: &Thread) -> u64 {
    match thread.role() {
        Role::Home => thread.sigsys_blocked.load(Ordering::Relaxed),
        Role::Deputy => thread.mask.load(Ordering::Relaxed) & signal::bit(SIGSYS),
        // What is kept for the process is not the child's.
        Role::Child => signal::bit(SIGSYS),
        Role::Carrier | Role::Service => 0,
    }
}

/// The thread ends: what it keeps for the process is another thread's, and nothing comes to it any more.
pub fn leave_to_others(thread: &Thread) {
    kernel::set_mask(MaskChange::Set, !0);
    let kept = thread.deferred.0.iter().filter_map(Cell::take);
    kept.filter(is_for_process).for_each(|information| send_again(&information));
}

/// Whether a signal was sent to the process and not to one of its threads, as far as its code tells.
const fn is_for_process(information: &SignalInformation) -> bool {
    matches!(information.code, SENT_BY_KILL | linux::SI_QUEUE)
}

/// In a SIGSYS to a thread: there is one for the process. A code that no sender but this one uses, of those
/// that the kernel lets a process give to its other threads.
const TOKEN: i32 = i32::MIN;
/// `SI_USER`.
const SENT_BY_KILL: i32 = linux::SI_USER as i32;

fn is_own(information: &SignalInformation) -> bool {
    information.sender() == kernel::process_id()
}

/// Gives the kernel a signal that it had delivered to this thread: to the process if it was sent to the
/// process. What another process sent by `kill` can be given to oneself only, so it stays with the thread,
/// unless it has the number of a fault: then it is told to the thread that takes the process's own signal.
pub fn send_again(information: &SignalInformation) {
    let signal = information.signal as u64;
    let by_another = information.code == SENT_BY_KILL && !is_own(information);
    if !is_for_process(information) || (by_another && !NUMBERS.contains(&signal)) {
        return send_to_thread(kernel::thread_id(), information);
    }
    if by_another {
        let _ = PROCESS.replace(signal, Some(*information));
    }
    give_back(information);
}

/// Gives the process a signal that was sent to it, whichever thread takes it.
pub fn give_back(information: &SignalInformation) {
    let (process, signal) = (u64::from(kernel::process_id()), information.signal as u64);
    let at = core::ptr::from_ref(information) as u64;
    // SAFETY: the information lives across the call, which only reads it; `kill` has no pointers.
    let _ = unsafe {
        match information.code {
            linux::SI_QUEUE => kernel::raw(linux::__NR_rt_sigqueueinfo, [process, signal, at]),
            SENT_BY_KILL => kernel::raw(linux::__NR_kill, [process, signal]),
            _ => 0,
        }
    };
}

fn send_to_thread(thread: u32, information: &SignalInformation) {
    let (process, thread) = (u64::from(kernel::process_id()), u64::from(thread));
    let at = core::ptr::from_ref(information) as u64;
    // SAFETY: the information lives across the call, which only reads it.
    let _ = unsafe {
        let signal = information.signal as u64;
        kernel::raw(linux::__NR_rt_tgsigqueueinfo, [process, thread, signal, at])
    };
}
