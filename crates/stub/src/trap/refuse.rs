//! Calls that are not served.

use crate::daemon::requests;
use banyan_sys::raw::Errno;
use banyan_wire::stub::{Refusal, Refused, Request};
use banyan_wire::syscalls::{self, Class, NUMBERS, Notice};
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use linux_raw_sys::general as linux;

/// Refuses a call for the reason that its row gives, or because it is not served.
pub fn by_number(call: i64) -> i64 {
    match syscalls::find(call).map(|row| row.class) {
        Some(Class::Refuse { errno, notice }) => refuse(call, errno, notice),
        Some(Class::Local | Class::Deputy(_) | Class::Emulate(_) | Class::Execute) | None => not_served(call),
    }
}

/// Refuses a call that a later Banyan or a newer kernel would serve.
pub fn not_served(call: i64) -> i64 {
    refuse(call, Errno::ENOSYS.0, Notice::Once)
}

/// Refuses a call. Returns the negated errno.
pub fn refuse(call: i64, errno: u16, notice: Notice) -> i64 {
    if matches!(call as u32, linux::__NR_fork | linux::__NR_clone | linux::__NR_clone3) {
        FORK_REFUSED.store(true, Ordering::Relaxed);
    }
    if notice == Notice::Once && is_first(call) {
        let (number, errno) = (call as u64, u32::from(errno));
        requests::tell(&Request::Refused(Refused { number, reason: Refusal::NotTreated, errno }));
    }
    -i64::from(errno)
}

/// Whether the program was refused a fork.
static FORK_REFUSED: AtomicBool = AtomicBool::new(false);

/// Whether a `kill` may be made. Many programs signal the child that they believe to have, whose id after a
/// refused fork is -1.
///
/// # Errors
/// `EPERM` if it would signal every process.
pub fn allows_kill(arguments: &[u64; 6]) -> Result<(), Errno> {
    if arguments[0] as i32 != -1 || !FORK_REFUSED.load(Ordering::Relaxed) {
        return Ok(());
    }
    if is_first(linux::__NR_kill.into()) {
        let (number, errno) = (u64::from(linux::__NR_kill), u32::from(Errno::EPERM.0));
        let refused = Refused { number, reason: Refusal::KillAfterRefusedFork, errno };
        requests::tell(&Request::Refused(refused));
    }
    Err(Errno::EPERM)
}

/// Whether the number is refused for the first time. False for numbers that no kernel has: they are not
/// mentioned.
fn is_first(call: i64) -> bool {
    static SEEN: [AtomicU64; NUMBERS.div_ceil(64)] = [const { AtomicU64::new(0) }; NUMBERS.div_ceil(64)];
    let Ok(number) = usize::try_from(call) else { return false };
    let bit = 1 << (number % 64);
    SEEN.get(number / 64).is_some_and(|word| word.fetch_or(bit, Ordering::Relaxed) & bit == 0)
}
