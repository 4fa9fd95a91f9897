//! [`Host`]: the run loop of one processor. It is no actor, and nothing of it runs inside an event.
//!
//! A turn takes the configuration at the front of the ring, dispatches one event of it (or as many as its weight says),
//! and puts it at the back. A configuration without events leaves the ring and rests. A configuration belongs to one host
//! at a time and changes hosts only between turns: when an idle host has asked for one, or when it rests and another host
//! sends to it. A wake-up on another processor costs more than hundreds of events, so a sender that is about to have
//! nothing to do runs the receiver itself, and one whose receiver's host sleeps runs it until an idle host asks for work.
//!
//! Events are paid from leases on their sponsors' quotas ([`Leases`]); the ledger is visited once per lease.

use std::cell::Cell;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use banyan_core::sponsors::{Resource, State, Verdict};

use crate::address::GuestNumber;
use crate::effects::{Money, Outgoing, Request};
use crate::guest::{Event, Guest, Outcome};
use crate::lease::{Leases, Paid};
use crate::message::Message;
use crate::pool::Job;
use crate::system::{Arrival, NOBODY, Shared, System};

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
            self.note_load();
            return Turn::Worked;
        }
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
        self.send_outgoing(resident);
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

    /// An event waits with its sponsor, unless that was started again meanwhile.
    #[cold]
    fn wait_with_sponsor(&mut self, resident: &mut Resident, event: Event) {
        let mut treasury = self.system.treasury();
        match treasury.ledger.account(event.sponsor).map(|account| account.state) {
            Some(State::Running) => put_back(&mut resident.guest, event),
            Some(State::Ended { .. }) | None => {}
            Some(_) => treasury.park(resident.shared.number, kept_here(&mut resident.guest, event)),
        }
    }

    /// An event cannot be paid for: it waits with its sponsor, unless another host's lease, or the rest of the balance,
    /// can still pay for it.
    #[cold]
    fn exhausted(&mut self, resident: &mut Resident, event: Event, resource: Resource, had: u64) {
        let sponsor = event.sponsor;
        let mut freed = Vec::new();
        let mut treasury = self.system.treasury();
        self.leases.settle_one(sponsor, &mut treasury, &mut freed);
        let verdict = treasury.ledger.park(sponsor, resource, had);
        match verdict {
            Verdict::Release => {
                // There is more than this host had leased: it takes all.
                self.leases.take_all(sponsor, &mut treasury);
                put_back(&mut resident.guest, event);
                treasury.carry_out(sponsor, verdict, &mut freed);
            }
            Verdict::Drop => {}
            Verdict::Wait | Verdict::Signal(_) => {
                treasury.park(resident.shared.number, kept_here(&mut resident.guest, event));
                treasury.carry_out(sponsor, verdict, &mut freed);
                if verdict == Verdict::Wait {
                    self.system.recalls.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
        treasury.keep();
        let complaints = std::mem::take(&mut treasury.complaints);
        drop(treasury);
        complaints.into_iter().for_each(|line| self.system.log(line));
        self.system.send_freed(freed);
    }

    /// Does what completed events have asked of the host.
    fn settle_effects(&mut self, resident: &mut Resident) {
        let effects = &mut resident.guest.effects;
        if !effects.transfers.is_empty() || !effects.money.is_empty() {
            let mut freed = Vec::new();
            let changes: Vec<Money> =
                effects.money.drain(..).map(|money| self.system.with_stored(money)).collect();
            let mut treasury = self.system.treasury();
            for (to, amount) in effects.transfers.drain(..) {
                self.leases.transfer(to, amount, &mut treasury);
            }
            for money in changes {
                match money {
                    Money::Start(sponsor, controller) => {
                        treasury.start(sponsor, Some(controller), &mut freed);
                    }
                    Money::Stop(sponsor, heir) => {
                        treasury.stop(sponsor, heir, &mut freed);
                        self.system.recalls.fetch_add(1, Ordering::Relaxed);
                    }
                }
            }
            treasury.keep();
            drop(treasury);
            self.system.send_freed(freed);
        }
        for line in effects.complaints.drain(..) {
            self.system.log(format!("{}: {line}", resident.shared.name));
        }
        for (sponsor, request) in effects.requests.drain(..) {
            match request {
                Request::Configuration(seed) => drop(self.system.plant(seed)),
                Request::Blocking(work, reply_to) => self.system.submit(Job { work, reply_to, sponsor }),
            }
        }
        // What a durable configuration sends leaves after its commit.
        if resident.guest.durable.is_none() {
            self.send_outgoing(resident);
        }
    }

    fn send_outgoing(&mut self, resident: &mut Resident) {
        let is_busy = !resident.guest.queue.is_empty();
        let mut outgoing = std::mem::take(&mut resident.guest.effects.outgoing);
        let mut batch: Vec<Event> = Vec::new();
        let mut items = outgoing.drain(..).peekable();
        while let Some(item) = items.next() {
            match item {
                Outgoing::Beyond(proxy, sponsor, message) => proxy.door.deliver(message, sponsor),
                Outgoing::Guest(number, event) => {
                    let follows = matches!(items.peek(), Some(Outgoing::Guest(next, _)) if *next == number);
                    if follows || !batch.is_empty() {
                        if batch.is_empty() {
                            batch.reserve_exact(items.len() + 1);
                        }
                        batch.push(event);
                        if follows {
                            continue;
                        }
                        self.deliver(number, None, std::mem::take(&mut batch), is_busy);
                    } else {
                        self.deliver(number, Some(event), Vec::new(), is_busy);
                    }
                }
            }
        }
        drop(items);
        resident.guest.effects.outgoing = outgoing;
    }

    /// Puts events into a configuration's inbox, and takes the configuration or gives it to its host if it rested.
    /// `sender_is_busy`: the sending configuration has more to do.
    fn deliver(&mut self, number: GuestNumber, one: Option<Event>, many: Vec<Event>, sender_is_busy: bool) {
        if self.known.get(&number).is_some_and(|shared| shared.has_ended()) {
            self.known.remove(&number);
        }
        let shared = match self.known.get(&number) {
            Some(shared) => shared,
            None => match self.system.shared(number) {
                Some(shared) => self.known.entry(number).or_insert(shared),
                None => {
                    let count = many.len() as u64 + u64::from(one.is_some());
                    self.system.dead_letters.fetch_add(count, Ordering::Relaxed);
                    return;
                }
            },
        };
        if let Some(event) = one {
            shared.inbox.push(event);
        }
        shared.inbox.push_many(many);
        if !shared.rouse() {
            return;
        }
        let home = shared.home.load(Ordering::Relaxed);
        if home != self.index {
            let door = &self.system.hosts[home];
            let this_is_free = self.ring.is_empty() && !sender_is_busy;
            let take = this_is_free
                || door.sleeping.load(Ordering::Relaxed)
                || door.load.load(Ordering::Relaxed) > self.ring.len();
            if shared.stays || !take {
                self.system.arrive(home, Arrival::Roused(shared.clone()));
                return;
            }
            shared.home.store(self.index, Ordering::Relaxed);
        }
        if let Some(guest) = shared.take() {
            let shared = shared.clone();
            self.ring.push_back(Resident { shared, guest });
            self.note_load();
        }
    }

    /// Takes in the configurations that were given to this host.
    #[cold]
    fn admit(&mut self) {
        let mut arrivals = Vec::new();
        self.system.hosts[self.index].arrivals.take(|arrival| arrivals.push(arrival));
        for arrival in arrivals {
            let (shared, guest) = match arrival {
                Arrival::Roused(shared) => match shared.take() {
                    Some(guest) => (shared, guest),
                    None => continue,
                },
                Arrival::Given(shared, guest) => (shared, guest),
                Arrival::New(shared, seed) => {
                    let configuration = seed.configuration;
                    let mut guest = Box::new(Guest::new(shared.number, configuration.sponsor));
                    guest.default_directive = configuration.default_directive;
                    guest.overseer = configuration.overseer;
                    guest.occupy(seed.first);
                    shared.actors.store(guest.population(), Ordering::Relaxed);
                    (shared, guest)
                }
            };
            shared.home.store(self.index, Ordering::Relaxed);
            self.ring.push_back(Resident { shared, guest });
        }
        self.note_load();
    }

    fn lay_to_rest(&mut self, resident: Resident) {
        let Resident { shared, guest } = resident;
        shared.actors.store(guest.population(), Ordering::Relaxed);
        let due = guest.timers.next_due();
        if due != u64::MAX {
            self.alarms.push(Reverse((due, shared.number)));
        }
        if let Some(guest) = shared.rest(guest) {
            self.ring.push_back(Resident { shared, guest });
        }
        self.note_load();
    }

    fn note_load(&self) {
        self.system.hosts[self.index].load.store(self.ring.len(), Ordering::Relaxed);
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

    /// Gives half of the ring to an idle host that has asked, or wakes one so that it asks.
    fn share_out(&mut self) {
        let door = &self.system.hosts[self.index];
        let taker = door.wanted_by.swap(NOBODY, Ordering::Relaxed);
        if taker == NOBODY || taker == self.index {
            let sleeping = self.system.hosts.iter().find(|other| other.sleeping.load(Ordering::Relaxed));
            if let Some(other) = sleeping {
                other.wake();
            }
            return;
        }
        let keep = self.ring.len().div_ceil(2);
        for resident in self.ring.split_off(keep) {
            if resident.shared.stays {
                self.ring.push_back(resident);
            } else {
                self.system.arrive(taker, Arrival::Given(resident.shared, resident.guest));
            }
        }
        self.note_load();
    }

    fn settle_leases(&mut self) {
        self.settled = self.now;
        if self.leases.is_empty() {
            return;
        }
        let mut freed = Vec::new();
        let mut treasury = self.system.treasury();
        self.leases.settle_all(&mut treasury, &mut freed);
        let complaints = std::mem::take(&mut treasury.complaints);
        drop(treasury);
        complaints.into_iter().for_each(|line| self.system.log(line));
        self.system.send_freed(freed);
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

    /// Asks whoever is busiest for half of what it has.
    pub(crate) fn ask_for_work(&self) {
        let doors = self.system.hosts.iter().enumerate();
        let others =
            doors.filter(|(index, door)| *index != self.index && door.load.load(Ordering::Relaxed) > 1);
        if let Some((_, busiest)) = others.max_by_key(|(_, door)| door.load.load(Ordering::Relaxed)) {
            busiest.wanted_by.store(self.index, Ordering::Relaxed);
        }
    }

    /// Gives everything back: what is in the ring rests.
    pub(crate) fn close(&mut self) {
        self.settle_leases();
        while let Some(Resident { shared, guest }) = self.ring.pop_front() {
            drop(shared.rest(guest));
        }
    }
}

/// An event is to be tried again at once.
fn put_back(guest: &mut Guest, event: Event) {
    guest.queue.push_front(event);
    if let Some(durability) = &mut guest.durable {
        durability.reordered();
    }
}

/// What waits with the sponsor: the event itself, or what stands for it if its configuration keeps its events.
fn kept_here(guest: &mut Guest, event: Event) -> Event {
    let Some(durability) = &mut guest.durable else { return event };
    let sponsor = event.sponsor;
    durability.parked.push(event);
    let message = Message::internal(crate::durable::Unpark(sponsor));
    Event { slot: Event::CONTROL, generation: 0, sponsor, message }
}

/// What an event from outside of any event costs when it is dispatched.
pub(crate) fn delivery_cost(message: &Message) -> u64 {
    size_of::<Event>() as u64 + message.size()
}

/// A quota that pays for one event of native code in deterministic mode.
pub(crate) const SIMULATED_EVENT_CYCLES: u64 = 100;
