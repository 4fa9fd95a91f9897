//! Calls that are not served.

use crate::daemon::requests;
use banyan_wire::stub::{Refusal, RequestKind};
use core::sync::atomic::{AtomicU64, Ordering};
use linux_raw_sys::general as linux;

/// Refuses a call; the daemon says so once per number. Returns the negated errno.
pub fn refuse(call: i64, errno: u16) -> i64 {
    /// Numbers said already.
    static SAID: [AtomicU64; 8] = [const { AtomicU64::new(0) }; 8];
    // Every program with a current C library asks for these and has a way without.
    let expected = [i64::from(linux::__NR_rseq)].contains(&call);
    let slot = usize::try_from(call).unwrap_or(usize::MAX);
    let first = match SAID.get(slot / 64) {
        Some(word) => word.fetch_or(1 << (slot % 64), Ordering::Relaxed) & (1 << (slot % 64)) == 0,
        None => false,
    };
    if first && !expected {
        let values = [call as u64, Refusal::NotTreated as u64, u64::from(errno), 0, 0, 0, 0, 0];
        let _ = requests::request(RequestKind::Refused, values);
    }
    -i64::from(errno)
}
