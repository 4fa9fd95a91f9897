//! What is done about actors whose events fail, and what those that watch them receive.
//!
//! An actor that waits for its supervisor's decision has its own inbox, in which its events wait, in order,
//! without keeping others from theirs.

use super::effects::Outgoing;
use super::event::Event;
use super::running::{Outcome, RunningConfiguration};
use crate::containment::contain;
use crate::model::address::{Address, Local};
use crate::model::behaviour::Failure;
use crate::model::message::Message;
use crate::model::supervision::{Control, Directive, End, Ended, Failed};

impl RunningConfiguration {
    #[cold]
    pub(crate) fn dispatch_control(&mut self, event: &mut Event) -> Outcome {
        let taken = std::mem::replace(&mut event.message, Message::internal(()));
        match taken.try_internal::<crate::model::supervision::ControlOf>() {
            Ok(of) if event.slot == Event::CONTROL => {
                self.control(of.at.slot, of.at.generation, of.control);
                Outcome::Completed
            }
            _ => Outcome::Gone,
        }
    }

    /// Does something to an actor, here or in another configuration.
    pub(super) fn control_at(&mut self, at: Local, control: Control) {
        if at.configuration == self.number {
            self.control(at.slot, at.generation, control);
        } else {
            let message = Message::internal(crate::model::supervision::ControlOf { at, control });
            let event = Event { slot: Event::CONTROL, generation: 0, sponsor: self.sponsor, message };
            self.effects.outgoing.push(Outgoing::Configuration(at.configuration, event));
        }
    }

    fn control(&mut self, slot: u32, generation: u32, control: Control) {
        if !self.is_live(slot, generation) {
            if let Control::Monitor(watcher) = control {
                let actor = Address::local(Local { configuration: self.number, slot, generation });
                self.tell(&watcher, Message::new(Ended { actor, how: End::Unknown }));
            }
            return;
        }
        match control {
            Control::Monitor(watcher) => self.extras(slot).watchers.push(watcher),
            Control::Link(other) => self.extras(slot).links.push(other),
            Control::Direct(directive) => self.direct(slot, &directive),
            Control::End(how) => self.end(slot, &how),
        }
    }

    #[cold]
    pub(super) fn hold(&mut self, event: &mut Event) -> Outcome {
        let taken = std::mem::replace(&mut event.message, Message::internal(()));
        let held =
            Event { slot: event.slot, generation: event.generation, sponsor: event.sponsor, message: taken };
        self.extras(event.slot).held.get_or_insert_default().push_back(held);
        Outcome::Held
    }

    /// Tells the supervisor of a failed event, or does what is done without one.
    #[cold]
    pub(super) fn report(&mut self, event: &Event, failure: &Failure) {
        // A message that is not understood says nothing about the actor.
        if matches!(failure, Failure::NotUnderstood(_)) {
            return;
        }
        let actor = Address::local(self.local_of(event.slot));
        let supervisor =
            self.slots[event.slot as usize].extras.as_ref().and_then(|extras| extras.supervisor.clone());
        match supervisor {
            Some(supervisor) => {
                let extras = self.extras(event.slot);
                extras.held.get_or_insert_default();
                extras.last_failure = failure.to_string();
                let reason = failure.to_string();
                self.tell(&supervisor, Message::new(Failed { actor, reason }));
            }
            None => {
                self.extras(event.slot).last_failure = failure.to_string();
                let directive = self.default_directive.clone();
                self.direct(event.slot, &directive);
            }
        }
    }

    fn direct(&mut self, slot: u32, directive: &Directive) {
        let reason = std::mem::take(&mut self.extras(slot).last_failure);
        match directive {
            Directive::Resume => self.release(slot),
            Directive::Restart => match self.extras(slot).factory.as_ref().map(contain) {
                Some(Ok(fresh)) => {
                    self.slots[slot as usize].put(fresh);
                    if let Some(changed) = &mut self.changed {
                        changed.slots.insert(slot);
                    }
                    self.release(slot);
                }
                Some(Err(words)) => {
                    self.end(slot, &End::Failed(format!("{reason} (making it anew panicked: {words})")));
                }
                None => self.end(slot, &End::Failed(format!("{reason} (nothing to restart it from)"))),
            },
            Directive::Stop => self.end(slot, &End::Failed(reason)),
            Directive::Escalate => {
                let failed = Failed { actor: Address::local(self.local_of(slot)), reason: reason.clone() };
                match self.overseer.clone() {
                    Some(overseer) => self.tell(&overseer, Message::new(failed)),
                    None => self.effects.complaints.push(format!("{:?} failed: {reason}", failed.actor)),
                }
                self.end(slot, &End::Failed(reason));
            }
        }
    }

    /// The actor takes events again, first those that it has held.
    fn release(&mut self, slot: u32) {
        let Some(held) = self.extras(slot).held.take() else { return };
        for event in held.into_iter().rev() {
            self.queue.push_front(event);
        }
        if let Some(changed) = &mut self.changed {
            changed.reordered = true;
        }
    }

    /// Events that actors hold until their supervisors have decided.
    pub(crate) fn held_events(&self) -> impl Iterator<Item = &Event> {
        self.slots.iter().filter_map(|slot| slot.extras.as_ref()?.held.as_ref()).flatten()
    }

    /// An actor ends: those who watch it are told, those linked to it end too, unless it stopped by itself.
    pub(crate) fn end(&mut self, slot: u32, how: &End) {
        let actor = self.local_of(slot);
        let extras = self.vacate(slot);
        if let Some(changed) = &mut self.changed {
            changed.slots.insert(slot);
        }
        let Some(extras) = extras else { return };
        for watcher in extras.watchers {
            self.tell(&watcher, Message::new(Ended { actor: Address::local(actor), how: how.clone() }));
        }
        if let End::Failed(_) = how {
            for linked in extras.links {
                self.control_at(linked, Control::End(how.clone()));
            }
        }
    }
}
