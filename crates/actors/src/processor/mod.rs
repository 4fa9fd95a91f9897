//! [`Processor`]: the run loop of one processor. It is no actor, and nothing of it runs inside an event.
//!
//! A turn takes the configuration at the front of the ring, dispatches one event of it (or as many as its
//! weight says), and puts it at the back. A configuration without events leaves the ring and rests. A
//! configuration belongs to one processor at a time and changes processors only between turns: when an idle
//! processor has asked for one, or takes those that wait behind a long event, or when it rests and another
//! processor sends to it (`moving`).
//!
//! Events are paid from leases on their sponsors' quotas ([`Leases`]); the ledger is visited once per lease
//! (`paying`).

pub(crate) mod dispatching;
mod moving;
mod observed;
mod paying;
pub(crate) mod pool;
pub mod probe;
pub mod runtime;
mod sending;
pub mod simulation;

use std::cell::Cell;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::configuration::event::Event;
use crate::configuration::running::Outcome;
use crate::containment::contain;
use crate::durable::{CommitFailed, StoreHealth};
use crate::model::address::ConfigurationNumber;
use crate::mutation::{Mutation, makes};
use crate::sponsors::lease::{Leases, Paid};
use crate::sys::allocator::Behind;
use crate::sys::lent::Owner;
use crate::system::System;
use crate::system::directory::{Entry, Exclusive, NO_PROCESSOR, Resident, Ring};

/// The most turns before a processor looks at the clock and at who is idle again. Fewer if turns take long,
/// so that it is done about as often as `MAINTENANCE` says.
const MAINTENANCE_TURNS_MAX: u64 = 64;
/// Nanoseconds between looks: about what it costs to wake another processor.
const MAINTENANCE: u64 = 50_000;
/// Nanoseconds after which leases are settled, so that the ledger shows what was spent.
const SETTLE: u64 = 1_000_000;
/// The same in turns of a simulation, whose clock stands still while there is work.
const SETTLE_TURNS: u64 = 1024;

/// What a turn did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// It dispatched, or did something else that had to be done.
    Worked,
    /// There is nothing to do until the clock shows this.
    Idle(u64),
}

thread_local! {
    /// The configuration whose turn has panicked on this thread.
    static LOST: Cell<Option<Resident>> = const { Cell::new(None) };
}

/// The configuration that has its turn. If that unwinds, [`Processor::recover`] gets it.
struct InHand(Option<Resident>);

impl InHand {
    fn resident(&mut self) -> &mut Resident {
        self.0.as_mut().expect("what is in hand is put back once, at the end of its turn")
    }

    fn put_back(mut self) -> Resident {
        self.0.take().expect("what is in hand is put back once, at the end of its turn")
    }
}

impl Drop for InHand {
    #[inline]
    fn drop(&mut self) {
        if self.0.is_some() {
            LOST.set(self.0.take());
        }
    }
}

/// The run loop of one processor.
pub(crate) struct Processor {
    index: usize,
    system: Arc<System>,
    /// Lent while an event runs.
    ring: Owner<Ring>,
    /// The configuration that has its turn, and is not in the ring.
    in_hand: Option<ConfigurationNumber>,
    leases: Leases,
    /// Resting configurations with timers: when, and which.
    alarms: BinaryHeap<Reverse<(u64, ConfigurationNumber)>>,
    /// Configurations that were sent to.
    known: BTreeMap<ConfigurationNumber, Arc<Entry>>,
    now: u64,
    turns: u64,
    /// Turns between looks at the clock, and the turn of the next one.
    look_every: u64,
    look_at: u64,
    /// When leases were settled.
    settled: u64,
    /// When it is tried again to keep the budgets, which there was no room for.
    keep_budgets_at: u64,
    /// What it has freed in small pieces, which the allocator keeps.
    freed: Behind,
    /// How often leases had been called back when this processor last settled for that.
    recalls: u64,
    /// When this processor looked whether others are held up, and the turns that they had had.
    relieved: u64,
    turns_seen: Vec<u64>,
}

