//! Locks by the address of their cell.

use std::ffi::{c_int, c_void};
use std::time::Duration;

use banyan_heap::sync::{Begun, LockError, Passed, RawBarrier, RawCondition, RawMutex, RawOnce, RawRwLock};
use banyan_heap::{Attachment, attachment_of};

use crate::errors::{done, failed, locked};

/// Cells of the header: only their addresses are used here.
type Address = *mut c_void;

/// The heap in which a cell is.
///
/// # Safety
/// The heap stays open for the call, as the header says.
#[inline]
unsafe fn heap_of<'a>(cell: Address) -> Result<(&'a Attachment, usize), LockError> {
    let address = cell.expose_provenance();
    // SAFETY: passed on to the caller.
    let attachment = unsafe { attachment_of(address) };
    let none = LockError::NoSuchObject { expected: "open heap", address };
    attachment.map(|attachment| (attachment, address)).ok_or(none)
}

fn timeout(nanoseconds: u64) -> Option<Duration> {
    Some(Duration::from_nanos(nanoseconds))
}

/// Functions `fn name(cell, ..) -> c_int` that find the cell's object first.
macro_rules! functions {
    ($kind:ident: $($(#[$meta:meta])* $name:ident($($argument:ident: $type:ty),*) |$object:ident| $finish:ident $body:expr;)*) => {
        $(
            $(#[$meta])*
            #[unsafe(no_mangle)]
            pub unsafe extern "C" fn $name(cell: Address $(, $argument: $type)*) -> c_int {
                // SAFETY: the caller gives what the header says.
                let found = unsafe { heap_of(cell) };
                $finish(found.and_then(|(attachment, address)| {
                    let $object = $kind::at(attachment, address)?;
                    $body
                }))
            }
        )*
    };
}

/// `bn_.._init` and `bn_.._destroy`.
macro_rules! lives {
    ($kind:ident: $init:ident, $destroy:ident) => {
        /// See the header.
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $init(cell: Address) -> c_int {
            // SAFETY: the caller gives what the header says.
            let found = unsafe { heap_of(cell) };
            done(found.and_then(|(attachment, address)| $kind::make(attachment, address).map(drop)))
        }

        /// See the header.
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $destroy(cell: Address) -> c_int {
            // SAFETY: the caller gives what the header says.
            let found = unsafe { heap_of(cell) };
            done(found.and_then(|(attachment, address)| $kind::destroy(attachment, address)))
        }
    };
}

lives!(RawMutex: bn_mutex_init, bn_mutex_destroy);
lives!(RawRwLock: bn_rwlock_init, bn_rwlock_destroy);
lives!(RawCondition: bn_cond_init, bn_cond_destroy);
lives!(RawOnce: bn_once_init, bn_once_destroy);

functions! { RawMutex:
    /// See the header.
    bn_mutex_lock() |mutex| locked mutex.lock(None);
    /// See the header.
    bn_mutex_lock_timed(timeout_ns: u64) |mutex| locked mutex.lock(timeout(timeout_ns));
    /// See the header.
    bn_mutex_unlock() |mutex| done mutex.unlock();
    /// See the header.
    bn_mutex_consistent() |mutex| done mutex.make_consistent();
}

/// See the header.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bn_mutex_trylock(cell: Address) -> c_int {
    // SAFETY: the caller gives what the header says.
    let found = unsafe { heap_of(cell) };
    match found.and_then(|(attachment, address)| RawMutex::at(attachment, address)?.try_lock()) {
        Ok(None) => failed(libc::EBUSY, &"another thread has it"),
        Ok(Some(acquired)) => locked(Ok(acquired)),
        Err(error) => locked(Err(error)),
    }
}

functions! { RawRwLock:
    /// See the header.
    bn_rwlock_rdlock() |lock| locked lock.read(None);
    /// See the header.
    bn_rwlock_rdlock_timed(timeout_ns: u64) |lock| locked lock.read(timeout(timeout_ns));
    /// See the header.
    bn_rwlock_wrlock() |lock| locked lock.write(None);
    /// See the header.
    bn_rwlock_wrlock_timed(timeout_ns: u64) |lock| locked lock.write(timeout(timeout_ns));
    /// See the header.
    bn_rwlock_unlock() |lock| done lock.unlock();
    /// See the header.
    bn_rwlock_consistent() |lock| done lock.make_consistent();
}

functions! { RawCondition:
    /// See the header.
    bn_cond_signal() |condition| done { condition.notify_one(); Ok(()) };
    /// See the header.
    bn_cond_broadcast() |condition| done { condition.notify_all(); Ok(()) };
}

/// See the header.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bn_cond_wait(cell: Address, mutex: Address) -> c_int {
    // SAFETY: the caller gives what the header says.
    unsafe { wait(cell, mutex, None) }
}

/// See the header.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bn_cond_wait_until(cell: Address, mutex: Address, deadline_ns: u64) -> c_int {
    match deadline_ns.checked_sub(bn_now()) {
        // SAFETY: the caller gives what the header says.
        Some(left) if left > 0 => unsafe { wait(cell, mutex, timeout(left)) },
        _ => failed(libc::ETIMEDOUT, &"the time is over; the mutex is held"),
    }
}

