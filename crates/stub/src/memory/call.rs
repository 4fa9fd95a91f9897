//! The memory calls of the program (`mmap`, `munmap`, `mprotect`, ...): checked here, decided by the daemon.

use crate::daemon::requests;
use crate::daemon::settings::SETTINGS;
use crate::kernel;
use crate::memory::LOCK;
use crate::memory::copy::{self, ProgramAddress};
use crate::memory::perform::{self, Backing};
use crate::thread::Thread;
use banyan_sys::raw::Errno;
use banyan_wire::ids::PAGE_BYTES;
use banyan_wire::stub::{self, Answer, Refusal, Refused, Request};
use banyan_wire::syscalls::MemoryCall;
use core::sync::atomic::Ordering;
use linux_raw_sys::general as linux;

/// Performs a memory call of a thread; runs at home. Returns the call's result.
pub fn call(thread: &Thread, call: MemoryCall, number: u32, arguments: &[u64; 6]) -> i64 {
    match call {
        MemoryCall::Map => match check_file(arguments) {
            Ok(()) => ask(thread, number, arguments),
            Err(error) => error.negated(),
        },
        MemoryCall::Residency => match ask(thread, number, arguments) {
            0 => residency(arguments),
            error => error,
        },
        MemoryCall::Unmap
        | MemoryCall::Protect
        | MemoryCall::Break
        | MemoryCall::Remap
        | MemoryCall::Advise
        | MemoryCall::Synchronize
        | MemoryCall::Pin
        | MemoryCall::PinAll => ask(thread, number, arguments),
    }
}

/// Has the daemon decide a call and performs what it says.
fn ask(thread: &Thread, number: u32, arguments: &[u64; 6]) -> i64 {
    let node = thread.node.load(Ordering::Relaxed);
    let request = stub::MemoryCall { arguments: *arguments, number, node };
    let _guard = LOCK.lock();
    let Answer::Steps(steps) = requests::ask(&Request::Memory(request)) else { requests::unexpected() };
    let alone = SETTINGS.nodes.load(Ordering::Relaxed) == 1;
    let backing = if alone { Backing::Private } else { Backing::MemoryFile };
    match perform::perform(&steps, arguments[4] as i32, backing) {
        Ok(()) => steps.result,
        Err(error) => error.negated(),
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

/// What the kernel checks of a file before it maps it. Shared mappings that can be written are refused.
fn check_file(arguments: &[u64; 6]) -> Result<(), Errno> {
    let [_, _, protection, flags, descriptor, _] = *arguments;
    if flags & u64::from(linux::MAP_ANONYMOUS) != 0 {
        return Ok(());
    }
    // SAFETY: all-zero bytes are a valid `stat`.
    let mut status: linux::stat = unsafe { core::mem::zeroed() };
    // SAFETY: the status lives across the call, which writes it.
    let _ = unsafe { kernel::checked(linux::__NR_fstat, [descriptor, &raw mut status as u64, 0, 0, 0, 0])? };
    if status.st_mode & linux::S_IFMT != linux::S_IFREG {
        return Err(Errno::ENODEV);
    }
    let writable = protection & u64::from(linux::PROT_WRITE) != 0;
    if flags & u64::from(linux::MAP_TYPE) != u64::from(linux::MAP_PRIVATE) && writable {
        let (number, reason) = (u64::from(linux::__NR_mmap), Refusal::SharedFileMapping);
        requests::tell(&Request::Refused(Refused { number, reason, errno: 0 }));
        return Err(Errno::ENODEV);
    }
    Ok(())
}
