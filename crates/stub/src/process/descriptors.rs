//! Descriptors of the stub, which lie above the numbers that the program can get, and which it cannot close.

use crate::daemon::settings::SETTINGS;
use crate::kernel;
use crate::thread::block;
use banyan_sys::raw::Errno;
use banyan_wire::descriptors::raised_limit;
use banyan_wire::syscalls::DescriptorArguments;
use core::sync::atomic::Ordering;
use linux_raw_sys::general as linux;

/// Moves a descriptor to the hidden numbers, above what the program's limit lets it get. The limit is lifted for
/// a moment: existing descriptors above it stay valid. If that is not allowed, the descriptor stays where it is.
pub fn hide(descriptor: i32) -> i32 {
    const DUPLICATE: u64 = linux::F_DUPFD_CLOEXEC as u64;
    let floor = u64::from(SETTINGS.descriptor_floor.load(Ordering::Relaxed));
    let mut limit = [0_u64; 2];
    if with_limit(None, Some(&mut limit)).is_err() {
        return descriptor;
    }
    let raised = [raised_limit(limit[0], limit[1]), limit[1]];
    if with_limit(Some(&raised), None).is_err() {
        return descriptor;
    }
    let moved = kernel::checked(linux::__NR_fcntl, [descriptor as u64, DUPLICATE, floor, 0, 0, 0]);
    let _ = with_limit(Some(&limit), None);
    match moved {
        Ok(moved) => {
            kernel::close(descriptor);
            moved as i32
        }
        Err(_) => descriptor,
    }
}

fn with_limit(new: Option<&[u64; 2]>, old: Option<&mut [u64; 2]>) -> Result<u64, Errno> {
    const LIMIT: u64 = linux::RLIMIT_NOFILE as u64;
    let new = new.map_or(0, |limit| limit.as_ptr() as u64);
    let old = old.map_or(0, |limit| limit.as_mut_ptr() as u64);
    kernel::checked(linux::__NR_prlimit64, [0, LIMIT, new, old, 0, 0])
}

fn floor() -> u64 {
    u64::from(SETTINGS.descriptor_floor.load(Ordering::Relaxed))
}

/// `close_range` without the descriptors that the stub hides.
pub fn close_range(arguments: &[u64; 6]) -> i64 {
    let mut arguments = *arguments;
    if arguments[0] > arguments[1] {
        return Errno::EINVAL.negated();
    }
    if arguments[0] >= floor() {
        return 0;
    }
    arguments[1] = arguments[1].min(floor() - 1);
    kernel::raw(linux::__NR_close_range, arguments)
}

/// Calls that could take a hidden descriptor away: to the program it is not open.
pub fn guarded(number: u32, which: DescriptorArguments, arguments: &[u64; 6]) -> i64 {
    let hidden = |argument: u64| u64::from(argument as u32) >= floor() && is_ours(argument as i32);
    let closed = match which {
        DescriptorArguments::First => hidden(arguments[0]),
        DescriptorArguments::FirstAndSecond => hidden(arguments[0]) || hidden(arguments[1]),
    };
    if closed {
        return Errno::EBADF.negated();
    }
    kernel::raw(number, *arguments)
}

/// Whether a descriptor is one that the stub uses.
fn is_ours(descriptor: i32) -> bool {
    let own = [&SETTINGS.requests, &SETTINGS.commands, &SETTINGS.memory, &SETTINGS.faults];
    own.iter().any(|own| own.load(Ordering::Relaxed) == descriptor)
        || block::all().any(|thread| thread.connection.get() == descriptor)
}
