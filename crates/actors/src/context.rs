//! [`Context`]: what a behaviour may do during one event.
//!
//! Everything is provisional: it is paid for at once, and applied only when the event completes. A method that cannot be
//! paid for returns [`Exhausted`]; the behaviour passes it on, and the event is undone.
//!
//! There is no way from here to the event's sponsor, or to any actor whose address the behaviour was not given.

use banyan_core::sponsors::{Quota, Resource, SponsorId};

use crate::address::{Address, Place};
use crate::behaviour::{Behaviour, Exhausted};
use crate::effects::Outgoing;
use crate::guest::{Event, Guest};
use crate::message::Message;

/// One event under way.
pub struct Context<'a> {
    pub(crate) guest: &'a mut Guest,
    /// What the event may still spend.
    pub(crate) left: &'a mut Quota,
    pub(crate) slot: u32,
    pub(crate) sponsor: SponsorId,
}

impl Context<'_> {
    /// The address of the actor itself.
    #[must_use]
    pub fn this(&self) -> Address {
        Address::local(self.guest.local_of(self.slot))
    }

    /// Sends a message, which the event's sponsor pays for. Between two actors, messages arrive in the order sent.
    ///
    /// # Errors
    /// [`Exhausted`] if the sponsor has no memory left for it.
    #[inline]
    pub fn deliver(&mut self, target: &Address, message: Message) -> Result<(), Exhausted> {
        self.charge_memory(size_of::<Event>() as u64 + message.size())?;
        match &target.0 {
            Place::Local(local) => {
                let event =
                    Event { slot: local.slot, generation: local.generation, sponsor: self.sponsor, message };
                if local.guest == self.guest.number() {
                    self.guest.queue.push_back(event);
                } else {
                    self.guest.effects.outgoing.push(Outgoing::Guest(local.guest, event));
                }
            }
            Place::Beyond(proxy) => {
                self.guest.effects.outgoing.push(Outgoing::Beyond(proxy.clone(), self.sponsor, message));
            }
        }
        Ok(())
    }

    /// Creates an actor in the same configuration. It exists if the event completes.
    ///
    /// # Errors
    /// [`Exhausted`] if the sponsor has no memory left for it.
    pub fn create(&mut self, behaviour: Box<dyn Behaviour>) -> Result<Address, Exhausted> {
        self.charge_memory(Guest::ACTOR_BYTES + behaviour.size())?;
        let slot = self.guest.occupy(behaviour);
        self.guest.effects.created.push(slot);
        Ok(Address::local(self.guest.local_of(slot)))
    }

    /// The actor handles its next event with another behaviour.
    pub fn become_behaviour(&mut self, behaviour: Box<dyn Behaviour>) {
        self.guest.effects.next = Some(behaviour);
    }

    /// The actor ends with this event, if the event completes.
    pub fn stop(&mut self) {
        self.guest.effects.stop = true;
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
}
