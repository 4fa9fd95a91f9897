//! `clock_nanosleep` by processor time of the program, which is a sum over the nodes: no kernel sleeps by
//! it. So the thread sleeps a while by time, looks at the clock, and sleeps again, until the clock has come
//! to where it is waited for.
//!
//! A home thread sleeps on the program's own stack, where signals interrupt it as they do natively, and makes
//! its call again after each while (`trap::reissue`); a deputy sleeps where it lets signals in for its
//! thread.
//!
//! Not here: other clocks, and those of a process on one node. The kernel sleeps by those.

use crate::memory::copy::{self, ProgramAddress};
use crate::process::processor_time::{self, Subject, WORDS};
use crate::signal::frame::UserContext;
use crate::signal::wait;
use crate::thread::block::{self, Sleep};
use crate::thread::{Role, Thread};
use crate::trap::reissue;
use banyan_sys::raw::Errno;
use core::sync::atomic::Ordering;
use linux_raw_sys::general as linux;

const NANOSECONDS: u64 = 1_000_000_000;
const MILLISECOND: u64 = 1_000_000;
/// Threads begin to run without saying so: the clock is read at least this often.
const WHILE_MAX_MS: u64 = 20;

/// A `struct timespec` of the program.
pub type Time = [u64; 2];

/// The call of a home thread: its result, or `None` if it sleeps first.
///
/// # Errors
/// What the program gets.
pub fn at_home(
    thread: &Thread,
    number: u32,
    arguments: &[u64; 6],
    context: &mut UserContext,
) -> Result<Option<i64>, Errno> {
    if processor_time::subject(number, arguments) == Subject::Other {
        reissue::reissue(thread, number, [0; 3], context)?;
        return Ok(None);
    }
    let again = reissue::slept(context);
    let interruptions = thread.interruptions.get();
    let sleep = match thread.sleep.take() {
        Some(sleep) if again => sleep,
        // A handler slept meanwhile.
        _ if again => return Err(Errno::EINTR),
        _ => {
            let request = || copy::load(ProgramAddress(arguments[2]));
            Sleep { until: begin(thread, number, arguments, request)?, interruptions }
        }
    };
    let Some(left) = left(thread, arguments, sleep.until)? else { return Ok(Some(0)) };
    if sleep.interruptions != interruptions {
        if let Some(left) = remaining(arguments, left) {
            copy::store(ProgramAddress(arguments[3]), &left)?;
        }
        return Err(Errno::EINTR);
    }
    thread.sleep.set(Some(sleep));
    reissue::sleep(thread, number, a_while(number, arguments, left), context)?;
    Ok(None)
}

/// How a deputy's sleep ended.
pub enum End {
    /// The clock has come to where it was waited for.
    Over,
    /// A signal came before it began.
    NotBegun,
    /// A signal ended it. The program gets the remaining time, if it asked for it.
    Interrupted(Option<Time>),
}

/// The call of the thread elsewhere whose deputy this is, which lets signals in but those in `blocked`.
///
/// # Errors
/// What the program gets.
pub fn for_remote(
    thread: &Thread,
    number: u32,
    arguments: &[u64; 6],
    blocked: u64,
    request: impl FnOnce() -> Result<Time, Errno>,
) -> Result<End, Errno> {
    let until = begin(thread, number, arguments, request)?;
    let mut slept = false;
    while let Some(left) = left(thread, arguments, until)? {
        let poll = [0, 0, a_while(number, arguments, left), 0, 0, 0];
        // SAFETY: poll(2) of nothing.
        let end = unsafe { wait::call(thread, blocked, linux::__NR_poll, poll) };
        wait::close(thread);
        match end {
            wait::End::Made(0) => slept = true,
            wait::End::NotMade if !slept => return Ok(End::NotBegun),
            wait::End::Made(_) | wait::End::NotMade => {
                let left = self::left(thread, arguments, until)?.unwrap_or(0);
                return Ok(End::Interrupted(remaining(arguments, left)));
            }
        }
    }
    Ok(End::Over)
}

