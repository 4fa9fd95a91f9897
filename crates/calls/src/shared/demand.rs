//! How many workers are wanted: what callers that wait say, and how the babysitter counts.
//!
//! A worker is to be started for each caller that waits for one, and none for a caller who has one: it
//! would stand beside the spares for ever. Two rules see to that. A caller no longer counts before it takes a
//! worker, not after; and the babysitter counts the workers that stand ready first, the callers second. So a
//! caller whose worker it no longer sees ready no longer counts either.
//!
//! A caller that waits sleeps on a word that changes when its worker is ready ([`where_to_sleep`]). Not for
//! waking anybody; callers wake the babysitter when they find nothing.
//!
//! Written over [`Shared`], so that the tests run it on `loom`'s words, in every order.

use crate::shared::layout::{SLOT_CURRENT, SLOT_SPARE};
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::{AcqRel, Acquire};

/// A word between the processes.
pub(crate) trait Shared {
    fn load(&self) -> u32;
    fn add(&self, one: i32);
    /// Whether it held `from`, and holds `to` now.
    fn replace(&self, from: u32, to: u32) -> bool;
}

impl Shared for AtomicU32 {
    #[inline]
    fn load(&self) -> u32 {
        self.load(Acquire)
    }

    fn add(&self, one: i32) {
        self.fetch_add(one.cast_unsigned(), AcqRel);
    }

    fn replace(&self, from: u32, to: u32) -> bool {
        self.compare_exchange(from, to, AcqRel, Acquire).is_ok()
    }
}

/// A caller that wants a worker, and counts while it waits.
pub(crate) struct Wanting<'a, W: Shared> {
    awaiting: &'a W,
    is_counted: bool,
}

impl<'a, W: Shared> Wanting<'a, W> {
    /// Does not count yet: a worker may stand ready.
    pub(crate) fn new(awaiting: &'a W) -> Self {
        Self { awaiting, is_counted: false }
    }

    /// Counts from now on.
    pub(crate) fn wait(&mut self) {
        if !std::mem::replace(&mut self.is_counted, true) {
            self.awaiting.add(1);
        }
    }

    /// Takes the worker with this state, unless another caller was faster; does not count now either way.
    pub(crate) fn take(&mut self, state: &W) -> bool {
        self.stop();
        state.replace(SLOT_SPARE, SLOT_CURRENT)
    }

    fn stop(&mut self) {
        if std::mem::take(&mut self.is_counted) {
            self.awaiting.add(-1);
        }
    }
}

impl<W: Shared> Drop for Wanting<'_, W> {
    fn drop(&mut self) {
        self.stop();
    }
}

/// What the babysitter found.
#[derive(Debug)]
pub(crate) struct Demand {
    /// Workers to start.
    pub(crate) missing: usize,
    /// Whether a caller waits for the first of them.
    pub(crate) is_awaited: bool,
}

/// Counts, in the order that the module's text gives; `count` says how many workers are in a state.
pub(crate) fn demand(spares: usize, count: impl Fn(u32) -> usize, awaiting: &impl Shared) -> Demand {
    let ready = count(SLOT_SPARE);
    let awaiting = awaiting.load() as usize;
    // Where none is in use, the next call will want one.
    let in_use = count(SLOT_CURRENT);
    let wanted = spares + awaiting.max(usize::from(in_use == 0));
    Demand { missing: wanted.saturating_sub(ready), is_awaited: awaiting > 0 }
}

/// Where a caller sleeps that has found no worker, or whether it must look again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sleep {
    /// On the generation of that slot, as long as it is 0: the worker that is started next writes it.
    Slot(usize),
    /// On the count of events.
    Event,
    /// Something has happened since the look.
    LookAgain,
}

/// Where a caller sleeps that has looked and found no worker. `known` is the count of events before it
/// looked. A worker that was started since then has changed them before it is said which slot is next: so
/// the slot is that of the next worker, or the events have changed. A slot whose worker is ready before the
/// babysitter has said that it was started will not be heard of again, but the babysitter will.
pub(crate) fn where_to_sleep<'a, W: Shared + 'a>(
    events: &W,
    known: u32,
    next: &W,
    ready: impl Fn(usize) -> Option<&'a W>,
) -> Sleep {
    let slot = next.load() as usize;
    if events.load() != known {
        return Sleep::LookAgain;
    }
    match ready(slot) {
        Some(ready) if ready.load() == 0 => Sleep::Slot(slot),
        _ => Sleep::Event,
    }
}

#[cfg(test)]
mod tests {
    use super::{Shared, Sleep, Wanting, demand, where_to_sleep};
    use crate::shared::layout::{SLOT_CURRENT, SLOT_FREE, SLOT_SPARE};
    use loom::sync::Arc;
    use loom::sync::atomic::AtomicU32;
    use loom::sync::atomic::Ordering::{AcqRel, Acquire, Release};