unsafe fn wait(cell: Address, mutex: Address, at_most: Option<Duration>) -> c_int {
    // SAFETY: passed on to the caller.
    let found = unsafe { heap_of(cell).and_then(|cell| Ok((cell, heap_of(mutex)?))) };
    locked(found.and_then(|((attachment, cell), (mutex_attachment, mutex))| {
        let mutex = RawMutex::at(mutex_attachment, mutex)?;
        RawCondition::at(attachment, cell)?.wait(&mutex, at_most)
    }))
}

/// See the header.
#[unsafe(no_mangle)]
pub extern "C" fn bn_now() -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the place is ours.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now) };
    now.tv_sec.unsigned_abs() * 1_000_000_000 + now.tv_nsec.unsigned_abs()
}

/// See the header.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bn_barrier_init(cell: Address, count: u32) -> c_int {
    // SAFETY: the caller gives what the header says.
    let found = unsafe { heap_of(cell) };
    done(found.and_then(|(attachment, address)| RawBarrier::make(attachment, address, count).map(drop)))
}

functions! { RawBarrier:
    /// See the header.
    bn_barrier_wait() |barrier| passed barrier.wait(None);
    /// See the header.
    bn_barrier_wait_timed(timeout_ns: u64) |barrier| passed barrier.wait(timeout(timeout_ns));
    /// See the header.
    bn_barrier_reset(count: u32) |barrier| done barrier.reset((count != 0).then_some(count));
}

/// See the header.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bn_barrier_destroy(cell: Address) -> c_int {
    // SAFETY: the caller gives what the header says.
    let found = unsafe { heap_of(cell) };
    done(found.and_then(|(attachment, address)| RawBarrier::destroy(attachment, address)))
}

fn passed(result: Result<Passed, LockError>) -> c_int {
    match result {
        Ok(Passed::Last) => 1,
        Ok(Passed::Other) => 0,
        Err(error) => done(Err(error)),
    }
}

/// See the header.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bn_once(
    cell: Address,
    function: Option<unsafe extern "C" fn(*mut c_void)>,
    argument: *mut c_void,
) -> c_int {
    let Some(function) = function else { return failed(libc::EINVAL, &"the function is NULL") };
    // SAFETY: the caller gives what the header says.
    let found = unsafe { heap_of(cell) };
    done(found.and_then(|(attachment, address)| {
        let once = RawOnce::at(attachment, address)?;
        if let Begun::Begin(_) = once.begin(None)? {
            // SAFETY: a function of the caller's with its argument.
            unsafe { function(argument) };
            once.finish()?;
        }
        Ok(())
    }))
}
