//! The memory calls of the program (`mmap`, `munmap`, `mprotect`, ...): checked here, decided by the daemon.
//!
//! A process without another node has the kernel's own memory, and the kernel makes every call on it; the
//! daemon only chooses places.

use crate::daemon::requests;
use crate::daemon::settings;
use crate::kernel;
use crate::memory::LOCK;
use crate::memory::copy::{self, ProgramAddress};
use crate::memory::perform::{self, Context};
use crate::memory::segment;
use crate::memory::source::{self, Mapping};
use crate::thread::Thread;
use crate::trap::arguments::ProgramArguments;
use banyan_sys::raw::Errno;
use banyan_wire::address_space::{may_map, page_down, page_up};
use banyan_wire::ids::PAGE_BYTES;
use banyan_wire::stub::{self, ActionKind, Answer, MapSource, Nothing, Request, Steps};
use banyan_wire::syscalls::MemoryCall;
use core::sync::atomic::{AtomicU64, Ordering};
use linux_raw_sys::general as linux;

/// Performs a memory call of a thread; runs at home. Returns the call's result.
pub fn call(thread: &Thread, call: MemoryCall, number: u32, arguments: &ProgramArguments) -> i64 {
    let unmapped = Mapping { source: MapSource::Zeroes, arguments: **arguments };
    match call {
        MemoryCall::Map => match source::of(arguments) {
            Ok(mapping) => map(thread, number, &mapping),
            Err(error) => error.negated(),
        },
        MemoryCall::Attach => match segment::of(arguments) {
            // What is in the way is no error of its own here.
            Ok(mapping) => match map(thread, linux::__NR_mmap, &mapping) {
                result if result == Errno::EEXIST.negated() => Errno::EINVAL.negated(),
                result => result,
            },
            Err(error) => error.negated(),
        },
        MemoryCall::Break => move_break(thread, number, &unmapped),
        MemoryCall::Lock if has_unknown_flags(number, arguments) => Errno::EINVAL.negated(),
        MemoryCall::Advise
        | MemoryCall::Synchronize
        | MemoryCall::Residency
        | MemoryCall::Lock
        | MemoryCall::Unlock
            if settings::is_alone() && is_of_program(arguments) =>
        // SAFETY: the program's own call, on memory of its own.
        unsafe { kernel::raw(number, **arguments) },
        // SAFETY: the program's own call; it takes no memory away.
        MemoryCall::LockAll | MemoryCall::UnlockAll if settings::is_alone() => unsafe {
            kernel::raw(number, **arguments)
        },
        MemoryCall::Residency => match ask(thread, number, &unmapped) {
            Ok(0) => residency(arguments),
            Ok(error) => error,
            Err(failed) => failed.error.negated(),
        },
        MemoryCall::Unmap
        | MemoryCall::Detach
        | MemoryCall::Protect
        | MemoryCall::Remap
        | MemoryCall::Advise
        | MemoryCall::Synchronize
        | MemoryCall::Lock
        | MemoryCall::Unlock
        | MemoryCall::LockAll
        | MemoryCall::UnlockAll => match ask(thread, number, &unmapped) {
            Ok(result) => result,
            Err(failed) => failed.error.negated(),
        },
    }
}

/// Whether a range is one where only the program has memory.
fn is_of_program(arguments: &[u64; 6]) -> bool {
    let start = page_down(arguments[0]);
    let end = arguments[0].checked_add(arguments[1]).and_then(page_up);
    end.is_some_and(|end| may_map(start, end - start))
}

/// `mlock2` has an argument more than `mlock`.
fn has_unknown_flags(number: u32, arguments: &[u64; 6]) -> bool {
    number == linux::__NR_mlock2 && arguments[2] & !u64::from(linux::MLOCK_ONFAULT) != 0
}

/// A call whose steps the kernel did not all perform.
struct Failed {
    error: Errno,
    /// Where the first step was.
    address: u64,
}

/// Has the daemon decide a call and performs what it says. Returns the call's result.
fn ask(thread: &Thread, number: u32, mapping: &Mapping) -> Result<i64, Failed> {
    let _guard = LOCK.lock();
    decided(thread, number, mapping)
}

