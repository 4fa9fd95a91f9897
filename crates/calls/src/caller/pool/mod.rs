//! Which worker a call goes to: the caller's places for workers, and the supply of fresh ones.
//!
//! A library has one place, as its workers hold state. Functions of a Rust program have several,
//! and a call has its worker to itself: a crash ends the call that crashed and no other. When all
//! places are taken callers wait in the order they came. Runs in signal handlers: no allocation,
//! no lock. Not for what travels to the worker; that is `exchange`. Not for starting workers; that
//! is `babysitter`.

mod claim;
mod supply;

use crate::caller::connection::{CallOptions, Connection, Current, SWITCHING};
use crate::caller::locale;
use crate::error::{CallError, Ran};
use crate::shared::layout::slot_address;
use crate::shared::waiting::{Deadline, Limits};
use crate::sys::channel::{counter, futex_wait, futex_wake, process_cpu_ns};
use crate::sys::memory::at;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release, SeqCst};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64};
use std::time::Duration;

/// Workers that one connection can use at once.
pub(crate) const PLACES: usize = 8;
/// Workers found dead that one call passes over.
const LOST_MAX: u32 = 16;
/// How long, or how often in a row, a worker may fail to start a thread before it is ended.
const UNSERVED_NS: u64 = 100_000_000;
const UNSERVED_MAX: u32 = 3;
/// How long a worker that said that it crashed may take to end itself.
const CONDEMNED_US: u64 = 6000;
/// One call in this many is timed.
const SAMPLE: u64 = 64;

/// A place for a worker.
#[repr(align(64))]
#[derive(Debug, Default)]
pub(crate) struct Place {
    /// Slot and generation of the worker, shifted: `generation << 8 | slot << 1`; 0 none.
    pub(crate) current: AtomicU64,
    /// The channel whose call has the place to itself, plus one; 0 none.
    user: AtomicU32,
    /// Searches for a worker for this place that have ended. Callers sleep on it while another searches: if
    /// they gave the processor up again and again instead, the babysitter could stand behind them, placed
    /// there by the one that searches.
    searches: AtomicU32,
}

/// The places of a connection.
#[derive(Debug)]
pub(crate) struct Pool {
    pub(crate) places: [Place; PLACES],
    /// Whether a call has its worker to itself.
    pub(crate) exclusive: bool,
    tickets: AtomicU64,
    waiting: AtomicU32,
    /// A worker that said that it crashed, and must not outlive that by much; a `Current`.
    condemned: AtomicU64,
    /// The thread of it that a caller has placed beside itself; 0 none.
    condemned_thread: AtomicU32,
    /// When it said so, on the processor's counter.
    condemned_at: AtomicU64,
    /// The last spare was taken, and the babysitter does not know yet.
    last_taken: AtomicBool,
}

impl Pool {
    pub(crate) fn new(exclusive: bool) -> Self {
        Self {
            places: std::array::from_fn(|_| Place::default()),
            exclusive,
            tickets: AtomicU64::new(0),
            waiting: AtomicU32::new(0),
            condemned: AtomicU64::new(0),
            condemned_thread: AtomicU32::new(0),
            condemned_at: AtomicU64::new(0),
            last_taken: AtomicBool::new(false),
        }
    }
}

/// What a call does that finds no worker while the crash-loop breaker is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum WhileBroken {
    /// It waits for the next worker, until its deadline.
    Wait,
    /// It fails at once.
    Fail,
}

/// How a worker that is given up ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It ends itself in a moment; a later call makes sure. Ending it now would put the work of taking it
    /// down in the way of the caller. The thread of it that was placed on the caller's processor, or 0.
    Ending(u32),
    /// It is ended now.
    Kill,
}

/// A call's hold on a place.
struct Turn<'a> {
    connection: &'a Connection,
    place: usize,
    owned: bool,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if self.owned {
            self.connection.leave(self.place);
        }
    }
}

impl Connection {
    /// Places that may be used now.
    fn allotted(&self) -> usize {
        (self.control().workers.load(Relaxed) as usize).clamp(1, PLACES)
    }

