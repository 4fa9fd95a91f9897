//! The supply of workers: a spare is taken, made ready for a thread's channel, and given up again.
//!
//! Runs in signal handlers: no allocation, no lock. Not for which call gets which worker; that is the module
//! above.

use super::{Fate, UNSERVED_MAX, UNSERVED_NS, WhileBroken};
use crate::caller::connection::{Connection, Current, SWITCHING};
use crate::error::{CallError, Ran};
use crate::shared::demand::{Sleep, Wanting, where_to_sleep};
use crate::shared::layout::{
    CONTROL_BROKEN, SEQUENCE_MASK, SLOT_BYTES, SLOT_CURRENT, SLOT_DEAD, SLOT_ENDING, SLOT_SPARE, SLOTS,
    SlotState, slot_address,
};
use crate::shared::service::SegmentKind;
use crate::shared::waiting::Deadline;
use crate::sys::channel::{
    OWNER_DIED, counter, current_processor, futex_wait, futex_wake, place_thread, process_has_ended,
    signal_process,
};
use crate::sys::memory::view_again;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release, SeqCst};
use std::time::Duration;

/// How long an understudy that lives may take to take over. It takes some ten milliseconds of a processor,
/// which a machine with far more to do may give it late; the call's own deadline holds all the same.
const TAKING_OVER: Duration = Duration::from_secs(5);

impl Connection {
    /// Waits until an understudy has taken over, if the babysitter is lost. Its workers end behind it, and
    /// would end a call that they were given meanwhile.
    pub(super) fn await_babysitter(&self, deadline: &Deadline) -> Result<(), CallError> {
        let control = self.control();
        let mut lost_at: Option<Deadline> = None;
        loop {
            let alive = control.alive.word.load(Acquire);
            if alive & OWNER_DIED == 0 {
                return Ok(());
            }
            let understudy = control.understudy.load(Acquire);
            let lost = lost_at.get_or_insert_with(|| Deadline::after(TAKING_OVER, self.ticks_per_us));
            if understudy == 0 || process_has_ended(understudy) || lost.has_passed() {
                // It may have taken over since the first look.
                if self.has_lost_its_babysitter() {
                    return Err(CallError::NoService("the babysitter has ended".into()));
                }
                return Ok(());
            }
            if deadline.has_passed() {
                return Err(CallError::TimedOut { ran: Ran::No });
            }
            futex_wait(&control.alive.word, alive, deadline.check_ns());
        }
    }

    /// A worker that is ready, or the next one that gets ready before the deadline.
    pub(super) fn take_spare(&self, deadline: &Deadline, broken: WhileBroken) -> Result<Current, CallError> {
        let control = self.control();
        let mut wanting = Wanting::new(&control.awaiting);
        // What the babysitter had done when we last told it that we wait.
        let mut told = None;
        loop {
            let event = control.event.load(Acquire);
            let mut starting = None;
            for (index, slot) in control.slots.iter().enumerate().skip(1) {
                if slot.state.load(Acquire) != SLOT_SPARE {
                    continue;
                }
                let generation = slot.generation.load(Acquire);
                if self.head(index).ready.load(Acquire) != generation {
                    starting = Some(index);
                    continue;
                }
                if wanting.take(&slot.state) {
                    // The end of a worker tells the babysitter that another is wanted; growth does not.
                    let stirs =
                        |slot: &SlotState| [SLOT_SPARE, SLOT_ENDING].contains(&slot.state.load(Relaxed));
                    if !control.slots.iter().any(stirs) {
                        self.pool.last_taken.store(true, Relaxed);
                    }
                    let crashed = self.pool.condemned_thread.swap(0, AcqRel);
                    if crashed != 0 {
                        // What is left of it is taken down elsewhere, if that can be.
                        self.allowed.give(crashed);
                    }
                    self.show_data(index)?;
                    return Ok(Current(u64::from(generation) << 8 | (index as u64) << 1));
                }
                // Another caller took it.
                told = None;
            }
            let status = control.status.load(Acquire);
            if self.has_lost_its_babysitter() {
                self.await_babysitter(deadline)?;
                continue;
            }
            if status == CONTROL_BROKEN && broken == WhileBroken::Fail {
                return Err(CallError::NoService(
                    "workers crash one after the other; the next is started after a pause".into(),
                ));
            }
            if deadline.has_passed() {
                return Err(CallError::TimedOut { ran: Ran::No });
            }
            wanting.wait();
            if let Some(index) = starting {
                futex_wait(&self.head(index).ready, 0, deadline.check_ns());
                continue;
            }
            if told != Some(event) {
                told = Some(event);
                // On this processor, which is about to have nothing to do: another may have to be woken
                // itself.
                if self.processors > 1 {
                    place_thread(control.babysitter.load(Acquire), current_processor());
                }
                self.wake_babysitter();
            }
            let ready = |slot| (1..SLOTS).contains(&slot).then(|| &self.head(slot).ready);
            match where_to_sleep(&control.event, event, &control.next, ready) {
                Sleep::Slot(slot) => futex_wait(&self.head(slot).ready, 0, deadline.check_ns()),
                Sleep::Event => futex_wait(&control.event, event, deadline.check_ns()),
                Sleep::LookAgain => {}
            }
        }
    }

