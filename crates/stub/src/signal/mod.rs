//! Signals: the program's dispositions and masks, and the delivery of a caught signal to a home thread.
//!
//! The kernel only ever knows the stub's handlers. A caught signal arrives on the stub's stack; [`on_signal`] then
//! builds the frame that the kernel would have built on the program's stack and returns into the handler. So the
//! handler's frame lies in coherent memory and no program code ever runs on a stub stack.
//!
//! SIGSYS is never blocked: a trapped call of a thread that blocks it kills the process.
//!
//! Not here: bringing a thread home to deliver a signal to it. A signal that only threads on other nodes could
//! take stays pending unless its action is the default one.

pub mod alternate_stack;
pub mod deliver;
pub mod disposition;
pub mod frame;
pub mod mask;
pub mod queue;
pub mod service_thread;

/// Signals that there are.
const SIGNALS: usize = 64;
const SIGBUS: u64 = 7;
const SIGFPE: u64 = 8;
const SIGILL: u64 = 4;
const SIGTRAP: u64 = 5;
const SIGKILL: u64 = 9;
const SIGSEGV: u64 = 11;
const SIGPIPE: u64 = 13;
const SIGSTOP: u64 = 19;
const SIGSYS: u64 = 31;
/// Wakes the service thread so that it takes a new mask. The last real-time signal, of which glibc uses none.
const SIGPOKE: u64 = 64;

const fn bit(signal: u64) -> u64 {
    1 << (signal - 1)
}

/// Faults of the running instruction: blocking them kills, so the stub never does.
const SYNCHRONOUS: u64 = bit(SIGBUS) | bit(SIGFPE) | bit(SIGILL) | bit(SIGSEGV) | bit(SIGTRAP) | bit(SIGSYS);