impl Processor {
    pub(crate) fn new(index: usize, system: Arc<System>) -> Self {
        let leases = Leases::new(system.facilities.clock.is_simulated());
        let ring = Owner::new(Ring::new());
        let turns_seen = vec![u64::MAX; system.directory.processors.len()];
        // It is the only one of this index.
        let _ = system.directory.processors[index].ring.set(ring.shared());
        Self {
            index,
            system,
            ring,
            in_hand: None,
            leases,
            alarms: BinaryHeap::new(),
            known: BTreeMap::new(),
            now: 0,
            turns: 0,
            look_every: 1,
            look_at: 0,
            settled: 0,
            keep_budgets_at: u64::MAX,
            freed: Behind::default(),
            recalls: 0,
            relieved: 0,
            turns_seen,
        }
    }

    /// One turn.
    pub(crate) fn turn(&mut self) -> Turn {
        dispatching::assert_outside_of_events();
        self.turns += 1;
        let door = &self.system.directory.processors[self.index];
        if !door.arrivals.is_empty() {
            self.admit();
        }
        if self.turns >= self.look_at {
            self.maintain();
        } else if self.ring.len() > 1
            && self.system.directory.processors[self.index].wanted_by.load(Ordering::Relaxed) != NO_PROCESSOR
        {
            self.give_away();
        }
        let recalls = self.system.recalls.load(Ordering::Relaxed);
        if recalls != self.recalls {
            self.recalls = recalls;
            self.settle_leases();
        }
        let Some(resident) = self.ring.pop_front() else { return self.idle() };
        if resident.entry.has_ended() {
            self.end(resident);
            return Turn::Worked;
        }
        self.in_hand = Some(resident.entry.number);
        let mut in_hand = InHand(Some(resident));
        let resident = in_hand.resident();
        if !resident.entry.inbox.is_empty() {
            let Exclusive { running, durability, .. } = &mut *resident.exclusive;
            match durability {
                None => resident.entry.inbox.take(|event| running.queue.push_back(event)),
                Some(durability) => {
                    let facilities = &self.system.facilities;
                    let inbox = &resident.entry.inbox;
                    inbox.take(|event| durability.admit(event, &mut running.queue, facilities));
                    self.system.carry_out(durability.take_aftermath());
                }
            }
        }
        if resident.exclusive.next_due() <= self.now {
            self.do_what_is_due(resident);
        }
        self.run(resident);
        let resident = in_hand.put_back();
        if !resident.exclusive.running.queue.is_empty() && !resident.exclusive.health().waits() {
            self.in_hand = None;
            self.ring.push_back(resident);
        } else {
            self.put_to_rest(resident);
        }
        Turn::Worked
    }

    /// What no event asks for: timers that are due, or a look at whether a commit that waits can be written.
    #[cold]
    fn do_what_is_due(&mut self, resident: &mut Resident) {
        if let Some((retry, _)) = resident.exclusive.unkept {
            return self.look_at_budgets(resident, retry);
        }
        let Exclusive { running, durability, .. } = &mut *resident.exclusive;
        if let Some(durability) = durability.as_mut().filter(|one| one.health().waits()) {
            let committed = durability.commit_again(running, &self.system.facilities);
            self.after_commit(resident, committed);
        } else {
            running.fire(self.now);
            self.settle_effects(resident);
        }
    }

    /// Ends a configuration that was removed.
    #[cold]
    fn end(&mut self, mut resident: Resident) {
        self.abandon_batch(&mut resident.exclusive);
        resident.exclusive.running.take_back(0, &self.system.facilities);
        let unhandled = resident.exclusive.running.end_all();
        self.release_effects(&mut resident);
        unhandled.into_iter().for_each(|event| self.system.undelivered(event));
        self.system.empty(&resident.entry);
        self.note_load();
    }