    /// Shows the library's data of the worker in `slot` at the library's addresses.
    fn show_data(&self, slot: usize) -> Result<(), CallError> {
        for segment in &self.segments {
            if let SegmentKind::Data { slot_offset } = segment.kind {
                if slot_offset + segment.length > SLOT_BYTES {
                    return Err(CallError::NoService("the report lists an impossible segment".into()));
                }
                // SAFETY: the target was mapped by us for this purpose, the source is a slot's
                // shared memory; what the program sees there changes as the worker changes.
                let shown = unsafe {
                    view_again(slot_address(self.window, slot) + slot_offset, segment.length, segment.address)
                };
                shown.map_err(|_| CallError::TooMany)?;
            }
        }
        Ok(())
    }

    /// Gives up the worker of `current`; the next call at its place takes a spare.
    pub(crate) fn retire(&self, current: Current, fate: Fate) {
        match fate {
            Fate::Kill => self.end_worker(current),
            Fate::Ending(thread) => {
                self.end_condemned();
                self.pool.condemned_thread.store(thread, Relaxed);
                self.pool.condemned_at.store(counter(), Relaxed);
                self.pool.condemned.store(current.0, Release);
            }
        }
        let slot = &self.control().slots[current.slot()];
        let is_same = || slot.generation.load(Acquire) == current.generation();
        if is_same()
            && slot.state.compare_exchange(SLOT_CURRENT, SLOT_ENDING, AcqRel, Acquire).is_ok()
            && !is_same()
        {
            // We were held up for the lives of many workers, and another has the slot now.
            let _ = slot.state.compare_exchange(SLOT_ENDING, SLOT_CURRENT, AcqRel, Acquire);
        }
        for place in &self.pool.places {
            let _ = place.current.compare_exchange(current.0, 0, AcqRel, Acquire);
        }
        self.statistics.ended.fetch_add(1, Relaxed);
        self.control().ended.fetch_add(1, Relaxed);
    }

    fn end_worker(&self, current: Current) {
        let slot = &self.control().slots[current.slot()];
        let is_alive = [SLOT_CURRENT, SLOT_ENDING].contains(&slot.state.load(Acquire));
        // A babysitter takes its workers with it, and its number may be given to another process.
        if is_alive
            && !self.has_lost_its_babysitter()
            && slot.generation.load(Acquire) == current.generation()
        {
            signal_process(slot.process.load(Acquire), libc::SIGKILL);
        }
    }

    /// Ends the workers that serve now; the next calls get fresh ones.
    pub fn restart(&self) {
        for place in &self.pool.places {
            let current = place.current.load(Acquire);
            if current > SWITCHING {
                self.retire(Current(current), Fate::Kill);
            }
        }
    }

