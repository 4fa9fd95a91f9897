//! The stub: the small runtime that lives inside every replica of a program.
//!
//! It catches the program's system calls (SIGSYS from seccomp), starts and ends threads, executes calls for
//! threads on other nodes (deputies) and forwards those of threads that are here but belong elsewhere
//! (carriers).
//!
//! Invariants:
//! - it has no C library, allocates nothing on a heap and shares nothing with the program;
//! - its own memory (statics, thread blocks) is local to the replica and never coherent;
//! - it touches the program's memory only through `memory::copy` and system calls, all of which may fault and
//!   wait;
//! - while it handles a trap, every asynchronous signal is blocked, and it leaves by `rt_sigreturn`.
//!
//! Threads: the program's, and one *service thread* that obeys the daemon's commands.
//! Lock order: `memory::LOCK`, then `daemon::requests::REQUESTS`. Neither is held while program memory is
//! touched, except that filling a fresh mapping happens under `memory::LOCK`: the pager takes no lock of the
//! stub. The lock of the list of thread blocks (`thread::block`) is taken alone.
#![no_std]

pub mod daemon;
pub mod kernel;
pub mod lock;
pub mod memory;
pub mod process;
pub mod remote;
pub mod report;
pub mod signal;
pub mod start;
pub mod thread;
pub mod time;
pub mod trap;
