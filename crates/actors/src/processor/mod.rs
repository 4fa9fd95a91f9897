//! [`Host`]: the run loop of one processor. It is no actor, and nothing of it runs inside an event.
//!
//! A turn takes the configuration at the front of the ring, dispatches one event of it (or as many as its weight says),
//! and puts it at the back. A configuration without events leaves the ring and rests. A configuration belongs to one host
//! at a time and changes hosts only between turns: when an idle host has asked for one, or when it rests and another host
//! sends to it (`moving`).
//!
//! Events are paid from leases on their sponsors' quotas ([`Leases`]); the ledger is visited once per lease (`paying`).

mod moving;
mod paying;
pub(crate) mod pool;
pub mod probe;
pub mod runtime;
pub mod simulation;

use std::cell::Cell;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::configuration::{Event, Guest, Outcome};
use crate::model::address::GuestNumber;
use crate::model::message::Message;
use crate::sponsors::lease::{Leases, Paid};
use crate::system::System;
use crate::system::interfaces::{NOBODY, Shared};

/// The most turns before a host looks at the clock and at who is idle again. Fewer if turns take long, so that it is done
/// about as often as `HOUSEKEEPING` says.
const HOUSEKEEPING_TURNS_MAX: u64 = 64;
/// Nanoseconds between looks: about what it costs to wake another host.
const HOUSEKEEPING: u64 = 50_000;
/// Nanoseconds after which leases are settled, so that the ledger shows what was spent.
const SETTLE: u64 = 1_000_000;
/// The same in turns of a simulation, whose clock stands still while there is work.
const SETTLE_TURNS: u64 = 1024;

thread_local! {
    /// Whether this thread is inside an event.
    static DISPATCHING: Cell<bool> = const { Cell::new(false) };
}

/// Stops the process if this thread is inside an event: a dispatch in a dispatch would let an actor run another.
pub(crate) fn assert_outside_of_events() {
    assert!(
        !DISPATCHING.get(),
        "an event cannot dispatch another, nor wait: ask the host, or send a message"
    );
}

/// What a turn did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// It dispatched, or did something else that had to be done.
    Worked,
    /// There is nothing to do until the clock shows this.
    Idle(u64),
}

struct Resident {
    shared: Arc<Shared>,
    guest: Box<Guest>,
}

/// The run loop of one processor.
pub(crate) struct Host {
    index: usize,
    system: Arc<System>,
    ring: VecDeque<Resident>,
    /// One of its configurations has its turn, and is not in the ring.
    in_hand: bool,
    leases: Leases,
    /// Resting configurations with timers: when, and which.
    alarms: BinaryHeap<Reverse<(u64, GuestNumber)>>,
    /// Configurations that were sent to.
    known: BTreeMap<GuestNumber, Arc<Shared>>,
    now: u64,
    turns: u64,
    /// Turns between looks at the clock, and the turn of the next one.
    look_every: u64,
    look_at: u64,
    /// When leases were settled.
    settled: u64,
    /// How often leases had been called back when this host last settled for that.
    recalls: u64,
}

impl Host {
    pub(crate) fn new(index: usize, system: Arc<System>) -> Self {
        let leases = Leases::new(system.is_simulated());
        Self {
            index,
            system,
            ring: VecDeque::new(),
            in_hand: false,
            leases,
            alarms: BinaryHeap::new(),
            known: BTreeMap::new(),
            now: 0,
            turns: 0,
            look_every: 1,
            look_at: 0,
            settled: 0,
            recalls: 0,
        }
    }

    /// One turn.
    pub(crate) fn turn(&mut self) -> Turn {
        assert_outside_of_events();
        self.turns += 1;
        let door = &self.system.hosts[self.index];
        if !door.arrivals.is_empty() {
            self.admit();
        }
        if self.turns >= self.look_at {
            self.keep_house();
        } else if self.ring.len() > 1
            && self.system.hosts[self.index].wanted_by.load(Ordering::Relaxed) != NOBODY
        {
            self.share_out();
        }
        let recalls = self.system.recalls.load(Ordering::Relaxed);
        if recalls != self.recalls {
            self.recalls = recalls;
            self.settle_leases();
        }
        let Some(mut resident) = self.ring.pop_front() else { return self.idle() };
        if resident.shared.has_ended() {
            self.let_go(&mut resident.guest);
            self.note_load();
            return Turn::Worked;
        }
        self.in_hand = true;
        if !resident.shared.inbox.is_empty() {
            let guest = &mut *resident.guest;
            match &mut guest.durable {
                None => resident.shared.inbox.take(|event| guest.queue.push_back(event)),
                Some(durability) => {
                    let system = &self.system;
                    resident.shared.inbox.take(|event| durability.admit(event, &mut guest.queue, system));
                }
            }
        }
        if resident.guest.timers.next_due() <= self.now {
            resident.guest.fire_timers(self.now);
            self.settle_effects(&mut resident);
        }
        self.run(&mut resident);
        if !resident.guest.queue.is_empty() {
            self.in_hand = false;
            self.ring.push_back(resident);
        } else {
            self.lay_to_rest(resident);
        }
        Turn::Worked
    }

