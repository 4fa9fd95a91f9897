//! Signals: the program's dispositions and masks, and the delivery of a caught signal to a home thread.
//!
//! The kernel only ever knows the stub's handlers. A caught signal arrives on the stub's stack; `deliver` has
//! `handler` build the frame that the kernel would have built on the program's stack, and returns into the
//! program's handler.
//!
//! SIGSYS is never blocked while the program runs: a trapped call of a thread that blocks it kills the
//! process. What the program knows of its masks is its own view of them (`mask`).
//!
//! The kernel gives a signal for a thread on another node to the thread's deputy, which lets in what the
//! program does not block. The deputy records it (`taken`) and has the carrier fetch it: with the return of a
//! call that it ended, or by an interruption. The handler then runs on the carrier.

pub mod action;
pub mod alternate_stack;
pub mod deferred;
pub mod deliver;
pub mod disposition;
pub mod frame;
pub mod handler;
pub mod mask;
pub mod pending;
pub mod restore;
pub mod taken;
pub mod wait;

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
const SIGSTOP: u64 = linux::SIGSTOP as u64;
/// A call was trapped.
pub const SIGSYS: u64 = linux::SIGSYS as u64;
/// On a carrier: urgent data came from its deputy. No signal of the program's comes to a carrier's kernel.
pub const SIGURG: u64 = linux::SIGURG as u64;

const fn bit(signal: u64) -> u64 {
    1 << (signal - 1)
}

/// Faults of the running instruction: blocking them kills, so the stub never does.
const SYNCHRONOUS: u64 = bit(SIGBUS) | bit(SIGFPE) | bit(SIGILL) | bit(SIGSEGV) | bit(SIGTRAP) | bit(SIGSYS);
