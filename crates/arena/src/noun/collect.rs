//! The collector: finds the nouns that the roots lead to and frees the rest, a little at a time.
//!
//! It marks and sweeps, and moves nothing. What it knows (marks, the nouns still to look at, how far it has
//! swept) lies outside of the arena; what it changes are the free bitmaps of spans, which the next commit
//! writes like any other page. So between any two of its steps the heap is whole, and a crash loses the
//! collection and nothing else: the arena opens at its last commit, with nothing to replay.
//!
//! Invariant: a cycle frees nothing that was reachable when it began, and nothing that was made since. New
//! nouns are marked as they are made. Nouns never change but for unification, which writes one part in place
//! of an equal one: while marking goes on, the part that it replaces is marked (a deletion barrier). A
//! rollback to a commit from before the cycle ends the cycle, since what was reachable then was not looked
//! at.

use std::any::Any;
use std::time::{Duration, Instant};

use super::{ADDRESS, Noun, Nouns};
use crate::arena::{Arena, Collector};
use crate::disk::Disk;
use crate::heap::{Bitmap, Fresh, GRANULE, Slot, Swept, WORDS};

/// A collection is due when this many bytes of nouns have come since the last, beside what survived it.
const CHURN_MIN: u64 = 4 << 20;
/// Nouns looked at between two looks at the clock.
const BATCH: usize = 64;
/// Granules swept between two looks at the clock: the pages of an empty one are given back, which costs some
/// 10 us.
const SWEEP_BATCH: u32 = 8;
/// Nouns in one piece of the list of nouns to look at. Pieces, since one long vector would be copied as it
/// grows, in one long step.
const PIECE: usize = 8192;

/// How far a collection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Collection {
    /// Nothing is due and nothing was done.
    Idle,
    /// Looking for what is reachable: the nouns found so far.
    Marking(u64),
    /// Freeing the rest: granules of 64 KiB that are done, and all of them.
    Sweeping(u32, u32),
    /// A cycle has ended.
    Done(CollectionReport),
}

/// What a whole cycle did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CollectionReport {
    /// Nouns that were found by following the roots. Those made meanwhile are not among them.
    pub reached: u64,
    /// Bytes freed.
    pub freed_bytes: u64,
    /// Bytes in nouns at the end, rounded up to the sizes of their slots.
    pub live_bytes: u64,
}

/// A collection under way.
struct Cycle {
    /// Number of the commit that it began after.
    since: u64,
    /// For each granule below the frontier of that time, a bitmap of the slots that are marked. Flat, since
    /// only then it is memory that is zero when it is touched, and not zeroed in one long step.
    marks: Vec<u64>,
    /// Cells that are marked and not yet looked into.
    grey: Vec<Vec<Noun>>,
    /// The granule to sweep next; `None` while marking.
    swept: Option<u32>,
    report: CollectionReport,
}

impl Cycle {
    /// Marks a slot; whether it was not marked before.
    #[inline]
    fn mark(&mut self, slot: Slot) -> bool {
        let (word, bit) = (slot.granule as usize * WORDS + slot.unit as usize / 64, 1 << (slot.unit % 64));
        let Some(marks) = self.marks.get_mut(word) else {
            // Above the frontier of the beginning, so it is new, and never swept by this cycle.
            return false;
        };
        let is_new = *marks & bit == 0;
        *marks |= bit;
        is_new
    }

    /// The marks of each granule.
    fn bitmaps(&self) -> &[Bitmap] {
        self.marks.as_chunks().0
    }

    fn push(&mut self, noun: Noun) {
        match self.grey.last_mut() {
            Some(piece) if piece.len() < PIECE => piece.push(noun),
            _ => {
                let mut piece = Vec::with_capacity(PIECE);
                piece.push(noun);
                self.grey.push(piece);
            }
        }
    }

    fn pop(&mut self) -> Option<Noun> {
        loop {
            let piece = self.grey.last_mut()?;
            if let Some(noun) = piece.pop() {
                return Some(noun);
            }
            self.grey.pop();
        }
    }
}

impl Collector for Cycle {
    fn object_is_new(&mut self, slot: Slot) {
        self.mark(slot);
    }

    fn survives_rollback_to(&self, transaction: u64) -> bool {
        self.since < transaction
    }
}

impl<D: Disk> Arena<D> {
    fn take_cycle(&mut self) -> Option<Box<Cycle>> {
        let collector: Box<dyn Any> = self.collector.take()?;
        collector.downcast().ok()
    }

    /// Marks a noun, to be looked into, if it is one.
    #[inline]
    fn shade(&mut self, cycle: &mut Cycle, noun: Noun) {
        if noun.is_direct() {
            return;
        }
        let Some(slot) = self.allocator().slot_at((noun.0 & ADDRESS) as usize) else { return };
        if cycle.mark(slot) {
            cycle.report.reached += 1;
            if noun.is_cell() {
                cycle.push(noun);
            }
        }
    }
}