    /// Takes a place for the call on channel `index`, waiting behind those that came before.
    fn enter(&self, index: usize, deadline: &Deadline) -> Result<Turn<'_>, CallError> {
        let turn = |place, owned| Ok(Turn { connection: self, place, owned });
        if !self.pool.exclusive {
            return turn(0, false);
        }
        let client = &self.state().channels[index];
        if self.pool.waiting.load(SeqCst) == 0
            && let Some(place) = self.free_place(index)
        {
            return turn(place, true);
        }
        if client.interrupts() {
            // The call below us on this very thread may hold the last place: it must not be waited for.
            return turn(client.place.load(Relaxed) as usize, false);
        }
        client.turn.store(0, Relaxed);
        let ticket = self.pool.tickets.fetch_add(1, Relaxed) + 1;
        client.ticket.store(ticket, SeqCst);
        self.pool.waiting.fetch_add(1, SeqCst);
        loop {
            let granted = client.turn.load(Acquire);
            if granted != 0 {
                return turn(granted as usize - 1, true);
            }
            // A place may have been left before we were seen to wait.
            let is_first = self.first_waiting().is_none_or(|(first, _)| first == ticket);
            let place = if is_first { self.free_place(index) } else { None };
            let late = deadline.has_passed();
            if (place.is_some() || late) && client.ticket.compare_exchange(ticket, 0, AcqRel, Acquire).is_ok()
            {
                self.pool.waiting.fetch_sub(1, SeqCst);
                return match place {
                    Some(place) => turn(place, true),
                    None => Err(CallError::TimedOut { ran: Ran::No }),
                };
            }
            if let Some(place) = place {
                // Given one meanwhile: `turn` says which in a moment.
                self.leave(place);
            }
            if client.ticket.load(Acquire) == 0 {
                std::thread::yield_now();
                continue;
            }
            futex_wait(&client.turn, 0, deadline.left_ns().min(50_000_000));
        }
    }

    /// A free place: the last one used, one with a worker, any.
    fn free_place(&self, index: usize) -> Option<usize> {
        let client = &self.state().channels[index];
        let count = self.allotted();
        let last = client.place.load(Relaxed) as usize;
        let take = |&place: &usize| {
            let user = &self.pool.places[place].user;
            user.load(Relaxed) == 0 && user.compare_exchange(0, index as u32 + 1, SeqCst, Relaxed).is_ok()
        };
        let served = |&place: &usize| self.pool.places[place].current.load(Relaxed) > SWITCHING;
        let found = Some(last)
            .filter(|&last| last < count && served(&last))
            .filter(take)
            .or_else(|| (0..count).filter(served).find(take))
            .or_else(|| (0..count).find(take))?;
        client.place.store(found as u32, Relaxed);
        Some(found)
    }

    /// The ticket and the channel of the caller that has waited longest.
    fn first_waiting(&self) -> Option<(u64, usize)> {
        let tickets = self.state().channels.iter().map(|client| client.ticket.load(SeqCst));
        tickets.enumerate().filter(|&(_, ticket)| ticket != 0).map(|(index, ticket)| (ticket, index)).min()
    }

    /// Gives a place up, to the caller that has waited longest if there is one.
    fn leave(&self, place: usize) {
        let user = &self.pool.places[place].user;
        if place >= self.allotted() {
            // The share shrank: another caller's worker runs instead.
            let current = self.pool.places[place].current.load(Acquire);
            if current > SWITCHING {
                self.retire(Current(current), Fate::Kill);
            }
            user.store(0, SeqCst);
            return;
        }
        loop {
            while self.pool.waiting.load(SeqCst) != 0 {
                let Some((ticket, index)) = self.first_waiting() else { break };
                let client = &self.state().channels[index];
                if client.ticket.compare_exchange(ticket, 0, AcqRel, Acquire).is_ok() {
                    self.pool.waiting.fetch_sub(1, SeqCst);
                    user.store(index as u32 + 1, SeqCst);
                    client.place.store(place as u32, Relaxed);
                    client.turn.store(place as u32 + 1, Release);
                    futex_wake(&client.turn, 1);
                    return;
                }
            }
            user.store(0, SeqCst);
            // A caller that came after our look and found the place still taken is served now.
            let none_waits = self.pool.waiting.load(SeqCst) == 0;
            if none_waits || user.compare_exchange(0, u32::MAX, SeqCst, Relaxed).is_err() {
                return;
            }
        }
    }

    /// The worker at `place`, taking a spare if the last has ended; waits for one until the
    /// deadline.
    #[inline]
    fn current(&self, place: usize, deadline: &Deadline, broken: WhileBroken) -> Result<Current, CallError> {
        let Place { current: word, searches, .. } = &self.pool.places[place];
        loop {
            // Read before the word: the end of a search that the word tells of is not counted in it.
            let ended = searches.load(Acquire);
            let current = word.load(Acquire);
            if current > SWITCHING {
                return Ok(Current(current));
            }
            if current == 0 && word.compare_exchange(0, SWITCHING, AcqRel, Acquire).is_ok() {
                let taken = self.take_spare(deadline, broken);
                word.store(*taken.as_ref().map_or(&0, |current| &current.0), Release);
                searches.fetch_add(1, AcqRel);
                futex_wake(searches, u32::MAX >> 1);
                return taken;
            }
            if deadline.has_passed() {
                return Err(CallError::TimedOut { ran: Ran::No });
            }
            if current == SWITCHING {
                futex_wait(searches, ended, deadline.check_ns());
            }
        }
    }

    /// The worker of a library, waiting for one that is ready.
    pub(crate) fn library_worker(&self, timeout: Duration) -> Result<Current, CallError> {
        self.current(0, &Deadline::after(timeout, self.ticks_per_us), WhileBroken::Fail)
    }

    pub(crate) fn limits(&self, current: Current, options: &CallOptions, deadline: &Deadline) -> Limits<'_> {
        let slot = &self.control().slots[current.slot()];
        let cpu_ns = options
            .cpu_limit
            .and_then(|limit| Some(process_cpu_ns(slot.process.load(Acquire))? + limit.as_nanos() as u64));
        Limits { deadline: *deadline, cpu_ns, slot, generation: current.generation() }
    }

    /// Makes a call, again as often as the options allow. `attempt` makes it once, on a channel.
    pub(crate) fn with_retries<T>(
        &self,
        options: &CallOptions,
        mut attempt: impl FnMut(usize, Current, &Deadline) -> Result<T, CallError>,
    ) -> Result<T, CallError> {
        let deadline =
            Deadline::after(options.deadline, self.ticks_per_us).or_cancelled(options.cancellation);
        let claim = self.claim(&deadline)?;
        let turn = self.enter(claim.index, &deadline)?;
        let broken = if options.retries > 0 { WhileBroken::Wait } else { WhileBroken::Fail };
        let (mut tries, mut lost) = (0, 0);
        loop {
            self.await_babysitter(&deadline)?;
            let current = self.current(turn.place, &deadline, broken)?;
            let slot = slot_address(self.window, current.slot());
            self.variables.push(slot, current.generation());
            // SAFETY: the head of a slot stays mapped for the life of the connection; it is all atomics.
            locale::tell(unsafe { at(slot) });
            match attempt(claim.index, current, &deadline) {
                Ok(reply) => {
                    self.variables.pull(slot);
                    self.count(claim.index, tries, &deadline);
                    return Ok(reply);
                }
                // A worker that ended between calls is not this call's failure.
                Err(CallError::Crashed { ran: Ran::No, .. }) if lost < LOST_MAX && !deadline.has_passed() => {
                    lost += 1;
                }
                Err(error) if error.is_system() && tries < options.retries && !deadline.has_passed() => {
                    tries += 1;
                }
                Err(error) => return Err(error),
            }
        }
    }

    #[inline]
    fn count(&self, index: usize, tries: u32, deadline: &Deadline) {
        // Only the thread that holds the channel writes its counts: no locked instruction is needed.
        let add = |word: &AtomicU64, value: u64| {
            let sum = word.load(Relaxed) + value;
            word.store(sum, Relaxed);
            sum
        };
        let counts = &self.control().counts[index];
        if add(&counts.calls, 1) % SAMPLE == 0 {
            add(&counts.sampled, 1);
            add(&counts.sampled_ns, deadline.elapsed_ns());
        }
        if tries > 0 {
            add(&counts.absorbed, 1);
            self.statistics.absorbed.fetch_add(1, Relaxed);
        }
        if self.pool.condemned.load(Relaxed) != 0 {
            let age = counter().wrapping_sub(self.pool.condemned_at.load(Relaxed));
            if age > CONDEMNED_US * self.ticks_per_us {
                self.end_condemned();
            }
        }
        if self.pool.last_taken.load(Relaxed) && self.pool.last_taken.swap(false, Relaxed) {
            self.wake_babysitter();
        }
    }
}
