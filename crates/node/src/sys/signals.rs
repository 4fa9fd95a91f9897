//! The signals that a thread blocks.

use banyan_sys::raw;
use linux_raw_sys::general::{__NR_rt_sigprocmask, SIG_SETMASK};
use std::io;

/// Has the calling thread, and what it executes, block these signals: bit n-1 is signal n.
///
/// # Errors
/// The kernel's.
pub(crate) fn set_mask(mask: u64) -> io::Result<()> {
    let arguments =
        [u64::from(SIG_SETMASK), (&raw const mask).addr() as u64, 0, size_of::<u64>() as u64, 0, 0];
    // SAFETY: the mask lives across the call, which only reads it. No handler is named here: who installed
    // one has promised that it may run whenever its signal is not blocked.
    unsafe { raw::call(__NR_rt_sigprocmask, arguments) }.map(drop).map_err(io::Error::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mask_is_the_threads_own() {
        let blocked = || {
            let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
            let mask = status.lines().find_map(|line| line.strip_prefix("SigBlk:\t")).unwrap();
            u64::from_str_radix(mask, 16).unwrap()
        };
        let before = blocked();
        set_mask(1 << 9 | 1 << 63).unwrap();
        assert_eq!(blocked(), 1 << 9 | 1 << 63);
        set_mask(before).unwrap();
        assert_eq!(blocked(), before);
    }
}