/// As [`ask`], for a caller that has the lock.
fn decided(thread: &Thread, number: u32, mapping: &Mapping) -> Result<i64, Failed> {
    let limits = kernel::memory_limits(number);
    let Mapping { source, arguments } = *mapping;
    let request = Request::Memory(stub::MemoryCall {
        arguments,
        address_space: limits.address_space,
        data: limits.data,
        locked: limits.locked,
        source,
        number,
        node: thread.node.load(Ordering::Relaxed),
    });
    let file = (source == MapSource::Copied).then_some(arguments[4] as i32);
    let (mut steps, mut file) = expect_steps(requests::exchange(&request, file));
    let result = steps.result;
    let address = steps.actions().first().map_or(0, |first| first.address);
    loop {
        let context = Context { number, arguments: &arguments, file };
        // SAFETY: the daemon's own answer to a call of the program.
        let performed = unsafe { perform::perform(&steps, &context) };
        if let Some(file) = file {
            kernel::close(file);
        }
        if let Err(error) = performed {
            return Err(Failed { error, address });
        }
        if steps.actions().last().is_none_or(|last| last.kind != ActionKind::More) {
            return Ok(result);
        }
        (steps, file) = expect_steps(requests::exchange(&Request::More(Nothing {}), None));
    }
}

fn expect_steps(answer: (Answer, Option<i32>)) -> (Steps, Option<i32>) {
    let (Answer::Steps(steps), file) = answer else { requests::unexpected() };
    (steps, file)
}

/// `mmap`, with what the kernel maps itself.
fn map(thread: &Thread, number: u32, mapping: &Mapping) -> i64 {
    let _guard = LOCK.lock();
    let (result, error) = match decided(thread, number, mapping) {
        Ok(start) if start >= 0 && mapping.source == MapSource::Kernel => {
            // SAFETY: the daemon chose the place, among those that the program may have.
            (start as u64, unsafe { source::map_natively(&mapping.arguments, start as u64) }.err())
        }
        Ok(start) if start >= 0 && mapping.source == MapSource::Segment => {
            // SAFETY: as above, with the segment's length.
            (start as u64, unsafe { segment::attach(&mapping.arguments, start as u64) }.err())
        }
        Ok(result) => return result,
        Err(failed) => (failed.address, Some(failed.error)),
    };
    let Some(error) = error else { return result as i64 };
    undo_mapping(thread, result, mapping.arguments[1]);
    error.negated()
}

/// Takes a mapping that the kernel did not make out of the map of regions again.
fn undo_mapping(thread: &Thread, start: u64, length: u64) {
    let arguments = [start, length, 0, 0, 0, 0];
    let unmap = Mapping { source: MapSource::Zeroes, arguments };
    let _ = decided(thread, linux::__NR_munmap, &unmap);
}

/// Where the program's break is.
static BREAK: AtomicU64 = AtomicU64::new(0);

/// Notes where the program's break begins.
pub fn set_break(at: u64) {
    BREAK.store(at, Ordering::Relaxed);
}

/// `brk`. If the kernel refuses a step, the break goes back to where it was, and the result says so, which is
/// how `brk` fails.
fn move_break(thread: &Thread, number: u32, mapping: &Mapping) -> i64 {
    let _guard = LOCK.lock();
    match decided(thread, number, mapping) {
        Ok(result) => {
            set_break(result as u64);
            result
        }
        Err(_) => {
            let old = BREAK.load(Ordering::Relaxed);
            let back = Mapping { source: MapSource::Zeroes, arguments: [old, 0, 0, 0, 0, 0] };
            let _ = decided(thread, number, &back);
            old as i64
        }
    }
}

/// `mincore`: all mapped memory is reported as resident; on which node is not the program's concern.
fn residency(arguments: &[u64; 6]) -> i64 {
    let ones = [1_u8; 64];
    let mut left = arguments[1].div_ceil(PAGE_BYTES);
    let mut at = arguments[2];
    while left > 0 {
        let piece = left.min(64);
        if copy::copy_out(ProgramAddress(at), &ones[..piece as usize]).is_err() {
            return Errno::EFAULT.negated();
        }
        at += piece;
        left -= piece;
    }
    0
}
