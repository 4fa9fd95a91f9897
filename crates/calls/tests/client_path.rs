//! The caller's path allocates nothing, may run in a signal handler, and needs no descriptor.
#![allow(clippy::unwrap_used, clippy::field_reassign_with_default, reason = "a test may fail by panicking")]

mod common;

use common::{call, open, options};
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};

struct Forbidding;
static FORBIDDEN: AtomicBool = AtomicBool::new(false);

// SAFETY: hands on to the system's allocator, or ends the process.
unsafe impl GlobalAlloc for Forbidding {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if FORBIDDEN.load(SeqCst) {
            std::process::abort();
        }
        // SAFETY: the caller's contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        if FORBIDDEN.load(SeqCst) {
            std::process::abort();
        }
        // SAFETY: the caller's contract.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Forbidding = Forbidding;

static CONNECTION: AtomicU64 = AtomicU64::new(0);
static HANDLED: AtomicU64 = AtomicU64::new(0);

extern "C" fn handler(_: i32) {
    // SAFETY: the test stores its own connection, which outlives the timer.
    let connection = unsafe { &*(CONNECTION.load(SeqCst) as *const banyan_calls::Connection) };
    if call(connection, "subject_fail", &[0], &options(5000)) == Ok(7) {
        HANDLED.fetch_add(1, SeqCst);
    }
}

extern "C" fn call_back(value: i64, _: f64, _: u64) -> i64 {
    value
}

// One test: the allocator is the whole program's.
#[test]
fn no_allocation_signal_handlers_and_closed_descriptors() {
    // Leaked: a handler may still run when an assertion fails.
    let connection: &banyan_calls::Connection = Box::leak(Box::new(open(|_| {})));
    let values = [1_i32; 3000];
    let step = |number: u64| {
        assert_eq!(
            call(connection, "subject_sum", &[values.as_ptr() as u64, 3000], &options(5000)),
            Ok(3000)
        );
        let arguments = [call_back as *const () as u64, number, 0];
        assert_eq!(call(connection, "subject_apply", &arguments, &options(5000)), Ok(number + 1));
    };
    step(0);
    FORBIDDEN.store(true, SeqCst);
    for number in 0..2000 {
        step(number);
    }
    // Crash and recovery allocate nothing either.
    let mut retried = options(5000);
    retried.retries = 2;
    let crashed = call(connection, "subject_fail", &[1], &retried).is_err();
    let again = call(connection, "subject_fail", &[0], &retried) == Ok(7);
    FORBIDDEN.store(false, SeqCst);
    assert!(crashed && again);

    // Calls from a handler that interrupts calls.
    CONNECTION.store(std::ptr::from_ref(connection) as u64, SeqCst);
    // SAFETY: installs a handler of the right signature and a timer, both removed below.
    unsafe {
        libc::signal(libc::SIGALRM, handler as *const () as usize);
        let every = libc::timeval { tv_sec: 0, tv_usec: 500 };
        let timer = libc::itimerval { it_interval: every, it_value: every };
        libc::syscall(libc::SYS_setitimer, libc::ITIMER_REAL, &raw const timer, 0);
    }
    let end = Instant::now() + Duration::from_millis(700);
    let mut number = 0;
    while Instant::now() < end {
        step(number);
        number += 1;
    }
    // SAFETY: stops the timer.
    unsafe {
        let timer: libc::itimerval = std::mem::zeroed();
        libc::syscall(libc::SYS_setitimer, libc::ITIMER_REAL, &raw const timer, 0);
    }
    assert!(HANDLED.load(SeqCst) > 10, "handled {}", HANDLED.load(SeqCst));

    // With all descriptors closed, even a crash and a fresh worker work.
    // SAFETY: the child uses no descriptor but the connection's, of which there are none; the
    // connection is the parent's, so this is about the mappings only up to the fork check. The
    // parent closes its own descriptors above 2 instead.
    unsafe { libc::syscall(libc::SYS_close_range, 3_u32, u32::MAX, 0_u32) };
    step(1);
    assert!(call(connection, "subject_fail", &[1], &options(5000)).is_err());
    step(2);
    connection.restart();
    step(3);
}