    /// Dispatches as many events as the weight says.
    fn run(&mut self, resident: &mut Resident) {
        if resident.guest.durable.as_ref().is_some_and(|durability| durability.has_failed()) {
            resident.guest.queue.clear();
            return;
        }
        let weight = resident.shared.weight.load(Ordering::Relaxed);
        let mut completed = 0;
        let mut failed = 0;
        for _ in 0..weight {
            let Some(mut event) = resident.guest.queue.pop_front() else { break };
            if event.slot == Event::CONTROL {
                resident.guest.dispatch_control(&mut event);
                self.settle_effects(resident);
                continue;
            }
            if let Some(durability) = &mut resident.guest.durable {
                durability.popped();
            }
            match self.dispatch(resident, &mut event) {
                Outcome::Completed => completed += 1,
                Outcome::Gone => {
                    self.system.dead_letters.fetch_add(1, Ordering::Relaxed);
                }
                Outcome::Held => {}
                Outcome::Parked => self.wait_with_sponsor(resident, event),
                Outcome::Exhausted { resource, had } => self.exhausted(resident, event, resource, had),
                Outcome::Failed(failure) => {
                    failed += 1;
                    let at =
                        (resident.shared.name.as_str(), event.slot, event.generation & Event::GENERATION);
                    self.system.log(format!("{} actor {}.{}: {failure}", at.0, at.1, at.2));
                }
            }
            if !resident.guest.effects.is_settled() {
                self.settle_effects(resident);
            }
        }
        self.commit_if_due(resident);
        let shared = &resident.shared;
        if completed > 0 {
            shared.events.store(shared.events.load(Ordering::Relaxed) + completed, Ordering::Relaxed);
        }
        if failed > 0 {
            shared.failures.fetch_add(failed, Ordering::Relaxed);
        }
    }

    /// Commits what a durable configuration has done, once it is enough for a sync or there is nothing more to do.
    fn commit_if_due(&mut self, resident: &mut Resident) {
        let idle = resident.guest.queue.is_empty();
        let Some(mut durability) = resident.guest.durable.take_if(|durability| durability.is_due(idle))
        else {
            return;
        };
        let committed = durability.commit(&mut resident.guest, &self.system);
        if let Err(error) = committed {
            self.system.log(format!("{}: {error}; it rests until it is opened again", resident.shared.name));
            resident.guest.queue.clear();
        }
        resident.guest.durable = Some(durability);
        self.let_out(resident);
        if let Some(durability) = &mut resident.guest.durable {
            durability.left();
        }
    }

    #[inline]
    fn dispatch(&mut self, resident: &mut Resident, event: &mut Event) -> Outcome {
        let meters_itself = resident.guest.meters_itself(event.slot);
        self.leases.before_event(meters_itself);
        let left = match self.leases.left_of(event.sponsor, &self.system) {
            Paid::Left(left) => left,
            Paid::Park => return Outcome::Parked,
            Paid::Drop => return Outcome::Gone,
        };
        DISPATCHING.set(true);
        let outcome = resident.guest.dispatch(event, left, &self.system);
        DISPATCHING.set(false);
        if meters_itself {
            self.leases.after_metered_event(std::mem::take(&mut resident.guest.effects.overdrawn));
        } else {
            self.leases.after_event();
        }
        outcome
    }

    fn keep_house(&mut self) {
        let before = std::mem::replace(&mut self.now, self.system.now());
        let simulated = self.system.is_simulated();
        if !simulated {
            let passed = self.now - before;
            if passed > 2 * HOUSEKEEPING {
                self.look_every = (self.look_every / 2).max(1);
            } else if passed < HOUSEKEEPING {
                self.look_every = (self.look_every * 2).min(HOUSEKEEPING_TURNS_MAX);
            }
            self.look_at = self.turns + self.look_every;
        }
        self.ring_alarms();
        self.system.hosts[self.index].turns.store(self.turns, Ordering::Relaxed);
        let settle = if simulated {
            self.turns.is_multiple_of(SETTLE_TURNS)
        } else {
            self.now.saturating_sub(self.settled) >= SETTLE
        };
        if settle {
            self.settle_leases();
        }
        if self.ring.len() > 1 {
            self.share_out();
        }
    }

    /// Rouses configurations whose timers are due.
    fn ring_alarms(&mut self) {
        while let Some(Reverse((due, number))) = self.alarms.peek()
            && *due <= self.now
        {
            if let Some(shared) = self.system.shared(*number) {
                self.system.rouse(&shared);
            }
            self.alarms.pop();
        }
    }

    fn idle(&mut self) -> Turn {
        self.note_load();
        self.settle_leases();
        self.leases.pause();
        self.now = self.system.now();
        self.ring_alarms();
        self.look_at = self.turns + self.look_every;
        if !self.system.hosts[self.index].arrivals.is_empty() {
            return Turn::Worked;
        }
        self.ask_for_work();
        Turn::Idle(self.alarms.peek().map_or(u64::MAX, |Reverse((due, _))| *due))
    }

    /// Gives everything back: what is in the ring rests.
    pub(crate) fn close(&mut self) {
        self.settle_leases();
        while let Some(Resident { shared, mut guest }) = self.ring.pop_front() {
            self.let_go(&mut guest);
            drop(shared.rest(guest));
        }
    }
}

/// What an event from outside of any event costs when it is dispatched.
pub(crate) fn delivery_cost(message: &Message) -> u64 {
    size_of::<Event>() as u64 + message.size()
}

/// A quota that pays for one event of native code in deterministic mode.
pub(crate) const SIMULATED_EVENT_CYCLES: u64 = 100;
