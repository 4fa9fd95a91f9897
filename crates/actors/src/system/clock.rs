//! [`Clock`]: the time of a system, real or moved by a simulation.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// The time.
pub(crate) enum Clock {
    /// Since the start.
    Real(Instant),
    /// Nanoseconds.
    Simulated(AtomicU64),
}

impl Clock {
    pub(crate) fn real() -> Self {
        Self::Real(Instant::now())
    }

    pub(crate) fn simulated() -> Self {
        Self::Simulated(AtomicU64::new(0))
    }

    pub(crate) fn is_simulated(&self) -> bool {
        matches!(self, Self::Simulated(_))
    }

    /// Nanoseconds since the start.
    pub(crate) fn now(&self) -> u64 {
        match self {
            Self::Real(origin) => u64::try_from(origin.elapsed().as_nanos()).unwrap_or(u64::MAX),
            Self::Simulated(now) => now.load(Ordering::Relaxed),
        }
    }

    /// Nanoseconds since 1970, to which what is kept refers; of a simulated clock, since its start.
    pub(crate) fn date(&self) -> u64 {
        match self {
            Self::Real(_) => {
                let since = SystemTime::now().duration_since(UNIX_EPOCH);
                since.map_or(0, |time| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX))
            }
            Self::Simulated(now) => now.load(Ordering::Relaxed),
        }
    }

    /// Moves a simulated clock.
    pub(crate) fn advance(&self, by: Duration) {
        if let Self::Simulated(now) = self {
            now.fetch_add(u64::try_from(by.as_nanos()).unwrap_or(0), Ordering::Relaxed);
        }
    }
}
