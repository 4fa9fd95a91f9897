//! Changing several words of metadata at once, whatever instruction the process dies at.
//!
//! Each word's old value is written into a log before the word is changed; the log has a count, which is
//! raised after the entry and before the change, and set to 0 when all is done. A process that dies leaves
//! its stores in the order in which it made them (it dies, the machine does not), so the next one who finds a
//! count writes the old values back, last first. That may be done any number of times.
//!
//! Invariant: words are changed by the holder of the heap's lock only.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::layout::{LOG_ENTRIES, WORD_LOG};

/// The metadata says what it cannot say. Something has written over it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the heap's own part is damaged at word {word}: a program wrote where it has nothing")]
pub struct Damaged {
    /// Which.
    pub word: usize,
}

/// A change under way; taken back when it is dropped, unless it is committed.
pub(crate) struct Change<'a> {
    words: &'a [AtomicU64],
    entries: usize,
}

impl<'a> Change<'a> {
    /// Begins, with nothing in the log.
    pub(crate) fn begin(words: &'a [AtomicU64]) -> Self {
        roll_back(words);
        Self { words, entries: 0 }
    }

    /// A word as it is now.
    #[inline]
    pub(crate) fn get(&self, word: usize) -> Result<u64, Damaged> {
        self.words.get(word).map(|it| it.load(Ordering::Relaxed)).ok_or(Damaged { word })
    }

    /// Changes a word.
    #[inline]
    pub(crate) fn set(&mut self, word: usize, value: u64) -> Result<(), Damaged> {
        let place = self.words.get(word).ok_or(Damaged { word })?;
        let old = place.load(Ordering::Relaxed);
        if old == value {
            return Ok(());
        }
        if self.entries == LOG_ENTRIES {
            return Err(Damaged { word });
        }
        let entry = WORD_LOG + 1 + 2 * self.entries;
        crash::point();
        self.words[entry].store(word as u64, Ordering::Relaxed);
        crash::point();
        self.words[entry + 1].store(old, Ordering::Relaxed);
        crash::point();
        self.entries += 1;
        // Release: the entry is there before it counts. The word's own store is a release too, so that it
        // stays behind the count.
        self.words[WORD_LOG].store(self.entries as u64, Ordering::Release);
        crash::point();
        place.store(value, Ordering::Release);
        crash::point();
        Ok(())
    }

    /// All of it holds from here on.
    pub(crate) fn commit(mut self) {
        self.entries = 0;
        crash::point();
        self.words[WORD_LOG].store(0, Ordering::Release);
        crash::point();
    }
}

impl Drop for Change<'_> {
    fn drop(&mut self) {
        if self.entries != 0 && !crash::has_crashed() {
            roll_back(self.words);
        }
    }
}

/// Takes back what a change has left that did not end. The caller has the heap's lock.
pub(crate) fn roll_back(words: &[AtomicU64]) {
    let entries = words[WORD_LOG].load(Ordering::Acquire).min(LOG_ENTRIES as u64) as usize;
    for number in (0..entries).rev() {
        let entry = WORD_LOG + 1 + 2 * number;
        let word = words[entry].load(Ordering::Relaxed) as usize;
        let old = words[entry + 1].load(Ordering::Relaxed);
        crash::point();
        if let Some(place) = words.get(word).filter(|_| word != WORD_LOG) {
            place.store(old, Ordering::Release);
        }
    }
    if entries != 0 {
        crash::point();
        words[WORD_LOG].store(0, Ordering::Release);
    }
}

/// Ends of a process at every place where another process could see a difference, for tests: the thread
/// unwinds, and nothing is taken back.
#[cfg(test)]
pub(crate) mod crash {
    use std::cell::Cell;

    thread_local! {
        static LEFT: Cell<u64> = const { Cell::new(u64::MAX) };
        static CRASHED: Cell<bool> = const { Cell::new(false) };
    }

    /// What the thread unwinds with.
    pub(crate) struct Crash;

    pub(crate) fn point() {
        match LEFT.get() {
            u64::MAX => {}
            0 => {
                CRASHED.set(true);
                LEFT.set(u64::MAX);
                std::panic::resume_unwind(Box::new(Crash));
            }
            left => LEFT.set(left - 1),
        }
    }

    pub(crate) fn has_crashed() -> bool {
        CRASHED.get()
    }

    /// Runs `what`, which ends at the `points`-th place; `None` if it did, what it gives if it came so far.
    pub(crate) fn after<T>(points: u64, what: impl FnOnce() -> T) -> Option<T> {
        CRASHED.set(false);
        LEFT.set(points);
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(what));
        LEFT.set(u64::MAX);
        CRASHED.set(false);
        match result {
            Ok(value) => Some(value),
            Err(panic) if panic.is::<Crash>() => None,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
}

#[cfg(not(test))]
mod crash {
    #[inline(always)]
    pub(super) fn point() {
        crate::death::point("change");
    }

    #[inline(always)]
    pub(super) fn has_crashed() -> bool {
        false
    }
}
