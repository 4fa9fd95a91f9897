//! What the program wants done about each signal, and what the kernel is told to do about it.
//!
//! The kernel only ever knows the stub's handlers: a disposition of the program is kept here, and the
//! kernel's is made to fit it.

use crate::daemon::settings;
use crate::kernel::{self, MaskChange};
use crate::memory;
use crate::memory::copy::{self, ProgramAddress};
use crate::signal::action::{
    Action, SA_NODEFER, SA_ONSTACK, SA_RESETHAND, SA_RESTORER, SA_SIGINFO, SIG_DFL, SIG_IGN,
};
use crate::signal::frame::{SignalInformation, UserContext};
use crate::signal::mask::HANDLER_MASK;
use crate::signal::{
    self, MASK_BYTES, SIGBUS, SIGFPE, SIGILL, SIGKILL, SIGNALS, SIGSEGV, SIGSTOP, SIGSYS, SIGTRAP, SIGURG,
    deferred,
};
use crate::thread::{Role, Thread};
use banyan_sys::raw::Errno;
use core::arch::global_asm;
use core::sync::atomic::{AtomicU64, Ordering};
use linux_raw_sys::general as linux;

/// Flags that the kernel itself acts on.
const SA_KERNELS: u64 = (linux::SA_NOCLDSTOP | linux::SA_NOCLDWAIT | linux::SA_RESTART) as u64;

/// The program's dispositions, by signal: handler, flags, restorer, mask. Written under `memory::LOCK`.
static DISPOSITIONS: [[AtomicU64; 4]; SIGNALS] = [const { [const { AtomicU64::new(0) }; 4] }; SIGNALS];

global_asm!(
    ".globl banyan_restore",
    "banyan_restore:",
    "mov eax, {number}",
    "syscall",
    "ud2",
    number = const linux::__NR_rt_sigreturn,
);
unsafe extern "C" {
    fn banyan_restore();
}

/// A handler as the kernel calls it.
pub type Handler = unsafe extern "C" fn(u64, *mut SignalInformation, *mut UserContext);

/// The stub's handlers.
pub struct Handlers {
    /// Of SIGSYS.
    pub trap: Handler,
    /// Of SIGSEGV and SIGBUS, and elsewhere of every fault of an instruction.
    pub fault: Handler,
    /// At home: of every signal that the program catches.
    pub signal: Handler,
    /// Elsewhere: of SIGURG, the deputy's interruption.
    pub interrupt: Handler,
}

/// The address of [`Handlers::signal`].
static ON_SIGNAL: AtomicU64 = AtomicU64::new(0);

/// Installs a handler of the stub.
///
/// # Errors
/// The kernel's.
///
/// # Safety
/// The handler must be a [`Handler`] that leaves the interrupted thread as it may be left, wherever it was
/// interrupted.
unsafe fn install(signal: u64, handler: u64, flags: u64) -> Result<(), Errno> {
    let action: Action = [
        handler,
        SA_SIGINFO | SA_ONSTACK | SA_RESTORER | flags,
        banyan_restore as *const () as u64,
        HANDLER_MASK,
    ];
    // SAFETY: the handler is the caller's promise.
    unsafe { change(signal, &action) }
}

/// Changes the kernel's disposition.
///
/// # Safety
/// A handler in it must be one of the stub's.
unsafe fn change(signal: u64, action: &Action) -> Result<(), Errno> {
    let arguments = [signal, action.as_ptr() as u64, 0, MASK_BYTES];
    // SAFETY: the action lives across the call, which only reads it; the handler is the caller's promise.
    unsafe { kernel::checked(linux::__NR_rt_sigaction, arguments) }.map(drop)
}

/// Installs what every replica needs: the trap, and the faults of instructions. In a home replica the
/// inherited dispositions that are not the default (ignored signals) become the program's.
///
/// # Errors
/// The kernel's.
///
/// # Safety
/// As `install` for all of them.
pub unsafe fn start(handlers: &Handlers) -> Result<(), Errno> {
    let [trap, fault, signal, interrupt] =
        [handlers.trap, handlers.fault, handlers.signal, handlers.interrupt]
            .map(|handler| handler as usize as u64);
    ON_SIGNAL.store(signal, Ordering::Relaxed);
    if settings::is_home() {
        for signal in 1..=SIGNALS as u64 {
            let mut inherited: Action = [0; 4];
            let arguments = [signal, 0, inherited.as_mut_ptr() as u64, MASK_BYTES];
            // SAFETY: the action lives across the call, which writes it.
            let _ = unsafe { kernel::checked(linux::__NR_rt_sigaction, arguments)? };
            slot_of(signal)[0].store(inherited[0], Ordering::Relaxed);
        }
    }
    // Nested: a trap handler's copies may fault, and that must not be blocked.
    // SAFETY: the caller's promise.
    unsafe {
        install(SIGSYS, trap, SA_NODEFER)?;
        install(SIGSEGV, fault, SA_NODEFER)?;
        install(SIGBUS, fault, SA_NODEFER)?;
        if !settings::is_home() {
            for signal in [SIGILL, SIGFPE, SIGTRAP] {
                install(signal, fault, SA_NODEFER)?;
            }
            install(SIGURG, interrupt, 0)?;
        }
    }
    Ok(())
}

/// The program's disposition of a signal that is being delivered: one that is for one signal only is the
/// default from here on.
pub fn take(signal: u64) -> Action {
    let slot = slot_of(signal);
    let action: Action = [0, 1, 2, 3].map(|word: usize| slot[word].load(Ordering::Acquire));
    if action[0] > SIG_IGN && action[1] & SA_RESETHAND != 0 {
        let _guard = memory::LOCK.lock();
        slot[0].store(SIG_DFL, Ordering::Release);
        let _ = apply_disposition(signal, &[0; 4]);
    }
    action
}