    /// Makes sure that a thread of the worker serves the channel.
    pub(crate) fn prepare(
        &self,
        current: Current,
        index: usize,
        deadline: &Deadline,
    ) -> Result<(), CallError> {
        let client = &self.state().channels[index];
        let channel = self.channel(current.slot(), index);
        let wanted = index as u32 + 1;
        if channel.alive.word.load(Acquire) == 0 {
            self.control().channels.fetch_max(wanted, AcqRel);
            let head = self.head(current.slot());
            head.wanted.fetch_max(wanted, SeqCst);
            futex_wake(&head.wanted, 1);
        }
        loop {
            let alive = channel.alive.word.load(Acquire);
            if alive != 0 && alive & OWNER_DIED == 0 {
                break;
            }
            let slot = &self.control().slots[current.slot()];
            let is_same = slot.generation.load(Acquire) == current.generation();
            if alive & OWNER_DIED != 0
                || slot.state.load(Acquire) != SLOT_CURRENT
                || !is_same
                || self.has_lost_its_babysitter()
                || process_has_ended(slot.process.load(Acquire))
            {
                // It ended before it had our request: the next try takes another worker.
                self.retire(current, Fate::Kill);
                return Err(CallError::Crashed { signal: 0, address: 0, instruction: 0, ran: Ran::No });
            }
            if deadline.has_passed() {
                // A worker that starts no thread is stopped or stuck; one that was given little time may be
                // well.
                let unserved = client.unserved.fetch_add(1, Relaxed) + 1;
                if deadline.elapsed_ns() > UNSERVED_NS || unserved >= UNSERVED_MAX {
                    client.unserved.store(0, Relaxed);
                    self.retire(current, Fate::Kill);
                }
                return Err(CallError::TimedOut { ran: Ran::No });
            }
            futex_wait(&channel.alive.word, 0, deadline.check_ns());
        }
        client.unserved.store(0, Relaxed);
        client.of.store(current.0, Relaxed);
        // Only callers write this word. Not 0 where a failed call-back left a worker
        // well.
        client.sequence.store(channel.request.load(Acquire) & SEQUENCE_MASK, Relaxed);
        client.depth.store(0, Relaxed);
        client.granted.store(0, Relaxed);
        client.placed.store(u32::MAX, Relaxed);
        client.streak.store(0, Relaxed);
        Ok(())
    }

    /// How the worker of `current` ended, once the babysitter knows.
    pub(crate) fn how_ended(&self, current: Current, deadline: &Deadline) -> CallError {
        let slot = &self.control().slots[current.slot()];
        let timeout_ns = deadline.left_ns().min(3_000_000_000);
        let asked = Deadline::after(Duration::from_nanos(timeout_ns), self.ticks_per_us);
        loop {
            let event = self.control().event.load(Acquire);
            if slot.generation.load(Acquire) != current.generation() {
                break;
            }
            if slot.state.load(Acquire) == SLOT_DEAD {
                let status = slot.wait_status.load(Acquire) as i32;
                if libc::WIFEXITED(status) {
                    return CallError::Exited { status: libc::WEXITSTATUS(status) };
                }
                return CallError::Crashed {
                    signal: libc::WTERMSIG(status),
                    address: 0,
                    instruction: 0,
                    ran: Ran::Maybe,
                };
            }
            if asked.has_passed() || self.has_lost_its_babysitter() {
                break;
            }
            futex_wait(&self.control().event, event, 5_000_000);
        }
        CallError::Crashed { signal: 0, address: 0, instruction: 0, ran: Ran::Maybe }
    }

    /// Has the babysitter look whether workers are wanted: it waits for its children to end.
    #[cold]
    pub(super) fn wake_babysitter(&self) {
        signal_process(self.control().babysitter.load(Acquire), libc::SIGCHLD);
    }

    /// Ends the worker that has crashed, if it has not ended itself.
    #[cold]
    pub(super) fn end_condemned(&self) {
        let condemned = self.pool.condemned.swap(0, AcqRel);
        if condemned != 0 {
            self.end_worker(Current(condemned));
        }
    }
}
