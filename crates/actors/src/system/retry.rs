//! [`Retry`]: when something is tried again that a full or a faulty disk has kept from being done.

/// Nanoseconds until the first look at whether it can be done, and the longest time between two.
const PAUSE_FIRST: u64 = 50_000_000;
const PAUSE_LONGEST: u64 = 5_000_000_000;

/// When something is tried again: twice as long after each time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Retry {
    pause: u64,
    /// In nanoseconds of the system's clock.
    pub(crate) at: u64,
}

impl Retry {
    pub(crate) fn first(now: u64) -> Self {
        Self { pause: PAUSE_FIRST, at: now.saturating_add(PAUSE_FIRST) }
    }

    /// It has failed again.
    pub(crate) fn later(self, now: u64) -> Self {
        let pause = (2 * self.pause).min(PAUSE_LONGEST);
        Self { pause, at: now.saturating_add(pause) }
    }
}
