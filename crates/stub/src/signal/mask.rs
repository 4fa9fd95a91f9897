//! Signal masks: the program's view of its own, and what the kernel gets of it.
//!
//! SIGSYS is never blocked in the kernel: a trapped call of a thread that blocks it would kill the process.
//! That the program believes that it blocks SIGSYS is kept beside.

use crate::kernel::{self, MaskChange};
use crate::memory::copy::{self, ProgramAddress};
use crate::signal::{self, MASK_BYTES, SIGKILL, SIGSTOP, SIGSYS, SYNCHRONOUS};
use banyan_sys::raw::Errno;
use linux_raw_sys::general as linux;

/// What every carrier blocks in the kernel: all but the faults of its own instructions.
pub const CARRIER_MASK: u64 = !SYNCHRONOUS;
/// What a handler of the stub blocks.
pub(super) const HANDLER_MASK: u64 = !SYNCHRONOUS;

/// Blocks all signals but faults; returns the mask before.
pub fn block_all() -> u64 {
    kernel::set_mask(MaskChange::Set, HANDLER_MASK)
}

/// `rt_sigprocmask`: changes `mask` (the program's view) and returns 0 or a negated errno.
pub fn change_mask(arguments: &[u64; 6], mask: &mut u64) -> i64 {
    let [how, set, old, size, ..] = *arguments;
    if size != MASK_BYTES {
        return Errno::EINVAL.negated();
    }
    let before = *mask;
    if set != 0 {
        let Ok(given): Result<u64, Errno> = copy::load(ProgramAddress(set)) else {
            return Errno::EFAULT.negated();
        };
        *mask = match how as u32 {
            linux::SIG_BLOCK => before | given,
            linux::SIG_UNBLOCK => before & !given,
            linux::SIG_SETMASK => given,
            _ => return Errno::EINVAL.negated(),
        } & !(signal::bit(SIGKILL) | signal::bit(SIGSTOP));
    }
    if old != 0 && copy::store(ProgramAddress(old), &before).is_err() {
        return Errno::EFAULT.negated();
    }
    0
}

/// Splits the program's view of a mask into what the kernel gets and whether SIGSYS was in it.
pub const fn split_mask(mask: u64) -> (u64, u64) {
    (mask & !signal::bit(SIGSYS), mask & signal::bit(SIGSYS))
}
