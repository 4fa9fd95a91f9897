//! Signal masks: the program's view of its own, and what the kernel gets of it.
//!
//! SIGSYS is never blocked in the kernel while the program runs: a trapped call of a thread that blocks it
//! would kill the process. That the program believes that it blocks SIGSYS is kept beside. On a carrier the
//! kernel's mask has nothing of the program's: signals for the thread arrive at home.

use crate::kernel::{self, MaskChange};
use crate::memory::copy::{self, ProgramAddress};
use crate::signal::action::{Action, SA_NODEFER};
use crate::signal::frame::UserContext;
use crate::signal::{self, MASK_BYTES, SIGBUS, SIGKILL, SIGSEGV, SIGSTOP, SIGSYS, SIGURG, SYNCHRONOUS};
use crate::thread::{Role, Thread};
use banyan_sys::raw::Errno;
use banyan_wire::syscalls::{self, MaskPointer};
use core::sync::atomic::Ordering;
use linux_raw_sys::general as linux;

/// What every carrier blocks in the kernel: all but the faults of its own instructions, and interruptions.
pub const CARRIER_MASK: u64 = !(SYNCHRONOUS | INTERRUPTION);
/// What a carrier lets in while it waits in a call of its own.
pub const INTERRUPTION: u64 = signal::bit(SIGURG);
/// The faults of the stub's copies of program memory. Blocked, they would kill.
const COPY_FAULTS: u64 = signal::bit(SIGSEGV) | signal::bit(SIGBUS);
/// What a handler of the stub blocks, and every thread of the stub.
pub(super) const HANDLER_MASK: u64 = !COPY_FAULTS;

/// Blocks all signals but the faults of copies; returns the mask before.
pub fn block_all() -> u64 {
    kernel::set_mask(MaskChange::Set, HANDLER_MASK)
}

/// For a handler that is going to touch program memory and interrupted the thread with this mask: lets the
/// faults of the stub's copies in. The kernel adds the handler's mask to that of the thread, which may block
/// everything.
pub fn admit_copy_faults(thread: &Thread, interrupted: u64) {
    let before = thread.copies.swap(Copies::Made as u32, Ordering::Relaxed);
    if before == Copies::DoneAndBlocked as u32 || interrupted & COPY_FAULTS != 0 {
        kernel::set_mask(MaskChange::Unblock, COPY_FAULTS);
    }
}

/// Whether a thread, while it is in the stub, may touch program memory: then the faults of its copies must
/// not be blocked, and what was sent with their numbers is kept (`deferred`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Copies {
    /// It may.
    Made = 0,
    /// It does not until it enters the stub again: what comes goes back to the kernel.
    Done = 1,
    /// As `Done`, and something came: the kernel's mask blocks everything since then.
    DoneAndBlocked = 2,
}

/// What the program blocks, by its own view, in the thread whose interrupted context this is.
pub fn of_program(thread: &Thread, context: &UserContext) -> u64 {
    match thread.role() {
        Role::Home | Role::Child => context.mask | thread.sigsys_blocked.load(Ordering::Relaxed),
        Role::Carrier | Role::Deputy | Role::Service => thread.mask.load(Ordering::Relaxed),
    }
}

/// Whether the program blocks the signal, as [`of_program`].
pub fn blocks(thread: &Thread, context: &UserContext, signal: u64) -> bool {
    holds(of_program(thread, context), signal)
}

/// Whether the mask holds the signal.
pub const fn holds(mask: u64, signal: u64) -> bool {
    mask & signal::bit(signal) != 0
}

/// Makes `mask` what the program blocks when the thread continues from `context`.
pub fn set_of_program(thread: &Thread, context: &mut UserContext, mask: u64) {
    match thread.role() {
        Role::Home | Role::Child => {
            let (kernels, sigsys) = split(mask);
            context.mask = kernels;
            thread.sigsys_blocked.store(sigsys, Ordering::Relaxed);
        }
        Role::Carrier | Role::Deputy | Role::Service => thread.mask.store(mask, Ordering::Relaxed),
    }
}

/// Splits the program's view of a mask into what the kernel gets and whether SIGSYS was in it.
pub const fn split(mask: u64) -> (u64, u64) {
    (mask & !signal::bit(SIGSYS), mask & signal::bit(SIGSYS))
}

/// What remains of a mask that the program gives: two signals cannot be blocked.
pub const fn settable(mask: u64) -> u64 {
    mask & !(signal::bit(SIGKILL) | signal::bit(SIGSTOP))
}

/// What the program blocks while a handler runs that a signal started which came when it blocked `blocked`.
pub const fn in_handler(blocked: u64, signal: u64, action: &Action) -> u64 {
    let own = if action[1] & SA_NODEFER == 0 { signal::bit(signal) } else { 0 };
    settable(blocked | action[3] | own)
}

/// The mask with which a call of the program waits, if it names one.
///
/// # Errors
/// `EFAULT` if it is not in the program's memory.
pub fn of_call(arguments: &[u64; 6], mask: MaskPointer) -> Result<Option<u64>, Errno> {
    let argument = syscalls::argument(arguments, mask.argument());
    let pointer = match mask {
        MaskPointer::Paired(_) if argument != 0 => copy::load(ProgramAddress(argument))?,
        MaskPointer::Paired(_) | MaskPointer::Direct(_) => argument,
    };
    if pointer == 0 { Ok(None) } else { copy::load(ProgramAddress(pointer)).map(|mask| Some(settable(mask))) }
}

/// `rt_sigprocmask`: changes `mask` (the program's view) and returns 0 or a negated errno.
pub fn change(arguments: &[u64; 6], mask: &mut u64) -> i64 {
    let [how, set, old, size, ..] = *arguments;
    if size != MASK_BYTES {
        return Errno::EINVAL.negated();
    }
    let before = *mask;
    if set != 0 {
        let Ok(given): Result<u64, Errno> = copy::load(ProgramAddress(set)) else {
            return Errno::EFAULT.negated();
        };
        *mask = settable(match how as u32 {
            linux::SIG_BLOCK => before | given,
            linux::SIG_UNBLOCK => before & !given,
            linux::SIG_SETMASK => given,
            _ => return Errno::EINVAL.negated(),
        });
    }
    if old != 0 && copy::store(ProgramAddress(old), &before).is_err() {
        return Errno::EFAULT.negated();
    }
    0
}
