//! Which processes read under which lock, and which use which barrier: a table of words, one for each hold.
//!
//! A reader is there by one atomic change of one word, and gone by another, so that a process may die
//! anywhere without a count that is wrong for ever. A lock's holds are all in one bucket of the table,
//! which a writer looks through. A word is the lock's cell (its number in the heap, 37 bits) and the
//! process (its place, and the last 17 bits of how often that was taken).
//!
//! Invariant: no word of a place outlives its process by more than until the place is taken again, see
//! [`Holds::sweep`]; so 17 bits tell processes apart.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::identity::Participant;
use crate::layout::{HOLD_BUCKETS, HOLD_PLACES, LOCK_BYTES, WORD_HOLDS};

const PLACE_BITS: u32 = 10;
const TAKING_BITS: u32 = 17;
const PROCESS_BITS: u32 = PLACE_BITS + TAKING_BITS;

/// The table in a heap's metadata.
#[derive(Clone, Copy)]
pub(crate) struct Holds<'a> {
    pub(crate) metadata: &'a [AtomicU64],
    /// First address of the heap.
    pub(crate) base: usize,
}

/// A hold's word: a lock and a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Hold(u64);

impl Hold {
    fn new(cell: usize, process: Participant) -> Self {
        let taking = u64::from(process.taking()) & ((1 << TAKING_BITS) - 1);
        let process = (taking << PLACE_BITS) | process.place() as u64;
        Self(((cell as u64) << PROCESS_BITS) | process)
    }

    fn cell(self) -> usize {
        (self.0 >> PROCESS_BITS) as usize
    }

    fn place(self) -> usize {
        (self.0 & ((1 << PLACE_BITS) - 1)) as usize
    }
}

impl<'a> Holds<'a> {
    fn bucket(&self, cell: usize) -> &'a [AtomicU64] {
        let number = (cell as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - HOLD_BUCKETS.ilog2());
        let first = WORD_HOLDS + number as usize * HOLD_PLACES;
        &self.metadata[first..first + HOLD_PLACES]
    }

    fn cell(&self, address: usize) -> usize {
        (address - self.base) / LOCK_BYTES
    }

    /// Puts a hold into the table; `false` if the bucket is full. Threads begin to look at different places,
    /// by `hint`.
    pub(crate) fn enter(&self, address: usize, process: Participant, hint: u32) -> bool {
        let hold = Hold::new(self.cell(address), process);
        self.around(hold.cell(), process, hint).any(|place| {
            place.load(Ordering::Relaxed) == 0
                && place.compare_exchange(0, hold.0, Ordering::SeqCst, Ordering::Relaxed).is_ok()
        })
    }

    /// Takes one hold of this process on this lock out of the table; `false` if there is none. They are all
    /// alike, so it need not be the one that the same thread has put in.
    pub(crate) fn leave(&self, address: usize, process: Participant, hint: u32) -> bool {
        let hold = Hold::new(self.cell(address), process);
        self.around(hold.cell(), process, hint).any(|place| {
            place.load(Ordering::Relaxed) == hold.0
                && place.compare_exchange(hold.0, 0, Ordering::SeqCst, Ordering::Relaxed).is_ok()
        })
    }

    /// Whether this process has a hold on this lock.
    pub(crate) fn has(&self, address: usize, process: Participant, hint: u32) -> bool {
        let hold = Hold::new(self.cell(address), process);
        self.around(hold.cell(), process, hint).any(|place| place.load(Ordering::SeqCst) == hold.0)
    }

    fn around(
        &self,
        cell: usize,
        process: Participant,
        hint: u32,
    ) -> impl Iterator<Item = &'a AtomicU64> + use<'a> {
        let bucket = self.bucket(cell);
        let first = (process.place() * 31 + hint as usize * 8) % HOLD_PLACES;
        bucket[first..].iter().chain(&bucket[..first])
    }

    /// How many holds of living processes a lock has, and of dead ones; the latter are taken out.
    /// `is_alive` is asked about a place and what its word keeps of the taking.
    pub(crate) fn count(&self, address: usize, is_alive: impl Fn(usize, u32) -> bool) -> (usize, usize) {
        let cell = self.cell(address);
        let (mut living, mut dead) = (0, 0);
        for place in self.bucket(cell) {
            let seen = Hold(place.load(Ordering::SeqCst));
            if seen.0 == 0 || seen.cell() != cell {
                continue;
            }
            let taking = (seen.0 >> PLACE_BITS) as u32 & ((1 << TAKING_BITS) - 1);
            if is_alive(seen.place(), taking) {
                living += 1;
            } else if place.compare_exchange(seen.0, 0, Ordering::SeqCst, Ordering::Relaxed).is_ok() {
                dead += 1;
            }
        }
        (living, dead)
    }

    /// Takes out the holds of a place on locks of which `takes` says so.
    pub(crate) fn sweep(&self, place: usize, mut takes: impl FnMut(usize) -> bool) {
        for word in &self.metadata[WORD_HOLDS..WORD_HOLDS + HOLD_BUCKETS * HOLD_PLACES] {
            let seen = Hold(word.load(Ordering::Relaxed));
            if seen.0 != 0 && seen.place() == place && takes(self.base + seen.cell() * LOCK_BYTES) {
                // It fails if a thread of that process has taken it out itself.
                let _other = word.compare_exchange(seen.0, 0, Ordering::SeqCst, Ordering::Relaxed);
            }
        }
    }

    /// Whether the last bits of a taking are those that a hold has kept.
    pub(crate) fn is_taking(process: Participant, kept: u32) -> bool {
        process.taking() & ((1 << TAKING_BITS) - 1) == kept
    }
}