/// Does by default what was to be handled: the disposition was reset after the signal had come, or it is the
/// stub's. The kernel knows what that is, unless it knows a handler of the stub's only.
pub fn act_by_default(signal: u64, information: &SignalInformation) {
    if is_stubs(signal) {
        die_of(signal);
    }
    deferred::send_again(information);
}

/// Whether the kernel's disposition is always the stub's: the trap, and the faults of copies.
const fn is_stubs(signal: u64) -> bool {
    matches!(signal, SIGSYS | SIGSEGV | SIGBUS)
}

/// The program's disposition of a signal. Once for all: the check is made here.
#[inline(never)]
fn slot_of(signal: u64) -> &'static [AtomicU64; 4] {
    &DISPOSITIONS[signal as usize - 1]
}

/// The program's handler word for a signal: [`SIG_DFL`], [`SIG_IGN`] or an address.
pub fn handler_of(signal: u64) -> u64 {
    slot_of(signal)[0].load(Ordering::Acquire)
}

/// Whether the program has a handler for the signal.
pub fn has_handler(signal: u64) -> bool {
    handler_of(signal) > SIG_IGN
}

/// `rt_sigaction` of the program, or of a child; runs at home. Returns 0 or a negated errno.
pub fn set_disposition(thread: &Thread, arguments: &[u64; 6]) -> i64 {
    let [signal, new, old, size, ..] = *arguments;
    if size != MASK_BYTES || signal == 0 || signal > SIGNALS as u64 {
        return Errno::EINVAL.negated();
    }
    let mut given: Action = [0; 4];
    if new != 0 {
        if signal == SIGKILL || signal == SIGSTOP {
            return Errno::EINVAL.negated();
        }
        match copy::load(ProgramAddress(new)) {
            Ok(action) => given = action,
            Err(error) => return error.negated(),
        }
    }
    let slot = slot_of(signal);
    let mut before: Action = [0; 4];
    let result = {
        let _guard = memory::LOCK.lock();
        for (word, kept) in before.iter_mut().zip(slot) {
            *word = kept.load(Ordering::Relaxed);
        }
        if thread.role() == Role::Child {
            set_of_child(thread, signal, (new != 0).then_some(&given), &mut before)
        } else if new == 0 {
            Ok(())
        } else {
            for (word, kept) in given.iter().zip(slot).rev() {
                kept.store(*word, Ordering::Release);
            }
            apply_disposition(signal, &given)
        }
    };
    if let Err(error) = result {
        return error.negated();
    }
    if old != 0 && copy::store(ProgramAddress(old), &before).is_err() {
        return Errno::EFAULT.negated();
    }
    0
}

/// As [`set_disposition`], of a child: the kernel has its own for it, and the table is its parent's.
fn set_of_child(
    child: &Thread,
    signal: u64,
    given: Option<&Action>,
    before: &mut Action,
) -> Result<(), Errno> {
    let bit = signal::bit(signal);
    if (child.ignores.get() | child.defaults.get()) & bit != 0 {
        *before = [if child.ignores.get() & bit != 0 { SIG_IGN } else { SIG_DFL }, 0, 0, 0];
    }
    let Some(given) = given else { return Ok(()) };
    let with = |mask: u64, holds: bool| if holds { mask | bit } else { mask & !bit };
    child.ignores.set(with(child.ignores.get(), given[0] == SIG_IGN));
    child.defaults.set(with(child.defaults.get(), given[0] == SIG_DFL));
    apply_disposition(signal, given)
}

/// The signals for which the program has handlers, as a mask.
pub fn handled() -> u64 {
    (1..=SIGNALS as u64)
        .filter(|&signal| has_handler(signal))
        .fold(0, |mask, signal| mask | signal::bit(signal))
}

/// Gives a new child the defaults that it is to begin with in place of its parent's handlers.
pub fn clear_of_child(child: &Thread) {
    for signal in (1..=SIGNALS as u64).filter(|&signal| child.defaults.get() & signal::bit(signal) != 0) {
        let _ = apply_disposition(signal, &[0; 4]);
    }
}

/// Gives back to their defaults the signals for which the program has handlers; of a copy with one thread.
pub fn clear() {
    for signal in (1..=SIGNALS as u64).filter(|&signal| has_handler(signal)) {
        slot_of(signal)[0].store(SIG_DFL, Ordering::Release);
        let _ = apply_disposition(signal, &[0; 4]);
    }
}

/// Makes the kernel's disposition fit the program's.
pub(super) fn apply_disposition(signal: u64, action: &Action) -> Result<(), Errno> {
    if is_stubs(signal) {
        return Ok(());
    }
    if action[0] > SIG_IGN {
        // SAFETY: the handler that `start` was given.
        return unsafe { install(signal, ON_SIGNAL.load(Ordering::Relaxed), action[1] & SA_KERNELS) };
    }
    let plain: Action =
        [action[0], (action[1] & SA_KERNELS) | SA_RESTORER, banyan_restore as *const () as u64, 0];
    // SAFETY: no code runs for a default or ignored signal.
    unsafe { change(signal, &plain) }
}

/// Gives a signal back to the kernel's default action.
pub fn reset(signal: u64) {
    let plain: Action = [SIG_DFL, SA_RESTORER, banyan_restore as *const () as u64, 0];
    // SAFETY: no code runs for a default signal.
    let _ = unsafe { change(signal, &plain) };
}

/// Ends the process by the default action of a signal whose default action that is.
pub fn die_of(signal: u64) -> ! {
    reset(signal);
    kernel::signal_thread(kernel::thread_id(), signal);
    kernel::set_mask(MaskChange::Unblock, signal::bit(signal));
    kernel::park()
}
