//! The memory calls of the program (`mmap`, `munmap`, `mprotect`, ...): checked here, decided by the daemon.

use crate::daemon::requests;
use crate::daemon::settings::SETTINGS;
use crate::kernel;
use crate::memory::LOCK;
use crate::memory::perform::{self, Backing};
use banyan_sys::raw::Errno;
use banyan_wire::stub::{Refusal, RequestKind};
use core::sync::atomic::Ordering;
use linux_raw_sys::general as linux;

/// Performs a memory call of a thread that executes on `node`; runs at home. Returns the call's result.
pub fn call(number: i64, arguments: &[u64; 6], node: u32) -> i64 {
    if number == kernel::number(linux::__NR_mmap)
        && let Err(error) = check_file(arguments)
    {
        return error.negated();
    }
    let mut values = [0; 8];
    values[0] = number as u64;
    values[1..7].copy_from_slice(arguments);
    values[7] = u64::from(node);
    let _guard = LOCK.lock();
    let answer = requests::request(RequestKind::Memory, values);
    let alone = SETTINGS.nodes.load(Ordering::Relaxed) == 1;
    let backing = if alone { Backing::Private } else { Backing::MemoryFile };
    match perform::perform(&answer, arguments[4] as i32, backing) {
        Ok(()) => answer.result,
        Err(error) => error.negated(),
    }
}

/// What the kernel checks of a file before it maps it. Shared mappings that can be written are refused.
fn check_file(arguments: &[u64; 6]) -> Result<(), Errno> {
    let [_, _, protection, flags, descriptor, _] = *arguments;
    if flags & u64::from(linux::MAP_ANONYMOUS) != 0 {
        return Ok(());
    }
    // SAFETY: all-zero bytes are a valid `stat`.
    let mut status: linux::stat = unsafe { core::mem::zeroed() };
    let _ = kernel::checked(linux::__NR_fstat, [descriptor, &raw mut status as u64, 0, 0, 0, 0])?;
    const KIND: u32 = 0o170_000;
    if status.st_mode & KIND != 0o100_000 {
        return Err(Errno::ENODEV);
    }
    let writable = protection & 2 != 0;
    if flags & 0xf != 2 && writable {
        let _ =
            requests::request(RequestKind::Refused, [9, Refusal::SharedFileMapping as u64, 0, 0, 0, 0, 0, 0]);
        return Err(Errno::ENODEV);
    }
    Ok(())
}
