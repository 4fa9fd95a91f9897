//! Which of the caller's pages stay with a worker from one time that it runs to the next: what both ends
//! decide, each for itself, so that they agree.
//!
//! Pages have numbers, in the order in which they were copied; a set of them is a word of bits. What is not
//! here: copying, comparing and placing pages (`caller::exchange::kept`, `worker::kept`), and for how long a
//! page is worth keeping (`caller::keeping`). Pure; the tests have both ends use one model of memory, and
//! mistakes that the model must notice.

use crate::shared::layout::{KEPT_MAX, PAGE};
use crate::shared::message::{Keeping, Touched};

/// How many numbers are taken if those of a set are.
pub(crate) const fn taken(numbers: u64) -> usize {
    KEPT_MAX - numbers.leading_zeros() as usize
}

/// At the caller, when the worker has given control back: how many of the `granted` pages it has from now on,
/// as numbers. `paused` is for how many calls it is to keep none.
pub(crate) const fn settled(touched: Touched, paused: u32, granted: u32) -> u32 {
    if touched.keeps && paused == 0 && granted as usize <= KEPT_MAX { granted } else { 0 }
}

/// At the caller, before the worker runs: what it is told, which has the pages `had`. It may keep those of
/// `kept`; of them the program has changed those of `changed`.
pub(crate) const fn told(had: u64, kept: u64, changed: u64) -> Keeping {
    if had == 0 {
        Keeping::None
    } else if kept == had && changed == 0 {
        Keeping::All
    } else {
        Keeping::Told
    }
}

/// Pages to copy for a worker that asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ToBring {
    pub(crate) pages: usize,
    /// It kept the first, by what the caller knows, and has lost it: to the call of another thread.
    pub(crate) has_lost: bool,
}

/// At the caller, for a worker that asks for `wanted` pages from `address` on: up to the next one of `kept`,
/// which it had when it began to run, and may have changed.
pub(crate) fn to_bring(address: u64, wanted: usize, kept: impl Iterator<Item = u64>) -> ToBring {
    let mut nearest = address + wanted as u64 * PAGE;
    let mut has_lost = false;
    for page in kept {
        if page == address {
            has_lost = true;
        } else if (address..nearest).contains(&page) {
            nearest = page;
        }
    }
    ToBring { pages: ((nearest - address) / PAGE) as usize, has_lost }
}

/// At the worker, when it gives control back: whether pages may stay that a thread has. It must have been
/// `alone` in the library, which has no threads of its own.
pub(crate) const fn may_stay(alone: bool, granted: usize, has_threads: bool) -> bool {
    alone && granted > 0 && granted <= KEPT_MAX && !has_threads
}

/// What a worker does with its pages before it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Renewal {
    /// These are taken away.
    pub(crate) forgotten: u64,
    /// How many numbers are taken afterwards.
    pub(crate) granted: usize,
    /// These are brought up to date.
    pub(crate) changed: u64,
}

/// At the worker, which has `granted` pages, by number, and was told this.
pub(crate) const fn renewed(keeping: Keeping, kept: u64, changed: u64, granted: usize) -> Renewal {
    match keeping {
        Keeping::None => Renewal { forgotten: u64::MAX, granted: 0, changed: 0 },
        Keeping::All => Renewal { forgotten: 0, granted, changed: 0 },
        Keeping::Told => Renewal { forgotten: !kept, granted: taken(kept), changed: kept & changed },
    }
}

#[cfg(test)]
mod tests;
