//! Descriptors of the stub, which lie above the numbers that the program can get, and which it cannot close.

use crate::daemon::settings::SETTINGS;
use crate::kernel;
use crate::thread::block;
use crate::trap::arguments::ProgramArguments;
use banyan_sys::raw::Errno;
use banyan_wire::descriptors::{HIDDEN_DESCRIPTORS, raised_limit};
use banyan_wire::syscalls::DescriptorArguments;
use core::sync::atomic::Ordering;
use linux_raw_sys::general as linux;

/// Moves a descriptor to the hidden numbers, above what the program's limit lets it get. The limit is lifted
/// for a moment: existing descriptors above it stay valid. If that is not allowed, the descriptor stays where
/// it is.
pub fn hide(descriptor: i32) -> i32 {
    let Ok([soft, hard]) = kernel::file_limit() else { return descriptor };
    if kernel::set_file_limit(lifted(soft, hard)).is_err() {
        return descriptor;
    }
    let moved = kernel::duplicate_from(descriptor, floor());
    let _ = kernel::set_file_limit([soft, hard]);
    match moved {
        Ok(moved) => {
            kernel::close(descriptor);
            moved
        }
        Err(_) => descriptor,
    }
}

/// Does what needs a number for a descriptor of the stub's although the program may have used all of its own.
/// Meanwhile the program's other threads could get one too: it is to be short.
pub fn with_room<T>(make: impl FnOnce() -> T) -> T {
    let limits = kernel::file_limit()
        .and_then(|[soft, hard]| kernel::set_file_limit(lifted(soft, hard)).map(|()| [soft, hard]));
    let made = make();
    if let Ok(limits) = limits {
        let _ = kernel::set_file_limit(limits);
    }
    made
}

/// The limits with which hidden descriptors can be made. The program may have lowered its own since their
/// floor was chosen.
fn lifted(soft: u64, hard: u64) -> [u64; 2] {
    [raised_limit(soft, hard).max((floor() + HIDDEN_DESCRIPTORS).min(hard)), hard]
}

fn floor() -> u64 {
    u64::from(SETTINGS.descriptor_floor.load(Ordering::Relaxed))
}

/// `close_range` without the descriptors that the stub hides.
pub fn close_range(arguments: &ProgramArguments) -> i64 {
    let mut arguments = **arguments;
    if arguments[0] > arguments[1] {
        return Errno::EINVAL.negated();
    }
    if arguments[0] >= floor() {
        return 0;
    }
    arguments[1] = arguments[1].min(floor() - 1);
    // SAFETY: the program's own call, without the stub's descriptors.
    unsafe { kernel::raw(linux::__NR_close_range, arguments) }
}

/// Whether a call is about a descriptor of the stub, which it could take away: to the program it is not open.
pub fn are_hidden(which: DescriptorArguments, arguments: &[u64; 6]) -> bool {
    let hidden = |argument: u64| u64::from(argument as u32) >= floor() && is_ours(argument as i32);
    match which {
        DescriptorArguments::First => hidden(arguments[0]),
        DescriptorArguments::FirstAndSecond => hidden(arguments[0]) || hidden(arguments[1]),
    }
}

/// Whether a descriptor is one that the stub uses.
pub fn is_ours(descriptor: i32) -> bool {
    let own = [&SETTINGS.requests, &SETTINGS.commands, &SETTINGS.memory, &SETTINGS.faults];
    own.iter().any(|own| own.load(Ordering::Relaxed) == descriptor)
        || block::all().any(|thread| thread.connection.get() == descriptor)
}
