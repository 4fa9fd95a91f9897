//! Timers of a running configuration: set, cancelled and due; and until when a supervisor may decide.
//!
//! The event of a timer that was due carries the timer's number until it has completed, wherever it waits
//! meanwhile: in the queue, with an actor that is held, or with its sponsor. One whose number is not known
//! any more was cancelled, and is dropped where it is met.

use super::event::Event;
use super::running::RunningConfiguration;
use crate::model::address::{Local, Place};
use crate::model::message::Message;
use crate::model::timers::{Cancelled, Due, Timer, TimerId};
use crate::mutation::{Mutation, makes};

impl RunningConfiguration {
    /// When there is something to do that no event asks for, in nanoseconds of the system's clock.
    #[inline]
    pub(crate) fn next_due(&self) -> u64 {
        let decision = self.deadlines.first().map_or(u64::MAX, |(due, _)| *due);
        self.timers.next_due().min(decision)
    }

    /// Does what is due.
    #[cold]
    pub(crate) fn fire(&mut self, now: u64) {
        self.fire_timers(now);
        if makes(Mutation::WaitForever) {
            self.deadlines.clear();
        }
        while self.deadlines.first().is_some_and(|(due, _)| *due <= now) {
            if let Some((_, slot)) = self.deadlines.pop_first() {
                self.decide_now(slot);
            }
        }
    }

    /// Puts the messages of timers that are due on their way.
    fn fire_timers(&mut self, now: u64) {
        while let Some((id, Timer { target, sponsor, message, owner, .. })) = self.timers.take_due(now) {
            let here = match &target.0 {
                Place::Local(local) if local.configuration == self.number() => Some(*local),
                _ => None,
            };
            let message = if here.is_some() { Message::internal(Due { id, message }) } else { message };
            self.effects.route(self.number, &mut self.queue, &target, sponsor, message);
            if let Some(target) = here
                && let Some(event) = self.queue.back_mut()
            {
                event.generation |= Event::DUE;
                self.timers.note_fired(id, owner, target);
            }
            self.timer_changed(id);
        }
    }

    /// A timer is set no more, and an event that it has caused is dropped if it has not completed yet.
    pub(super) fn cancel_timer(&mut self, id: TimerId, by: Local) {
        match self.timers.cancel(id, by) {
            Cancelled::Set => self.timer_changed(id),
            Cancelled::Due => self.reorder(),
            Cancelled::Not => {}
        }
    }

    /// An actor begins anew: what it has set for itself was for its former life.
    pub(super) fn cancel_own_timers(&mut self, actor: Local) {
        if makes(Mutation::KeepTimers) {
            return;
        }
        let (set, others) = self.timers.cancel_own(actor);
        set.into_iter().for_each(|id| self.timer_changed(id));
        if others == Cancelled::Due {
            self.reorder();
        }
    }

    /// What is stored of the queue is not what it will be.
    pub(super) fn reorder(&mut self) {
        if let Some(changed) = &mut self.changed {
            changed.reordered = true;
        }
    }

    pub(super) fn timer_changed(&mut self, id: TimerId) {
        if let Some(changed) = &mut self.changed {
            changed.timers.insert(id);
        }
    }

    /// Whether an event is no timer's that was cancelled.
    pub(crate) fn is_wanted(&self, event: &Event) -> bool {
        event.due().is_none_or(|due| self.timers.is_wanted(due.id))
    }

    /// Drops the events that wait here and whose timers were cancelled.
    pub(crate) fn drop_cancelled(&mut self) {
        let timers = &self.timers;
        let is_wanted = |event: &Event| event.due().is_none_or(|due| timers.is_wanted(due.id));
        self.queue.retain(is_wanted);
        for extras in self.slots.iter_mut().filter_map(|slot| slot.extras.as_mut()) {
            extras.stashed.retain(is_wanted);
            extras.held.iter_mut().for_each(|held| held.retain(is_wanted));
        }
    }

    /// Nothing comes of an event any more, or it has come: its timer is forgotten, and it takes no room.
    pub(crate) fn consumed(&mut self, event: &Event) {
        if let Some(due) = event.due() {
            self.timers.forget(due.id);
        }
        self.uncounted += usize::from(event.generation & Event::COUNTED != 0);
    }
}
