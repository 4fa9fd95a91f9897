//! What the program wants done about each signal, and what the kernel is told to do about it.
//!
//! The kernel only ever knows the stub's handlers: a disposition of the program is kept here, and the
//! kernel's is made to fit it.

use crate::daemon::settings;
use crate::kernel::{self, MaskChange};
use crate::memory;
use crate::memory::copy::{self, ProgramAddress};
use crate::signal::frame::{SignalInformation, UserContext};
use crate::signal::mask::HANDLER_MASK;
use crate::signal::{
    self, MASK_BYTES, SIGBUS, SIGFPE, SIGILL, SIGKILL, SIGNALS, SIGPOKE, SIGSEGV, SIGSTOP, SIGSYS, SIGTRAP,
    deliver, service_thread,
};
use banyan_sys::raw::Errno;
use core::arch::global_asm;
use core::sync::atomic::{AtomicU64, Ordering};
use linux_raw_sys::general as linux;

/// `struct sigaction` of the kernel: handler, flags, restorer, mask.
pub type Action = [u64; 4];

/// Handler word that asks for the default action.
pub(super) const SIG_DFL: u64 = 0;
/// Handler word that asks for nothing to be done. Higher words are addresses.
pub(super) const SIG_IGN: u64 = 1;

pub(super) const SA_ONSTACK: u64 = linux::SA_ONSTACK as u64;
const SA_SIGINFO: u64 = linux::SA_SIGINFO as u64;
const SA_RESTORER: u64 = linux::SA_RESTORER as u64;
pub(super) const SA_NODEFER: u64 = linux::SA_NODEFER as u64;
pub(super) const SA_RESETHAND: u64 = linux::SA_RESETHAND as u64;
/// Flags that the kernel itself acts on.
const SA_KERNELS: u64 = (linux::SA_NOCLDSTOP | linux::SA_NOCLDWAIT | linux::SA_RESTART) as u64;

/// The program's dispositions, by signal: handler, flags, restorer, mask. Written under `memory::LOCK`.
pub(super) static DISPOSITIONS: [[AtomicU64; 4]; SIGNALS] =
    [const { [const { AtomicU64::new(0) }; 4] }; SIGNALS];

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

/// Installs a handler of the stub.
///
/// # Errors
/// The kernel's.
///
/// # Safety
/// The handler must leave the interrupted thread as it may be left, wherever it was interrupted.
pub unsafe fn install(signal: u64, handler: Handler, flags: u64) -> Result<(), Errno> {
    let action: Action = [
        handler as usize as u64,
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
    let arguments = [signal, action.as_ptr() as u64, 0, MASK_BYTES, 0, 0];
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
/// As [`install`] for both handlers.
pub unsafe fn start(trap: Handler, fault: Handler) -> Result<(), Errno> {
    if settings::is_home() {
        for signal in 1..=SIGNALS as u64 {
            let mut inherited: Action = [0; 4];
            let arguments = [signal, 0, inherited.as_mut_ptr() as u64, MASK_BYTES, 0, 0];
            // SAFETY: the action lives across the call, which writes it.
            let _ = unsafe { kernel::checked(linux::__NR_rt_sigaction, arguments)? };
            DISPOSITIONS[signal as usize - 1][0].store(inherited[0], Ordering::Relaxed);
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
        }
    }
    Ok(())
}

/// The program's handler word for a signal: [`SIG_DFL`], [`SIG_IGN`] or an address.
pub(super) fn handler_of(signal: u64) -> u64 {
    DISPOSITIONS[signal as usize - 1][0].load(Ordering::Acquire)
}

/// Whether the program has a handler for the signal.
pub fn has_handler(signal: u64) -> bool {
    handler_of(signal) > SIG_IGN
}

/// `rt_sigaction` of the program; runs at home. Returns 0 or a negated errno.
pub fn set_disposition(arguments: &[u64; 6]) -> i64 {
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
    let slot = &DISPOSITIONS[signal as usize - 1];
    let mut before: Action = [0; 4];
    let result = {
        let _guard = memory::LOCK.lock();
        for (word, kept) in before.iter_mut().zip(slot) {
            *word = kept.load(Ordering::Relaxed);
        }
        if new == 0 {
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
    if new != 0 {
        service_thread::remote_masks_changed();
    }
    if old != 0 && copy::store(ProgramAddress(old), &before).is_err() {
        return Errno::EFAULT.negated();
    }
    0
}

/// Makes the kernel's disposition fit the program's.
pub(super) fn apply_disposition(signal: u64, action: &Action) -> Result<(), Errno> {
    // The trap and the memory faults stay the stub's; `on_fault` acts for the program.
    if matches!(signal, SIGSYS | SIGSEGV | SIGBUS | SIGPOKE) {
        return Ok(());
    }
    if action[0] > SIG_IGN {
        // SAFETY: it gives a signal that did not interrupt the program back to the process.
        return unsafe { install(signal, deliver::on_signal, action[1] & SA_KERNELS) };
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

/// Ends the process by the signal's default action.
pub fn die_of(signal: u64) -> ! {
    reset(signal);
    kernel::signal_thread(kernel::thread_id(), signal);
    kernel::set_mask(MaskChange::Unblock, signal::bit(signal));
    kernel::park()
}
