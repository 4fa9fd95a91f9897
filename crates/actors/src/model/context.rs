//! [`Context`]: what a behaviour may do during one event.
//!
//! Everything is provisional: it is paid for at once, and applied only when the event completes. A method
//! that cannot be paid for returns [`Exhausted`]; the behaviour passes it on, and the event is undone.
//!
//! There is no way from here to the event's sponsor, or to any actor whose address the behaviour was not
//! given.

use std::time::Duration;

use banyan_core::sponsors::{Quota, Resource, SponsorId};

use crate::configuration::effects::{Deferred, Outgoing, Request, Seed, Work};
use crate::configuration::event::Event;
use crate::configuration::running::RunningConfiguration;
use crate::containment::Foreign;
use crate::model::address::{Addr, Address, ConfigurationNumber, Local, Place};
use crate::model::behaviour::{Behaviour, Exhausted};
use crate::model::message::{Message, Payload};
use crate::model::supervision::{Control, Directive, End, Ended, Failed, Watch};
use crate::model::timers::TimerId;
use crate::sponsors::sponsor::{Signal, Sponsor};
use crate::system::facilities::Facilities;
use crate::system::mailboxes::WhenFull;
use crate::system::names::NameTaken;

/// One event under way.
pub struct Context<'a> {
    pub(crate) running: &'a mut RunningConfiguration,
    /// What the event may still spend.
    pub(crate) left: &'a mut Quota,
    pub(crate) facilities: &'a Facilities,
    pub(crate) slot: u32,
    pub(crate) sponsor: SponsorId,
}