/// Checks the call as the kernel does; returns the reading of the clock that is waited for.
fn begin(
    thread: &Thread,
    number: u32,
    arguments: &[u64; 6],
    request: impl FnOnce() -> Result<Time, Errno>,
) -> Result<u64, Errno> {
    let clock = arguments[0] as u32;
    if clock == linux::CLOCK_THREAD_CPUTIME_ID {
        return Err(Errno::EOPNOTSUPP);
    }
    let own = Subject::Thread(thread.thread_id.load(Ordering::Relaxed));
    let [seconds, nanoseconds] = request()?;
    let time = time(seconds, nanoseconds).ok_or(Errno::EINVAL)?;
    let subject = processor_time::subject(number, arguments);
    if subject == Subject::Caller || subject == own {
        // It would never come: a thread that sleeps uses no time.
        return Err(Errno::EINVAL);
    }
    let now = read(thread, arguments)?;
    Ok(if is_absolute(arguments) { time } else { now.saturating_add(time) })
}

fn is_absolute(arguments: &[u64; 6]) -> bool {
    arguments[1] as u32 & linux::TIMER_ABSTIME != 0
}

fn time(seconds: u64, nanoseconds: u64) -> Option<u64> {
    let valid = (seconds as i64) >= 0 && nanoseconds < NANOSECONDS;
    valid.then(|| seconds.saturating_mul(NANOSECONDS).saturating_add(nanoseconds))
}

/// How much is left until the clock reads `until`, if it does not yet.
fn left(thread: &Thread, arguments: &[u64; 6], until: u64) -> Result<Option<u64>, Errno> {
    let now = read(thread, arguments)?;
    Ok(until.checked_sub(now).filter(|&left| left > 0))
}

fn read(thread: &Thread, arguments: &[u64; 6]) -> Result<u64, Errno> {
    let mut words = [0; WORDS];
    let [clock, ..] = *arguments;
    let result = processor_time::make(thread, linux::__NR_clock_gettime, &[clock, 0, 0, 0, 0, 0], &mut words);
    let [seconds, nanoseconds, ..] = words;
    // A thread that has ended meanwhile has no clock any more.
    if result < 0 { Err(Errno::EINVAL) } else { Ok(seconds * NANOSECONDS + nanoseconds) }
}

/// Gives the program the remaining time, if it asked for it.
fn remaining(arguments: &[u64; 6], left: u64) -> Option<Time> {
    let wanted = arguments[3] != 0 && !is_absolute(arguments);
    wanted.then_some([left / NANOSECONDS, left % NANOSECONDS])
}

/// For how many milliseconds the thread may sleep: a process's clock runs as fast as it has threads.
fn a_while(number: u32, arguments: &[u64; 6], left: u64) -> u64 {
    let runs = |thread: &&Thread| matches!(thread.role(), Role::Home | Role::Deputy);
    let speed = match processor_time::subject(number, arguments) {
        Subject::Process => block::all().filter(runs).count() as u64,
        _ => 1,
    };
    (left / speed.max(1)).div_ceil(MILLISECOND).clamp(1, WHILE_MAX_MS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_time_is_none() {
        assert_eq!(time(1, 5), Some(NANOSECONDS + 5));
        assert_eq!(time(0, NANOSECONDS), None);
        assert_eq!(time(u64::MAX, 0), None);
        assert_eq!(time(i64::MAX as u64, 0), Some(u64::MAX));
    }

    #[test]
    fn only_who_sleeps_for_a_time_is_told_what_is_left() {
        let left = 3 * NANOSECONDS + 7;
        assert_eq!(remaining(&[2, 0, 8, 8, 0, 0], left), Some([3, 7]));
        assert_eq!(remaining(&[2, 0, 8, 0, 0, 0], left), None);
        assert_eq!(remaining(&[2, linux::TIMER_ABSTIME.into(), 8, 8, 0, 0], left), None);
    }
}