    /// Dispatches as many events as the weight says.
    fn run(&mut self, resident: &mut Resident) {
        match resident.exclusive.health() {
            StoreHealth::Well => {}
            StoreHealth::Full | StoreHealth::Faulty => return,
            StoreHealth::Failed => {
                resident.exclusive.running.queue.clear();
                return;
            }
        }
        let weight =
            if makes(Mutation::IgnoreWeight) { 1 } else { resident.entry.weight.load(Ordering::Relaxed) };
        let mut completed = 0;
        let mut failed = 0;
        for _ in 0..weight {
            let Some(mut event) = resident.exclusive.running.queue.pop_front() else { break };
            if event.slot == Event::CONTROL {
                resident.exclusive.running.dispatch_control(&mut event);
                self.settle_effects(resident);
                if resident.exclusive.unkept.is_some() {
                    break;
                }
                continue;
            }
            if let Some(durability) = &mut resident.exclusive.durability {
                durability.popped();
            }
            match self.dispatch(resident, &mut event) {
                Outcome::Completed => completed += 1,
                Outcome::Gone => {
                    resident.exclusive.running.consumed(&event);
                    resident.exclusive.running.orphan(&event, "its supervisor could not be told");
                    self.system.undelivered(event);
                }
                Outcome::Held => {}
                Outcome::Cancelled => resident.exclusive.running.consumed(&event),
                Outcome::NoRoom(number) => self.wait_for_room(resident, &event, number),
                Outcome::Parked => self.wait_with_sponsor(resident, event),
                Outcome::Exhausted { resource, had } => self.exhausted(resident, event, resource, had),
                Outcome::Failed(failure) => {
                    failed += 1;
                    let at = (resident.entry.name.as_str(), event.slot, event.generation & Event::GENERATION);
                    let line = || format!("{} actor {}.{}: {failure}", at.0, at.1, at.2);
                    self.system.facilities.log_of(at.0, line);
                }
            }
            if !resident.exclusive.running.effects.is_settled() {
                self.settle_effects(resident);
                if resident.exclusive.unkept.is_some() {
                    break;
                }
            }
        }
        self.commit_if_due(resident);
        self.make_room(resident);
        let shared = &resident.entry;
        observed::count(shared, completed, failed);
        if completed > 0 {
            shared.events.store(shared.events.load(Ordering::Relaxed) + completed, Ordering::Relaxed);
        }
        if failed > 0 {
            shared.failures.fetch_add(failed, Ordering::Relaxed);
        }
    }

    /// Commits what a durable configuration has done, once it is enough for a sync or there is nothing more
    /// to do.
    fn commit_if_due(&mut self, resident: &mut Resident) {
        let Exclusive { running, durability, .. } = &mut *resident.exclusive;
        let idle = running.queue.is_empty();
        let Some(durability) = durability.as_mut().filter(|durability| durability.is_due(idle)) else {
            return;
        };
        let committed = durability.commit(running, &self.system.facilities);
        self.after_commit(resident, committed);
    }

    /// What a batch has to say goes when it is committed. If it is not, the log says so once.
    fn after_commit(&mut self, resident: &mut Resident, committed: Result<(), CommitFailed>) {
        let Some(durability) = &mut resident.exclusive.durability else { return };
        self.system.carry_out(durability.take_aftermath());
        let (name, facilities) = (&resident.entry.name, &self.system.facilities);
        let health = durability.health();
        let before = resident.entry.note_health(health);
        match (committed, health) {
            (Ok(()), _) if before == StoreHealth::Full => {
                facilities.log(format!("{name}: there is room on the disk again, and it goes on"));
            }
            (Ok(()), _) if before == StoreHealth::Faulty => {
                facilities.log(format!("{name}: its store is written again, and it goes on"));
            }
            (Ok(()), _) => {}
            (Err(error), StoreHealth::Full) => {
                if before != StoreHealth::Full {
                    facilities.log(format!("{name}: {error}; it rests until there is room"));
                }
                return;
            }
            (Err(error), StoreHealth::Faulty) => {
                if before != StoreHealth::Faulty {
                    facilities.log(format!("{name}: {error}; it rests until its store can be written again"));
                }
                return;
            }
            (Err(error), _) => {
                facilities.log(format!("{name}: {error}; it rests until it is opened again"));
                resident.exclusive.running.queue.clear();
            }
        }
        self.release_effects(resident);
        if let Some(durability) = &mut resident.exclusive.durability {
            durability.left();
        }
    }