impl Context<'_> {
    /// The address of the actor itself.
    #[must_use]
    pub fn this(&self) -> Address {
        Address::local(self.running.local_of(self.slot))
    }

    /// Nanoseconds since the system was started; in deterministic mode, of its simulated clock.
    #[must_use]
    pub fn now(&self) -> u64 {
        self.facilities.clock.now()
    }

    /// Sends a message, which the event's sponsor pays for. Between two actors, messages arrive in the order
    /// sent. If the target's mailbox is full, this may not return ([`WhenFull`]).
    ///
    /// # Errors
    /// [`Exhausted`] if the sponsor has no memory left for it.
    #[inline]
    pub fn deliver(&mut self, target: &Address, message: Message) -> Result<(), Exhausted> {
        self.deliver_charged_to(self.sponsor, target, message)
    }

    /// Sends a message on a sponsor's account, which the event's sponsor pays for.
    #[inline]
    fn deliver_charged_to(
        &mut self,
        sponsor: SponsorId,
        target: &Address,
        message: Message,
    ) -> Result<(), Exhausted> {
        self.charge_memory(size_of::<Event>() as u64 + message.size())?;
        let mark = match &target.0 {
            Place::Local(local) if local.configuration != self.running.number() => {
                match self.facilities.mailboxes.find(local.configuration) {
                    None => 0,
                    Some(mailbox) if mailbox.reserve() => Event::COUNTED,
                    Some(mailbox) => return self.without_room(local.configuration, mailbox.when_full),
                }
            }
            _ => 0,
        };
        let running = &mut *self.running;
        running.effects.route(running.number(), &mut running.queue, target, sponsor, message);
        if mark != 0
            && let Some(Outgoing::Configuration(_, event)) = running.effects.outgoing.last_mut()
        {
            event.generation |= mark;
        }
        Ok(())
    }

    /// The target's mailbox is full. Only what is dropped goes on from here.
    #[cold]
    fn without_room(&self, number: ConfigurationNumber, when_full: WhenFull) -> Result<(), Exhausted> {
        match when_full {
            WhenFull::Drop => {
                self.facilities.mailboxes.note_dropped();
                Ok(())
            }
            WhenFull::Wait | WhenFull::Fail => {
                std::panic::resume_unwind(Box::new(crate::model::behaviour::Failure::Full(number)))
            }
        }
    }

    /// Creates an actor in the same configuration. It exists if the event completes.
    ///
    /// # Errors
    /// [`Exhausted`] if the sponsor has no memory left for it.
    #[inline]
    pub fn create(&mut self, behaviour: Box<dyn Behaviour>) -> Result<Address, Exhausted> {
        self.check_kept(&*behaviour);
        self.charge_memory(RunningConfiguration::ACTOR_BYTES + behaviour.size())?;
        let has_start = behaviour.has_start();
        let slot = self.running.occupy(behaviour);
        self.running.effects.created.push(slot);
        if has_start {
            self.put_start(slot)?;
        }
        Ok(Address::local(self.running.local_of(slot)))
    }

    /// The first event of a new actor, before any that is sent to it.
    #[cold]
    fn put_start(&mut self, slot: u32) -> Result<(), Exhausted> {
        self.charge_memory(size_of::<Event>() as u64)?;
        let first = self.running.start(slot, self.sponsor, 0);
        self.running.queue.extend(first);
        Ok(())
    }

    /// What cannot be kept has no place in a durable configuration: the event fails.
    #[inline]
    fn check_kept(&self, behaviour: &dyn Behaviour) {
        if !behaviour.can_be_kept() {
            self.refuse_where_durable(
                "a durable configuration holds only actors that can be kept: use `create_kept`",
            );
        }
    }

    /// Ends the event with these words if the configuration is durable.
    #[inline]
    pub(crate) fn refuse_where_durable(&self, words: &str) {
        if self.running.changed.is_some() {
            crate::model::behaviour::refuse(words);
        }
    }

    /// Creates an actor whose failures are reported to `supervisor`, an actor of the same configuration (of
    /// another's end nobody here would hear: the event fails); `factory` makes it, now and whenever it is
    /// restarted.
    ///
    /// # Errors
    /// [`Exhausted`] if the sponsor has no memory left for it.
    pub fn create_supervised(
        &mut self,
        supervisor: &Addr<Failed>,
        factory: impl Fn() -> Box<dyn Behaviour> + Send + 'static,
    ) -> Result<Address, Exhausted> {
        let is_here = |local: &Local| local.configuration == self.running.number();
        if !matches!(&supervisor.address().0, Place::Local(local) if is_here(local)) {
            crate::model::behaviour::refuse(
                "a supervisor is an actor of the same configuration: create one here, which sends on what it gets",
            );
        }
        let address = self.create(factory())?;
        if let Place::Local(local) = &address.0 {
            self.running.effects.deferred.push(Deferred::Supervise {
                slot: local.slot,
                supervisor: supervisor.address().clone(),
                factory: Foreign::new(Box::new(factory)),
            });
        }
        Ok(address)
    }

    /// Decides about an actor that this one supervises, or made supervised. Of another actor it is only
    /// logged.
    pub fn direct(&mut self, actor: &Address, directive: Directive) {
        if let Place::Local(this) = self.this().0 {
            self.control(actor, Control::Direct(directive, this));
        }
    }

    /// The same after a pause, in which the actor's events wait. Of an actor that does not wait for a
    /// decision nothing is decided.
    pub fn direct_after(&mut self, pause: Duration, actor: &Address, directive: Directive) {
        if let Place::Local(this) = self.this().0 {
            let at = self.now().saturating_add(u64::try_from(pause.as_nanos()).unwrap_or(u64::MAX));
            self.control(actor, Control::DirectAt(at, directive, this));
        }
    }

    /// `watcher` receives a message when an actor ends; at once, if it has.
    pub fn monitor(&mut self, actor: &Address, watcher: &Addr<Ended>) {
        let watch = self.watch(watcher.address().clone());
        self.control(actor, Control::Monitor(watch));
    }

    /// `watcher` hears no more of it when the actor ends, if it was this actor that had asked for that, or is
    /// the watcher.
    pub fn unmonitor(&mut self, actor: &Address, watcher: &Addr<Ended>) {
        let watch = self.watch(watcher.address().clone());
        self.control(actor, Control::Unmonitor(watch));
    }

    fn watch(&self, watcher: Address) -> Watch {
        Watch { watcher, by: Some(self.running.local_of(self.slot)) }
    }

    /// If the other actor is ended by a failure, so is this one; at once, if it has ended. Two that are to
    /// end together link to each other.
    pub fn link(&mut self, other: &Address) {
        if let Place::Local(this) = self.this().0 {
            self.control(other, Control::Link(this));
        }
    }

    /// Ends an actor that this one supervises or made supervised, an adapter of this one, or an actor that
    /// this event has created, as if it had stopped. Of another actor it is only logged.
    pub fn end(&mut self, actor: &Address) {
        let Place::Local(this) = self.this().0 else { return };
        let is_new = match &actor.0 {
            Place::Local(local) => {
                local.configuration == this.configuration
                    && self.running.effects.created.contains(&local.slot)
            }
            Place::Beyond(_) => false,
        };
        self.control(actor, if is_new { Control::End(End::Stopped) } else { Control::EndBy(this) });
    }

    fn control(&mut self, actor: &Address, control: Control) {
        if let Place::Local(local) = &actor.0 {
            self.running.effects.deferred.push(Deferred::Control(*local, control));
        }
    }

    /// The actor handles its next event with another behaviour.
    pub fn become_behaviour(&mut self, behaviour: Box<dyn Behaviour>) {
        self.check_kept(&*behaviour);
        self.running.effects.next.put(behaviour);
    }

    /// The message of this event is put aside when it completes, until the actor wants it back
    /// ([`unstash`](Self::unstash)), is restarted, or is put back from a store. It still takes room in the
    /// configuration's mailbox.
    pub fn stash(&mut self) {
        self.running.effects.stash = true;
    }

    /// What the actor has put aside comes next, in its order, before whatever waits.
    pub fn unstash(&mut self) {
        self.running.effects.deferred.push(Deferred::Unstash);
    }

    /// The actor ends with this event, if the event completes.
    pub fn stop(&mut self) {
        self.running.effects.stop = true;
    }

    /// Sends a message after a while. In a durable configuration the timer is kept: if the process ends
    /// before it is due, the message is sent when the configuration is opened again, at once if it is overdue
    /// by then.
    ///
    /// # Errors
    /// [`Exhausted`] if the sponsor has no memory left for it.
    fn deliver_after(
        &mut self,
        delay: Duration,
        target: &Address,
        message: Message,
    ) -> Result<TimerId, Exhausted> {
        self.charge_memory(size_of::<Event>() as u64 + message.size())?;
        let id = self.running.timers.new_id();
        let delay = u64::try_from(delay.as_nanos()).unwrap_or(u64::MAX);
        let due = self.now().saturating_add(delay);
        self.running.effects.deferred.push(Deferred::Timer { id, due, target: target.clone(), message });
        Ok(id)
    }

    /// Sends a typed message after a while.
    ///
    /// # Errors
    /// [`Exhausted`] if the sponsor has no memory left for it.
    pub fn send_after<M: Payload>(
        &mut self,
        delay: Duration,
        target: &Addr<M>,
        message: M,
    ) -> Result<TimerId, Exhausted> {
        self.deliver_after(delay, target.address(), Message::new(message))
    }

    /// The timer's message does not come, unless it is under way to another configuration. Only the actor
    /// that has set it and the one that it is for cancel a timer (after a restart of the process, any actor
    /// of the configuration). An actor that is restarted gets none of the timers that it had set for itself.
    pub fn cancel(&mut self, timer: TimerId) {
        self.running.effects.deferred.push(Deferred::CancelTimer(timer));
    }

    /// Does work that may block on a thread of the pool, and sends what it returns. In a durable
    /// configuration it is begun after the event's commit, and **at most once**: if the process ends before
    /// its result is committed too, it is not begun again. An actor that cannot do without it notes in its
    /// state that the result is due, and sets a timer, which is kept, to ask again.
    ///
    /// # Errors
    /// [`Exhausted`] if the sponsor has no memory left for it.
    pub fn blocking<R: Payload>(
        &mut self,
        reply_to: &Addr<R>,
        work: impl FnOnce() -> R + Send + 'static,
    ) -> Result<(), Exhausted> {
        self.charge_memory(size_of::<Event>() as u64 + size_of::<R>() as u64)?;
        let job = Foreign::new(Box::new(move || Message::new(work())) as Work);
        let request = Request::Blocking(job, reply_to.address().clone());
        self.running.effects.deferred.push(Deferred::Outside(request));
        Ok(())
    }

    /// Asks the host for a new configuration, and gets the address of its first actor, which exists when the
    /// event has completed. Nothing of it runs inside this event.
    ///
    /// In a durable configuration it is made after the event's commit, and **at most once**: like any
    /// configuration that is not durable it ends with the process, and is not made again when the durable one
    /// is opened again; an address of it that was kept then leads nowhere. A durable configuration is opened
    /// from outside ([`Handle::open`](crate::Handle::open)).
    ///
    /// # Errors
    /// [`Exhausted`] if the sponsor has no memory left for it.
    pub fn ask_host(&mut self, mut seed: Seed) -> Result<Address, Exhausted> {
        self.charge_memory(
            size_of::<RunningConfiguration>() as u64 + seed.first.as_ref().map_or(0, |first| first.size()),
        )?;
        seed.number = self.facilities.numbers().fresh();
        if seed.configuration.sponsor == SponsorId::ROOT {
            seed.configuration.sponsor = self.sponsor;
        }
        let first = Address::local(seed.first_local());
        self.running.effects.deferred.push(Deferred::Outside(Request::Configuration(seed)));
        Ok(first)
    }

    /// Gives an actor a name in the system's registry, until it ends. Others see it when this event has
    /// completed.
    ///
    /// # Errors
    /// [`NameTaken`].
    pub fn register(&mut self, name: &str, actor: &Address) -> Result<(), NameTaken> {
        let watcher = self.facilities.names.reserve(name, actor)?;
        self.running.effects.deferred.push(Deferred::Name(name.to_owned()));
        self.control(actor, Control::Monitor(Watch { watcher, by: None }));
        Ok(())
    }

    /// The actor of a name.
    #[must_use]
    pub fn lookup(&self, name: &str) -> Option<Address> {
        let is_own = |action: &Deferred| matches!(action, Deferred::Name(own) if own == name);
        if self.running.effects.deferred.iter().any(is_own) {
            return self.facilities.names.reserved(name);
        }
        self.facilities.names.lookup(name)
    }

    /// Makes a sponsor with nothing, stopped. This and what is given, started and stopped by an event of a
    /// durable configuration takes effect with the event's commit, exactly once if the budgets are kept.
    ///
    /// # Errors
    /// [`Exhausted`] if the sponsor of this event has no memory left for it.
    pub fn new_sponsor(&mut self, name: &str) -> Result<Sponsor, Exhausted> {
        self.charge_memory(size_of::<banyan_core::sponsors::Account>() as u64 + name.len() as u64)?;
        let mut accounts = self.facilities.accounts();
        let id = accounts.ledger.create(self.sponsor);
        accounts.name(id, name.to_owned());
        if let Some(changed) = &self.running.changed {
            accounts.made_by(&changed.who, id);
        }
        drop(accounts);
        self.running.effects.deferred.push(Deferred::NewSponsor(id));
        Ok(Sponsor { id })
    }

    /// Gives to a sponsor from that of this event, which must keep something of whatever it gives of.
    ///
    /// # Errors
    /// [`Exhausted`] if it would not.
    pub fn transfer(&mut self, to: &Sponsor, amount: Quota) -> Result<(), Exhausted> {
        for resource in Resource::ALL {
            if amount.get(resource) > 0 && amount.get(resource) >= self.left.get(resource) {
                return Err(Exhausted(resource));
            }
        }
        *self.left = self.left.checked_sub(amount).map_err(Exhausted)?;
        self.running.effects.deferred.push(Deferred::Transfer(to.id, amount));
        Ok(())
    }

    /// Starts a sponsor, or starts it again: its events are dispatched, and `controller` is signalled when
    /// one cannot be paid for. That message is paid for now, by the sponsor of this event, so that it can
    /// always be sent.
    ///
    /// # Errors
    /// [`Exhausted`] if it cannot be paid for.
    pub fn start(&mut self, sponsor: &Sponsor, controller: &Addr<Signal>) -> Result<(), Exhausted> {
        self.prepay_event()?;
        self.running.effects.deferred.push(Deferred::Start(sponsor.id, controller.address().clone()));
        Ok(())
    }

    /// Pays for an event that must always be delivered.
    pub(crate) fn prepay_event(&mut self) -> Result<(), Exhausted> {
        self.charge_memory(size_of::<Event>() as u64)?;
        self.left.events = self.left.events.checked_sub(1).ok_or(Exhausted(Resource::Events))?;
        self.running.effects.prepaid += 1;
        Ok(())
    }

    /// The sponsor that a [`Signal`] is about, if this actor is its controller: the actor that starts a
    /// sponsor gives that right with it. A controller that is kept finds its sponsors so after a restart.
    #[must_use]
    pub fn controlled(&self, sponsor: SponsorId) -> Option<Sponsor> {
        self.facilities.is_controller(sponsor, &self.this()).then_some(Sponsor { id: sponsor })
    }

    /// Ends a sponsor: what it has left goes to the sponsor of this event, and its events are dropped.
    pub fn stop_sponsor(&mut self, sponsor: &Sponsor) {
        self.running.effects.deferred.push(Deferred::StopSponsor(sponsor.id));
    }

    /// Sends a message on another sponsor's account: what it causes, that sponsor pays for. The message
    /// itself is paid for by the sponsor of this event.
    ///
    /// # Errors
    /// [`Exhausted`] if it cannot.
    pub fn send_under<M: Payload>(
        &mut self,
        sponsor: &Sponsor,
        target: &Addr<M>,
        message: M,
    ) -> Result<(), Exhausted> {
        self.deliver_under(sponsor, target.address(), Message::new(message))
    }

    /// The same with a message of any type.
    ///
    /// # Errors
    /// [`Exhausted`] if it cannot.
    pub fn deliver_under(
        &mut self,
        sponsor: &Sponsor,
        target: &Address,
        message: Message,
    ) -> Result<(), Exhausted> {
        self.deliver_charged_to(sponsor.id, target, message)
    }

    /// Pays for bytes that the behaviour keeps.
    ///
    /// # Errors
    /// [`Exhausted`]; nothing is charged then.
    #[inline]
    pub fn charge_memory(&mut self, bytes: u64) -> Result<(), Exhausted> {
        self.left.memory = self.left.memory.checked_sub(bytes).ok_or(Exhausted(Resource::Memory))?;
        Ok(())
    }

    /// Cycles that the event may still use.
    #[must_use]
    pub fn cycles_left(&self) -> u64 {
        self.left.cycles
    }

    /// Pays for cycles used, by a behaviour that meters itself.
    ///
    /// # Errors
    /// [`Exhausted`]; all that was left is charged then.
    pub fn charge_cycles(&mut self, cycles: u64) -> Result<(), Exhausted> {
        let left = self.left.cycles.checked_sub(cycles);
        self.left.cycles = left.unwrap_or(0);
        left.map(|_| ()).ok_or(Exhausted(Resource::Cycles))
    }

    /// Pays for cycles of work that cannot be undone any more: what is not left is paid from the sponsor's
    /// next income.
    #[cfg(feature = "wasm")]
    pub(crate) fn overdraw_cycles(&mut self, cycles: u64) {
        let paid = cycles.min(self.left.cycles);
        self.left.cycles -= paid;
        self.running.effects.overdrawn += cycles - paid;
    }
}
