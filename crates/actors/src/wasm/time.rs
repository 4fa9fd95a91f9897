//! How long one event may keep its host, and which part of that its code has.
//!
//! [`event_time`](super::EngineOptions::event_time) is for all that the host does for an event, in processor
//! time. The code has three quarters of it, and is cut off then ([`watchdog`](super::watchdog)). What is left
//! is for what comes behind: messages and actors are made of what was asked for, and written pages are
//! copied. An event that leaves more to be done than there is time for is undone, as one that was cut off.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// What copying a page may take that was never copied before, on a busy machine. Others take a tenth of that.
const PAGE_TIME: Duration = Duration::from_nanos(2_500);
/// Up to here, what an event asks for takes no time that needs to be measured.
const FEW_EFFECTS: usize = 512;
/// Up to here, to copy takes no time that needs to be measured.
const FEW_BYTES: usize = 256 << 10;

/// The part of an event's time that its code may use, with what the host did before.
fn of_code(event_time: Duration) -> Duration {
    event_time / 4 * 3
}

/// What the host did before the code, of which the code has so much less.
pub(super) struct Before(Option<Duration>);

impl Before {
    /// The host begins with so many bytes to be copied.
    pub(super) fn copying(bytes: usize) -> Self {
        Self((bytes > FEW_BYTES).then(thread_time))
    }

    /// The part of an event's time that its code may use.
    pub(super) fn code(self, event_time: Duration) -> Duration {
        let took = self.0.map_or(Duration::ZERO, |from| thread_time().saturating_sub(from));
        of_code(event_time).saturating_sub(took)
    }
}

/// Time that is left for what comes behind the code of an event.
pub(super) struct Left {
    time: Duration,
    /// Processor time of the thread when it began, if it is measured.
    from: Option<Duration>,
}

/// Nothing is left.
pub(super) struct Spent;

impl Left {
    /// After code that has returned so long after its begin, other threads' turns included, for what is to be
    /// done for so many effects.
    pub(super) fn behind(event_time: Duration, elapsed: Duration, effects: usize) -> Self {
        let from = (effects > FEW_EFFECTS).then(thread_time);
        Self { time: event_time.saturating_sub(elapsed.min(of_code(event_time))), from }
    }

    /// Sets aside what it takes to copy so many pages.
    pub(super) fn set_aside(&mut self, pages: usize) -> Result<(), Spent> {
        let pages = u32::try_from(pages).map_err(|_| Spent)?;
        self.time = self.time.checked_sub(PAGE_TIME * pages).ok_or(Spent)?;
        Ok(())
    }

    /// Before the effect of that number: whether there is time for it. It is looked at now and then.
    pub(super) fn check(&self, number: usize) -> Result<(), Spent> {
        match self.from {
            Some(from) if number.is_multiple_of(FEW_EFFECTS) => {
                let used = thread_time().saturating_sub(from);
                // To undo what was made takes a part of what making it took.
                if used + used / 3 > self.time { Err(Spent) } else { Ok(()) }
            }
            _ => Ok(()),
        }
    }
}

/// Processor time that this thread has used.
fn thread_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Before, FEW_BYTES, FEW_EFFECTS, Left, of_code, thread_time};

    const TEN: Duration = Duration::from_millis(10);

    #[test]
    fn pages_have_what_the_code_has_left() {
        for (elapsed, pages) in [(0, 4_000), (4_000, 2_400), (7_500, 1_000), (60_000, 1_000)] {
            let left = || Left::behind(TEN, Duration::from_micros(elapsed), 0);
            assert!(left().set_aside(pages).is_ok() && left().set_aside(pages + 1).is_err(), "{elapsed}");
            let mut twice = left();
            assert!(twice.set_aside(pages).is_ok() && twice.set_aside(1).is_err());
        }
        assert!(Left::behind(TEN, TEN, 0).set_aside(usize::MAX).is_err());
    }

    #[test]
    fn the_code_has_what_was_not_used_before() {
        assert_eq!(Before::copying(FEW_BYTES).code(TEN), of_code(TEN));
        let before = Before::copying(FEW_BYTES + 1);
        let until = thread_time() + TEN;
        while thread_time() < until {
            std::hint::spin_loop();
        }
        assert_eq!(before.code(TEN), Duration::ZERO);
    }

    #[test]
    fn effects_have_time_until_it_is_spent() {
        let left = Left::behind(TEN, TEN, FEW_EFFECTS + 1);
        assert!(left.check(FEW_EFFECTS + 1).is_ok(), "it is not looked at with each");
        let until = thread_time() + TEN;
        while thread_time() < until {
            std::hint::spin_loop();
        }
        assert!(left.check(2 * FEW_EFFECTS).is_err());
        assert!(Left::behind(TEN, TEN, FEW_EFFECTS).check(0).is_ok(), "few are not measured");
    }
}