    #[inline]
    fn dispatch(&mut self, resident: &mut Resident, event: &mut Event) -> Outcome {
        let meters_itself = resident.exclusive.running.meters_itself(event.slot);
        self.leases.before_event(meters_itself);
        let mut freed = Vec::new();
        let paid = self.leases.left_of(event.sponsor, &self.system.facilities, &mut freed);
        if !freed.is_empty() {
            self.system.send_freed(freed);
        }
        let left = match paid {
            Paid::Left(left) => left,
            Paid::Park => return Outcome::Parked,
            Paid::Drop => return Outcome::Gone,
        };
        let _span = observed::span(&resident.entry, event);
        let running = &mut resident.exclusive.running;
        let lending = self.ring.lend();
        let inside = dispatching::enter();
        let outcome = running.dispatch(event, left, &self.system.facilities);
        drop(inside);
        drop(lending);
        if meters_itself {
            self.leases
                .after_metered_event(std::mem::take(&mut resident.exclusive.running.effects.overdrawn));
        } else {
            self.leases.after_event();
        }
        outcome
    }

    fn maintain(&mut self) {
        let before = std::mem::replace(&mut self.now, self.system.facilities.clock.now());
        let simulated = self.system.facilities.clock.is_simulated();
        if !simulated {
            let passed = self.now - before;
            if passed > 2 * MAINTENANCE {
                self.look_every = (self.look_every / 2).max(1);
            } else if passed < MAINTENANCE {
                self.look_every = (self.look_every * 2).min(MAINTENANCE_TURNS_MAX);
            }
            self.look_at = self.turns + self.look_every;
        }
        self.system.log_notes();
        self.rouse_due();
        self.system.directory.processors[self.index].turns.store(self.turns, Ordering::Relaxed);
        let settle = if simulated {
            self.turns.is_multiple_of(SETTLE_TURNS)
        } else {
            self.now.saturating_sub(self.settled) >= SETTLE
        };
        if settle {
            self.settle_leases();
            self.freed.step();
        }
        self.relieve_others();
        if self.ring.len() > 1 {
            self.give_away();
        }
    }

    /// A turn has panicked outside of an event, which nothing is known to do: the configuration that had it
    /// is lost, of which who watches its actors hears, and the others go on.
    #[cold]
    pub(crate) fn recover(&mut self, words: &str) {
        self.in_hand = None;
        let index = self.index;
        self.system.facilities.log(format!("host {index} panicked outside of an event: {words}"));
        if let Some(lost) = LOST.take() {
            let name = &lost.entry.name;
            self.system.facilities.log(format!("configuration {name} is lost by that, and removed"));
            self.system.remove(lost.entry.number);
            if let Err(words) = contain(|| self.end(lost)) {
                self.system.facilities.log(format!("its end panicked too: {words}"));
            }
        }
        self.note_load();
    }

    /// Rouses configurations whose timers are due.
    fn rouse_due(&mut self) {
        while let Some(Reverse((due, number))) = self.alarms.peek()
            && *due <= self.now
        {
            if let Some(entry) = self.system.directory.find(*number) {
                self.system.directory.rouse(&entry);
            }
            self.alarms.pop();
        }
    }

    fn idle(&mut self) -> Turn {
        self.note_load();
        self.settle_leases();
        self.leases.pause();
        self.now = self.system.facilities.clock.now();
        self.system.log_notes();
        self.rouse_due();
        self.look_at = self.turns + self.look_every;
        if !self.system.directory.processors[self.index].arrivals.is_empty() {
            return Turn::Worked;
        }
        if self.relieve_others() {
            return Turn::Worked;
        }
        self.ask_for_work();
        if !self.freed.is_done() {
            self.freed.step();
            return Turn::Worked;
        }
        let due = self.alarms.peek().map_or(u64::MAX, |Reverse((due, _))| *due);
        Turn::Idle(due.min(self.keep_budgets_at))
    }

    /// Gives everything back: what is in the ring rests.
    pub(crate) fn close(&mut self) {
        self.settle_leases();
        while let Some(Resident { entry, mut exclusive }) = self.ring.pop_front() {
            self.abandon_batch(&mut exclusive);
            drop(entry.rest(exclusive));
        }
    }
}
