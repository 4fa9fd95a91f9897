//! The limit on processor time (`RLIMIT_CPU`) of a program on several nodes: no kernel knows the sum, so at
//! home the limit and the clock are read from time to time, and what the kernel would do is done here.
//!
//! The limit itself is the home kernel's, so it may be set from inside and from outside.
//!
//! Not here: timers on processor time (`timers`), and other limits, which are the home kernel's altogether.

use super::Job;
use super::home::Home;
use banyan_core::timers::{Clock, Counts, Due, NO_NUMBER, SI_TIMER};
use rustix::process::{Pid, Resource, Rlimit, Signal};
use std::time::Duration;

/// A limit may be set at any time; it has whole seconds.
const LOOK_MAX: Duration = Duration::from_secs(1);
/// Each reading of the clock is a round trip to every node.
const LOOK_MIN: Duration = Duration::from_millis(10);

/// A limit in seconds; `None` is none.
type Seconds = Option<u64>;

/// What is to be done about a program that used this much.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// Nothing, until it used so much more.
    Within(Duration),
    /// It is told by SIGXCPU, and again a second later: its soft limit becomes this.
    Told(u64),
    /// It is killed.
    Over,
}

/// As setrlimit(2) has it: told at the soft limit and each second after it, killed at the hard one.
fn decide(soft: Seconds, hard: Seconds, used: Duration) -> Verdict {
    match (soft, hard) {
        (_, Some(hard)) if used >= Duration::from_secs(hard) => Verdict::Over,
        (Some(soft), _) if used >= Duration::from_secs(soft) => Verdict::Told(soft + 1),
        _ => {
            let next = soft.into_iter().chain(hard).min().unwrap_or(u64::MAX);
            Verdict::Within(Duration::from_secs(next).saturating_sub(used))
        }
    }
}

/// The limits in what the kernel shows as `/proc/PID/limits`.
fn limits_in(shown: &str) -> Option<(Seconds, Seconds)> {
    let line = shown.lines().find_map(|line| line.strip_prefix("Max cpu time"))?;
    let mut words = line.split_whitespace().map(|word| word.parse().ok());
    Some((words.next()?, words.next()?))
}

impl Job {
    /// At home: sees to it that the limit holds for all nodes together, for as long as the run lasts.
    pub(super) fn keep_limits(&self, home: &Home) {
        let mut wait = LOOK_MAX;
        while !self.is_ending() {
            std::thread::sleep(wait);
            wait = self.look_at_limits(home).unwrap_or(LOOK_MAX).clamp(LOOK_MIN, LOOK_MAX);
        }
    }

    /// Returns how long the limit can be left alone.
    fn look_at_limits(&self, home: &Home) -> Option<Duration> {
        let process = Pid::from_raw(self.replica_id().cast_signed())?;
        let (soft, hard) = limits_in(&std::fs::read_to_string(format!("/proc/{process}/limits")).ok()?)?;
        if home.presence.nodes() == 1 || (soft, hard) == (None, None) {
            return None;
        }
        let clock = Clock { of: 0, counts: Counts::All };
        let used = Duration::from_nanos(self.reading(home, clock).ok()?);
        match decide(soft, hard, used) {
            Verdict::Within(left) => return Some(left / self.threads_at_once(clock)),
            Verdict::Told(soft) => {
                // The kernel does so too, with what it counts itself.
                let limit = Rlimit { current: Some(soft), maximum: hard };
                let _ = rustix::process::prlimit(Some(process), Resource::Cpu, limit);
                // si_signo, si_code: as of a timer on processor time.
                let information = [Signal::XCPU.as_raw().cast_unsigned().into(), SI_TIMER, NO_NUMBER, 0];
                self.raise(home, Due { to: None, information }, &mut home.timers.0.lock().last);
            }
            Verdict::Over => {
                let _ = rustix::process::kill_process(process, Signal::KILL);
            }
        }
        Some(LOOK_MIN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_told_each_second_from_the_soft_limit_on_and_killed_at_the_hard_one() {
        let at = |millis, soft, hard| decide(soft, hard, Duration::from_millis(millis));
        assert_eq!(at(400, Some(1), Some(3)), Verdict::Within(Duration::from_millis(600)));
        assert_eq!(at(1000, Some(1), Some(3)), Verdict::Told(2));
        assert_eq!(at(1500, Some(2), Some(3)), Verdict::Within(Duration::from_millis(500)));
        assert_eq!(at(3000, Some(3), Some(3)), Verdict::Over);
        assert_eq!(at(9000, Some(2), None), Verdict::Told(3));
        assert_eq!(at(2500, None, Some(3)), Verdict::Within(Duration::from_millis(500)));
        assert_eq!(at(0, Some(0), None), Verdict::Told(1), "the kernel does not take 0 for no limit here");
    }

    #[test]
    fn limits_are_read_as_the_kernel_shows_them() {
        let shown = "Limit                     Soft Limit           Hard Limit           Units     \n\
                     Max cpu time              1                    unlimited            seconds   \n\
                     Max file size             unlimited            unlimited            bytes     \n";
        assert_eq!(limits_in(shown), Some((Some(1), None)));
        assert_eq!(limits_in("Max open files 3 4 files"), None);
        let own = std::fs::read_to_string("/proc/self/limits").unwrap();
        let limit = rustix::process::getrlimit(Resource::Cpu);
        assert_eq!(limits_in(&own), Some((limit.current, limit.maximum)));
    }
}
