//! Signals: the program's dispositions and masks, and the delivery of a caught signal to a home thread.
//!
//! The kernel only ever knows the stub's handlers. A caught signal arrives on the stub's stack; `on_signal`
//! then builds the frame that the kernel would have built on the program's stack and returns into the
//! handler. So the handler's frame lies in coherent memory and no program code ever runs on a stub stack.
//!
//! SIGSYS is never blocked: a trapped call of a thread that blocks it kills the process.
//!
//! Not here: bringing a thread home to deliver a signal to it. A signal that only threads on other nodes
//! could take stays pending unless its action is the default one.

pub mod alternate_stack;
pub mod deliver;
pub mod disposition;
pub mod frame;
pub mod mask;
pub mod queue;
pub mod service_thread;

use linux_raw_sys::general as linux;

/// Signals that there are (`_NSIG`).
const SIGNALS: usize = 64;
/// Bytes of a signal mask, which every call that takes one must name.
pub const MASK_BYTES: u64 = size_of::<linux::kernel_sigset_t>() as u64;
const _: () = assert!(MASK_BYTES == size_of::<u64>() as u64, "masks are kept in 64 bits");
const SIGBUS: u64 = linux::SIGBUS as u64;
const SIGFPE: u64 = linux::SIGFPE as u64;
const SIGILL: u64 = linux::SIGILL as u64;
const SIGTRAP: u64 = linux::SIGTRAP as u64;
const SIGKILL: u64 = linux::SIGKILL as u64;
/// Memory that is not mapped, or not for this access.
pub const SIGSEGV: u64 = linux::SIGSEGV as u64;
const SIGPIPE: u64 = linux::SIGPIPE as u64;
const SIGSTOP: u64 = linux::SIGSTOP as u64;
const SIGSYS: u64 = linux::SIGSYS as u64;
/// Wakes the service thread so that it takes a new mask. The last real-time signal, of which glibc uses none.
const SIGPOKE: u64 = SIGNALS as u64;

const fn bit(signal: u64) -> u64 {
    1 << (signal - 1)
}

/// Faults of the running instruction: blocking them kills, so the stub never does.
const SYNCHRONOUS: u64 = bit(SIGBUS) | bit(SIGFPE) | bit(SIGILL) | bit(SIGSEGV) | bit(SIGTRAP) | bit(SIGSYS);
