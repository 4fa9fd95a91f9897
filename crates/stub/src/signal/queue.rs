//! Signals sent to one thread, and signals that a deputy's call raised: what becomes of them when the thread
//! that they are for is on another node.

use crate::daemon::requests;
use crate::kernel;
use crate::signal::disposition::{self, SIG_DFL, SIG_IGN};
use crate::signal::{self, MASK_BYTES, SIGNALS, SIGPIPE};
use crate::thread::{Role, Thread, block};
use banyan_wire::stub::{Refusal, Refused, Request};
use core::sync::atomic::Ordering;
use linux_raw_sys::general as linux;

/// After a call of a deputy: a broken pipe raised SIGPIPE on the deputy, where it is blocked. Does what it
/// would have done to the program's thread.
pub fn settle_broken_pipe(mask: u64) {
    if mask & signal::bit(SIGPIPE) != 0 || disposition::handler_of(SIGPIPE) == SIG_IGN {
        return;
    }
    if disposition::handler_of(SIGPIPE) == SIG_DFL {
        disposition::die_of(SIGPIPE);
    }
    // Take it off the deputy's queue; say that the handler did not run.
    let (set, zero) = (signal::bit(SIGPIPE), [0_u64; 2]);
    let arguments = [&raw const set as u64, 0, zero.as_ptr() as u64, MASK_BYTES, 0, 0];
    // SAFETY: the set and the time live across the call, which only reads them.
    let _ = unsafe { kernel::raw(linux::__NR_rt_sigtimedwait, arguments) };
    handler_did_not_run(SIGPIPE);
}

/// `tkill`, `tgkill`, `rt_tgsigqueueinfo`. A thread on another node cannot be interrupted there; what the
/// signal does to the process by default is done at once, and a handler that would have to run is named to
/// the person.
pub fn send_to_thread(number: u32, thread: usize, arguments: &[u64; 6]) -> i64 {
    let (target, signal) = (arguments[thread] as u32, arguments[thread + 1]);
    let is_remote = |thread: &&Thread| {
        thread.role() == Role::Deputy && thread.thread_id.load(Ordering::Relaxed) == target
    };
    let remote = (1..=SIGNALS as u64).contains(&signal).then(|| block::all().find(is_remote)).flatten();
    // SAFETY: the program's own call.
    let result = unsafe { kernel::raw(number, *arguments) };
    let Some(remote) = remote.filter(|_| result == 0) else { return result };
    if remote.mask.load(Ordering::Relaxed) & signal::bit(signal) != 0 {
        return result;
    }
    match disposition::handler_of(signal) {
        SIG_DFL if ends_process(signal) => disposition::die_of(signal),
        SIG_DFL | SIG_IGN => {}
        _ => {
            handler_did_not_run(signal);
        }
    }
    result
}

/// Names a signal to the person whose handler would have had to run on another node.
fn handler_did_not_run(signal: u64) {
    let refused = Refused { number: signal, reason: Refusal::HandlerOnRemoteThread, errno: 0 };
    requests::tell(&Request::Refused(refused));
}

/// Whether a signal's default action ends the process: all but the ignored ones and those that stop and
/// continue.
const fn ends_process(signal: u64) -> bool {
    !matches!(
        signal as u32,
        linux::SIGCHLD
            | linux::SIGCONT
            | linux::SIGSTOP
            | linux::SIGTSTP
            | linux::SIGTTIN
            | linux::SIGTTOU
            | linux::SIGURG
            | linux::SIGWINCH
    )
}
