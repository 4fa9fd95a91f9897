//! Procedure calls in another process, which cannot crash their caller.
//!
//! A callee that crashes, hangs, scribbles on memory or calls `exit` costs its caller an error
//! value or a retry. For C libraries, wrapped without touching the program
//! ([`generate`]), and for functions of a Rust program ([`mod@isolated`]). Usable alone. Not for
//! calls whose callee is hostile *and* must not read its caller's memory: a wrapped library may
//! read what the program can.
//!
//! A file's folder says which process runs it: `caller`, `worker`, `babysitter`, or several (`shared`).
//! Unsafe code is in `sys`, in `worker` and `babysitter`, and where `caller` and `rust` expect it.
//! Lock order: callers take no lock; see `worker` for the callee's one.
#![deny(unsafe_code)]

#[expect(unsafe_code, reason = "loads a library, and forks the processes that run it")]
mod babysitter;
mod caller;
pub mod error;
pub mod generate;
#[doc(hidden)]
pub mod measuring;
pub mod monitor;
mod rust;
mod shared;
pub mod stream;
#[expect(unsafe_code, reason = "what calls need of Linux and of the processor")]
mod sys;
#[expect(unsafe_code, reason = "runs code at addresses that its caller names, on memory of its caller")]
mod worker;

pub use banyan_calls_macros::isolated;
pub use caller::{blob, connection, launch, shim};
pub use error::{CallError, Ran};
pub use rust::{discovery, foreign, isolated, parallel, pending, registry};
pub use shared::waiting::{Cancellation, Wait};
pub use shared::{frame, message, service};
pub use sys::allocations;
#[doc(hidden)]
pub use sys::registers::on_other_stack;
pub use worker::heap;
#[doc(hidden)]
pub use worker::{Frame, unwind};

pub use blob::{Blob, BlobStore, Blobs};
pub use connection::{CallOptions, Connection};
pub use discovery::{Discovery, Service};
pub use pending::Pending;

/// Streams of the caller, and functions on streams, descriptors and memory that a worker sends to the
/// caller when these are the caller's.
pub const CALLER_NAMES: &[&str] = &[
    "__cxa_atexit",
    "stdin",
    "stdout",
    "stderr",
    "fwrite",
    "fread",
    "fputc",
    "putc",
    "putchar",
    "fputs",
    "puts",
    "fflush",
    "fclose",
    "ferror",
    "feof",
    "getc",
    "fgetc",
    "fgets",
    "ungetc",
    "fseek",
    "ftell",
    "fseeko",
    "fseeko64",
    "ftello",
    "ftello64",
    "rewind",
    "fileno",
    "clearerr",
    "setvbuf",
    "vfprintf",
    "vfscanf",
    "read",
    "write",
    "pread",
    "pread64",
    "pwrite",
    "pwrite64",
    "lseek",
    "lseek64",
    "readv",
    "writev",
    "close",
    "fstat",
    "fstat64",
    "fsync",
    "fdatasync",
    "ftruncate",
    "ftruncate64",
    "isatty",
    "fdopen",
    "fcntl",
    "fcntl64",
    "ioctl",
    "free",
    "realloc",
    "malloc_usable_size",
    "preadv",
    "pwritev",
    "fallocate",
    "posix_fallocate",
    "posix_fadvise",
    "flock",
    "lockf",
    "fchmod",
    "fchown",
    "futimens",
    "fstatfs",
    "fstatvfs",
    "tcgetattr",
    "tcsetattr",
    "send",
    "recv",
    "sendto",
    "recvfrom",
    "sendmsg",
    "recvmsg",
    "shutdown",
    "connect",
    "bind",
    "listen",
    "getsockname",
    "getpeername",
    "getsockopt",
    "setsockopt",
    "__fxstat",
    "__fxstat64",
    "dup",
    "accept",
    "accept4",
    "poll",
    "fopen",
    "fopen64",
    "tmpfile",
    "freopen",
    "getdelim",
    "__uflow",
    "__overflow",
    "setlinebuf",
    "flockfile",
    "funlockfile",
    "ftrylockfile",
    "fputwc",
    "putwc",
    "fgetwc",
    "getwc",
    "ungetwc",
    "fwide",
    "getenv",
    "setenv",
    "unsetenv",
    "clearenv",
    "rand",
    "srand",
    "random",
    "srandom",
    "drand48",
    "srand48",
    "lrand48",
    "mrand48",
    "raise",
    "sigaction",
    "longjmp",
    "getpid",
    "getppid",
];

/// Descriptors from this number on are a worker's own; below, they are the caller's.
pub const OWN_DESCRIPTORS: i32 = 256;

/// Whether the calling thread of a worker is running a function for the caller, and so may call back.
#[must_use]
pub fn is_in_call() -> bool {
    worker::is_in_call()
}

/// Whether the caller finds the same at an address of a worker's as the library that runs there.
#[must_use]
pub fn is_seen(address: u64) -> bool {
    worker::is_seen(address)
}

/// Whether an address of a worker's is memory of its caller's.
#[must_use]
pub fn is_callers_memory(address: u64) -> bool {
    worker::is_callers_memory(address)
}

/// Has a thread of a worker wait, outside of the library, so that others may enter.
pub fn outside<T>(wait: impl FnOnce() -> T) -> T {
    worker::outside(wait)
}

/// Forks a worker for its library; `fork` is the C library's.
pub fn fork(fork: unsafe extern "C" fn() -> i32) -> i32 {
    worker::fork::fork(fork)
}

/// Tells a worker that its library starts a thread.
pub fn note_thread() {
    worker::note_thread();
}

/// The worker program's `main`: hosts a library for the process that started it.
///
/// `stdio` receives the caller's functions on `FILE`. Returns only if the process was not started
/// as a worker.
pub fn host_library(stdio: fn(&[(String, u64)])) {
    if babysitter::wanted().is_some_and(|wanted| wanted == service::FOR_A_LIBRARY) {
        babysitter::run(babysitter::Program { find: |_| None, heap_is_ours: true, stdio, admit: None });
    }
}

/// The program of the README, compiled as a test.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}
