//! How a pager stands still while the program's memory is copied.
//!
//! On every node what the replica asks for waits: its faults, one that was on its way here too, and what
//! a system call was going to use. So once all nodes stand still no page moves.
//!
//! At home the program's threads run on, and wait when they write what was there, as in the kernel's own
//! fork, which protects pages first. All pages that are here are protected from writing, those of native
//! extents by a registration that lasts as long.

use super::{Pager, PagerError, State, extents_of};
use banyan_sys::userfaultfd::{Fault, Registration};
use banyan_wire::address_space::MEMORY_FILE_BYTES;
use banyan_wire::ids::{Access, EXTENT_BYTES, PAGE_BYTES, PageNumber, Run};
use std::time::{Duration, Instant};

/// How often to look for pages that threads made while others were being protected.
const PASSES: usize = 8;
/// How long to sleep before looking again whether a moment has come at which no page is on its way.
const LOOK_AGAIN: Duration = Duration::from_micros(50);

/// What is to be undone.
#[derive(Debug, Default)]
pub(super) struct Frozen {
    /// Protected pages, as stretches by address.
    protected: Vec<(u64, u64)>,
    /// Mapped ranges of native extents, registered for as long.
    registered: Vec<(u64, u64)>,
    /// Threads that wait.
    pub(super) faults: Vec<Fault>,
}

impl Pager {
    /// From now on the replica asks for nothing. False if no moment came at which no page was on its way
    /// here.
    pub(crate) fn stand_still(&self, deadline: Instant) -> bool {
        let mut state = self.lock();
        while state.machine.expects_pages() {
            drop(state);
            if Instant::now() >= deadline {
                return false;
            }
            std::thread::sleep(LOOK_AGAIN);
            state = self.lock();
        }
        state.frozen = Some(Frozen::default());
        true
    }

    /// While this pager stands still: has threads wait that write what is here. Returns the stretches that it
    /// is.
    ///
    /// # Errors
    /// [`PagerError`].
    pub(crate) fn freeze(&self) -> Result<Vec<(u64, u64)>, PagerError> {
        let mut state = self.lock();
        let mut native = self.native(&state);
        for _ in 0..PASSES {
            let stretches = self.memory.stretches().map_err(|error| {
                PagerError::Fatal(format!("looking for the pages that are here: {error}"))
            })?;
            let Some(frozen) = &mut state.frozen else { break };
            if stretches == frozen.protected {
                break;
            }
            // Also what is not protected in the end, should that fail.
            frozen.protected.clone_from(&stretches);
            for &(start, end) in &stretches {
                // A range is registered whole, so that the kernel need not split its mapping.
                for (from, to) in native.extract_if(.., |&mut (from, to)| from < end && start < to) {
                    self.register(from, to, Registration::Writes)?;
                    frozen.registered.push((from, to));
                }
                self.protect(run(start, end))?;
            }
        }
        Ok(state.frozen.as_ref().map_or_else(Vec::new, |frozen| frozen.protected.clone()))
    }

    /// The mapped ranges of extents for which no other node has ever asked.
    fn native(&self, state: &State) -> Vec<(u64, u64)> {
        let mut native = Vec::new();
        for (start, end) in self.mapped.read().within(0, MEMORY_FILE_BYTES) {
            let mut at = start;
            for foreign in state.machine.foreign(extents_of(start, end - start)) {
                let first = foreign.first.first_page().address();
                native.push((at, first.clamp(at, end)));
                at = (first + foreign.count * EXTENT_BYTES).clamp(at, end);
            }
            native.push((at, end));
        }
        native.retain(|(start, end)| start < end);
        native
    }

    /// Ends what the others began: threads write again, as they may, and what waited is asked for.
    ///
    /// # Errors
    /// [`PagerError`].
    pub(crate) fn thaw(&self) -> Result<(), PagerError> {
        let mut state = self.lock();
        let Some(frozen) = state.frozen.take() else { return Ok(()) };
        self.thawed.notify_all();
        // This takes the protection away, too, and wakes who waits.
        for &(from, to) in &frozen.registered {
            self.unregister_range(from, to)?;
        }
        for &(start, end) in &frozen.protected {
            for foreign in state.machine.foreign(extents_of(start, end - start)) {
                let first = foreign.first.first_page().address();
                let (from, to) = (first.max(start), (first + foreign.count * EXTENT_BYTES).min(end));
                let may_write = |at| state.machine.held(PageNumber::of_address(at)).allows(Access::Write);
                let mut at = from;
                while at < to {
                    let until =
                        (at..to).step_by(PAGE_BYTES as usize).find(|&at| !may_write(at)).unwrap_or(to);
                    if until > at {
                        self.unprotect(run(at, until))?;
                    }
                    at = until + PAGE_BYTES;
                }
            }
        }
        drop(state);
        frozen.faults.into_iter().try_for_each(|fault| self.fault(fault))
    }
}

/// The pages of a stretch.
fn run(start: u64, end: u64) -> Run {
    Run { first: PageNumber::of_address(start), count: ((end - start) / PAGE_BYTES) as u32 }
}