impl<D: Disk> Nouns<'_, D> {
    /// Bytes in nouns, dead ones among them, rounded up to the sizes of their slots.
    #[must_use]
    pub fn used(&self) -> u64 {
        self.arena.allocator().noun_used()
    }

    /// Whether enough nouns were made since the last collection to make another worth while: as many bytes as
    /// survived it, and 4 MiB. It goes by churn, never by a clock.
    #[must_use]
    pub fn collection_is_due(&self) -> bool {
        let survived = self.arena.allocator().noun_survived();
        self.used() > survived.saturating_mul(2).saturating_add(CHURN_MIN)
    }

    /// A step of a collection, if one is due or under way: to be called once for each event. It returns soon
    /// after `budget` has passed.
    ///
    /// What survives is what the arena's roots lead to (a root holds [`Noun::word`]), and `keep`: every noun
    /// that the program still holds elsewhere and wants to use. Any other noun is dead after it, also one in
    /// an object of the program's own. Nothing moves.
    pub fn collect(&mut self, budget: Duration, keep: &[Noun]) -> Collection {
        if self.arena.collector.is_none() && !self.collection_is_due() {
            return Collection::Idle;
        }
        self.collect_step(budget, keep)
    }

    /// As [`Nouns::collect`], but begins a collection whether or not one is due.
    pub fn collect_step(&mut self, budget: Duration, keep: &[Noun]) -> Collection {
        let deadline = Instant::now().checked_add(budget);
        let mut cycle = match self.arena.take_cycle() {
            Some(cycle) => cycle,
            None => Box::new(self.begin()),
        };
        if cycle.swept.is_none() {
            for noun in keep {
                self.arena.shade(&mut cycle, *noun);
            }
        }
        loop {
            let done = match cycle.swept {
                None => self.mark_some(&mut cycle),
                Some(at) => self.sweep_some(&mut cycle, at),
            };
            if done {
                self.arena.allocator_mut().remember_survivors();
                let live_bytes = self.used();
                return Collection::Done(CollectionReport { live_bytes, ..cycle.report });
            }
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                break;
            }
        }
        let progress = match cycle.swept {
            None => Collection::Marking(cycle.report.reached),
            Some(at) => Collection::Sweeping(at, cycle.bitmaps().len() as u32),
        };
        self.arena.collector = Some(cycle);
        progress
    }

    /// A whole collection at once.
    pub fn collect_all(&mut self, keep: &[Noun]) -> CollectionReport {
        // One that is under way knows nothing of what died since it began.
        self.arena.collector = None;
        loop {
            if let Collection::Done(report) = self.collect_step(Duration::MAX, keep) {
                return report;
            }
        }
    }

    /// A noun that unification takes out of a cell.
    #[inline]
    pub(super) fn noun_is_replaced(&mut self, noun: Noun) {
        let Some(mut cycle) = self.arena.take_cycle() else { return };
        if cycle.swept.is_none() {
            self.arena.shade(&mut cycle, noun);
        }
        self.arena.collector = Some(cycle);
    }

    fn begin(&mut self) -> Cycle {
        let granules = self.arena.allocator().frontier() as usize;
        let mut cycle = Cycle {
            since: self.arena.position().transaction,
            marks: vec![0; granules * WORDS],
            grey: Vec::new(),
            swept: None,
            report: CollectionReport::default(),
        };
        let roots: Vec<u64> = self.arena.roots().values().copied().collect();
        for word in roots {
            // A root that is no noun but looks like one keeps a noun alive, which does no harm.
            self.arena.shade(&mut cycle, Noun(word));
        }
        cycle
    }

    /// Looks into some cells. Never done: the sweep is.
    fn mark_some(&mut self, cycle: &mut Cycle) -> bool {
        for _ in 0..BATCH {
            let Some(noun) = cycle.pop() else {
                cycle.swept = Some(self.arena.allocator().first);
                return false;
            };
            if let Some((head, tail)) = self.split(noun) {
                self.arena.shade(cycle, tail);
                self.arena.shade(cycle, head);
            }
        }
        false
    }

    /// Sweeps some granules; whether they were the last.
    fn sweep_some(&mut self, cycle: &mut Cycle, first: u32) -> bool {
        for number in first..first.saturating_add(SWEEP_BATCH) {
            let Some(marks) = cycle.bitmaps().get(number as usize) else { return true };
            let swept = self.arena.allocator_mut().sweep(number, marks);
            cycle.swept = Some(number + 1);
            match swept {
                Swept::Other => {}
                Swept::Freed(bytes) => cycle.report.freed_bytes += bytes,
                Swept::Emptied { bytes, granules } => {
                    cycle.report.freed_bytes += bytes;
                    let freed =
                        Fresh { offset: number as usize * GRANULE, length: granules as usize * GRANULE };
                    // SAFETY: no noun in the run is alive, so none refers to it; a noun that was kept against
                    // the rules is checked before it is followed.
                    unsafe { self.arena.discard(freed) };
                }
            }
        }
        false
    }
}