    impl Shared for AtomicU32 {
        fn load(&self) -> u32 {
            self.load(Acquire)
        }

        fn add(&self, one: i32) {
            self.fetch_add(one.cast_unsigned(), AcqRel);
        }

        fn replace(&self, from: u32, to: u32) -> bool {
            self.compare_exchange(from, to, AcqRel, Acquire).is_ok()
        }
    }

    /// A worker stands ready for the caller that waits, who takes it at any moment: the babysitter, which
    /// looks at any moment, starts none.
    #[test]
    fn none_is_started_for_a_caller_who_has_one() {
        loom::model(|| {
            let slots = Arc::new([SLOT_SPARE, SLOT_CURRENT].map(AtomicU32::new));
            let awaiting = Arc::new(AtomicU32::new(1));
            let caller = {
                let (slots, awaiting) = (Arc::clone(&slots), Arc::clone(&awaiting));
                loom::thread::spawn(move || {
                    let mut wanting = Wanting { awaiting: &*awaiting, is_counted: true };
                    assert!(wanting.take(&slots[0]));
                })
            };
            let count = |state| slots.iter().filter(|slot| slot.load(Acquire) == state).count();
            assert_eq!(demand(0, count, &*awaiting).missing, 0);
            caller.join().unwrap();
            assert_eq!(awaiting.load(Acquire), 0);
        });
    }

    /// Where no worker is in use, the first caller takes the one that was started for the next call: no other
    /// is started for that call.
    #[test]
    fn none_is_started_for_a_call_that_has_come() {
        loom::model(|| {
            let slots = Arc::new([SLOT_SPARE, SLOT_FREE].map(AtomicU32::new));
            let awaiting = Arc::new(AtomicU32::new(0));
            let caller = {
                let (slots, awaiting) = (Arc::clone(&slots), Arc::clone(&awaiting));
                loom::thread::spawn(move || assert!(Wanting::new(&*awaiting).take(&slots[0])))
            };
            let count = |state| slots.iter().filter(|slot| slot.load(Acquire) == state).count();
            assert_eq!(demand(0, count, &*awaiting).missing, 0);
            caller.join().unwrap();
        });
    }

    /// Of two callers that see one worker ready, the one that comes too late waits, and one is started for
    /// it.
    #[test]
    fn one_is_started_for_who_came_too_late() {
        loom::model(|| {
            let slots = Arc::new([SLOT_SPARE].map(AtomicU32::new));
            let awaiting = Arc::new(AtomicU32::new(2));
            let callers = [(); 2].map(|()| {
                let (slots, awaiting) = (Arc::clone(&slots), Arc::clone(&awaiting));
                loom::thread::spawn(move || {
                    let mut wanting = Wanting { awaiting: &*awaiting, is_counted: true };
                    if !wanting.take(&slots[0]) {
                        wanting.wait();
                        std::mem::forget(wanting);
                    }
                })
            });
            callers.into_iter().for_each(|caller| caller.join().unwrap());
            let count = |state| slots.iter().filter(|slot| slot.load(Acquire) == state).count();
            assert_eq!(demand(0, count, &*awaiting).missing, 1);
        });
    }

    /// A worker is started, and gets ready, while a caller looks for one: the caller sees it, or sleeps on a
    /// word that is changed after it has begun to sleep, or looks again.
    #[test]
    fn who_sleeps_is_woken_by_the_worker_that_is_started() {
        loom::model(|| {
            let slots = Arc::new([SLOT_FREE, SLOT_FREE].map(AtomicU32::new));
            let ready = Arc::new([0, 0].map(AtomicU32::new));
            let [events, next] = [0, 0].map(|value| Arc::new(AtomicU32::new(value)));
            let worker = {
                let ready = Arc::clone(&ready);
                loom::thread::spawn(move || ready[0].store(7, Release))
            };
            let babysitter = {
                let (slots, events, next) = (Arc::clone(&slots), Arc::clone(&events), Arc::clone(&next));
                loom::thread::spawn(move || {
                    slots[0].store(SLOT_SPARE, Release);
                    events.add(1);
                    next.store(1, Release);
                })
            };
            let known = events.load(Acquire);
            let is_ready = slots[0].load(Acquire) == SLOT_SPARE;
            let sleep = where_to_sleep(&*events, known, &*next, |slot| ready.get(slot));
            worker.join().unwrap();
            babysitter.join().unwrap();
            let is_woken = match sleep {
                Sleep::Slot(slot) => ready[slot].load(Acquire) != 0,
                Sleep::Event => events.load(Acquire) != known,
                Sleep::LookAgain => true,
            };
            assert!(is_ready || is_woken, "{sleep:?}");
        });
    }
}
