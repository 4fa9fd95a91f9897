//! What is done about actors whose events fail, and what those that watch them receive.
//!
//! An actor that waits for its supervisor's decision has its own inbox, in which its events wait, in order,
//! without keeping others from theirs.

use std::collections::VecDeque;

use super::effects::{Effects, Outgoing};
use super::event::Event;
use super::running::{Outcome, RunningConfiguration};
use crate::containment::contain;
use crate::model::address::{Address, ConfigurationNumber, Local, Place};
use crate::model::behaviour::{Behaviour, Failure};
use crate::model::message::Message;
use crate::model::start::Start;
use crate::model::supervision::{Control, Directive, End, Ended, Failed, Watch};
use crate::mutation::{Mutation, makes};

/// How an actor ends whose configuration is removed.
const REMOVED: &str = "its configuration was removed";

/// What is owed to whom asked something of an actor that is gone.
pub(crate) enum Unanswered {
    Tell(Address, Ended),
    Control(Local, Control),
}

/// What a control that finds no actor comes to.
pub(crate) fn unanswered(at: Local, control: Control) -> Option<Unanswered> {
    if makes(Mutation::SilentDead) {
        return None;
    }
    match control {
        Control::Monitor(Watch { watcher, .. }) => {
            Some(Unanswered::Tell(watcher, Ended { actor: Address::local(at), how: End::Unknown }))
        }
        Control::Link(other) => {
            let how = End::Failed("an actor that it links to is gone".to_owned());
            Some(Unanswered::Control(other, Control::End(how)))
        }
        Control::Unmonitor(_)
        | Control::Direct(..)
        | Control::DirectAt(..)
        | Control::EndBy(_)
        | Control::End(_)
        | Control::Room(_) => None,
    }
}

/// Whether those that are gone are looked for: each time that there are twice as many.
fn is_sweep_due(count: usize) -> bool {
    count >= 32 && count.is_power_of_two()
}

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
            let at = Local { configuration: self.number, slot, generation };
            match unanswered(at, control) {
                Some(Unanswered::Tell(watcher, ended)) => self.tell(&watcher, Message::new(ended)),
                Some(Unanswered::Control(other, control)) => self.control_at(other, control),
                None => {}
            }
            return;
        }
        match control {
            Control::Monitor(watch) => {
                let mut watchers = std::mem::take(&mut self.extras(slot).watchers);
                if is_sweep_due(watchers.len()) {
                    watchers.retain(|one| !self.is_gone(&one.watcher));
                }
                watchers.push(watch);
                self.extras(slot).watchers = watchers;
            }
            Control::Unmonitor(watch) => self.extras(slot).watchers.retain(|one| !one.ends_by(&watch)),
            Control::Link(other) => {
                let mut links = std::mem::take(&mut self.extras(slot).links);
                if is_sweep_due(links.len()) {
                    links.retain(|one| !self.is_gone(&Address::local(*one)));
                }
                links.push(other);
                self.extras(slot).links = links;
            }
            Control::Direct(directive, by) if self.may_decide(slot, by) => self.direct(slot, &directive),
            Control::DirectAt(at, directive, by) if self.may_decide(slot, by) => {
                self.decide_at(slot, at, directive);
            }
            Control::EndBy(by) if self.may_decide(slot, by) => self.end(slot, &End::Stopped),
            Control::Direct(_, by) | Control::DirectAt(_, _, by) | Control::EndBy(by) => {
                let (actor, by) = (self.words_for(self.local_of(slot)), self.words_for(by));
                self.effects.complaints.push(format!(
                    "{by} may not decide about {actor}: only its supervisor and the actor that made it supervised \
                     may"
                ));
            }
            Control::End(how) => self.end(slot, &how),
            Control::Room(number) => self.go_on(slot, number),
        }
    }

    /// Words for the log. The numbers of configurations depend on what else the process does.
    fn words_for(&self, actor: Local) -> String {
        let Local { configuration, slot, generation } = actor;
        let place = if configuration == self.number { "actor" } else { "an actor of another configuration," };
        format!("{place} {slot}.{generation}")
    }

    /// Whether an actor may decide about that of a slot.
    fn may_decide(&mut self, slot: u32, by: Local) -> bool {
        if by == self.local_of(slot) || makes(Mutation::AnyoneDecides) {
            return true;
        }
        let Some(extras) = &self.slots[slot as usize].extras else { return false };
        extras.maker == Some(by) || extras.supervisor == Some(Address::local(by))
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
    pub(super) fn report(&mut self, event: &Event, failure: &Failure, now: u64) {
        self.orphan(event, &format!("its supervisor failed at it: {failure}"));
        // The end of an actor that it supervises may have ended it too, by a link.
        if !self.is_live(event.slot, event.generation) {
            return;
        }
        // A message that is not understood says nothing about the actor.
        if matches!(failure, Failure::NotUnderstood(_)) {
            if event.message.is_internal::<Start>() {
                self.started(event);
            }
            return;
        }
        let actor = Address::local(self.local_of(event.slot));
        let supervisor =
            self.slots[event.slot as usize].extras.as_ref().and_then(|extras| extras.supervisor.clone());
        match supervisor {
            Some(supervisor) if self.is_gone(&supervisor) => {
                self.extras(event.slot).last_failure = format!("{failure} (its supervisor is gone)");
                self.direct(event.slot, &Directive::Escalate);
            }
            Some(supervisor) => {
                if let Place::Local(local) = &supervisor.0
                    && local.configuration == self.number
                {
                    self.undecided.entry(local.slot).or_default().insert(event.slot);
                }
                let decide_by = now.saturating_add(self.patience);
                self.deadlines.insert((decide_by, event.slot));
                let extras = self.extras(event.slot);
                extras.decide_by = decide_by;
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

    /// Whether an actor of this configuration has ended.
    fn is_gone(&self, actor: &Address) -> bool {
        match &actor.0 {
            Place::Local(local) => {
                local.configuration == self.number && !self.is_live(local.slot, local.generation)
            }
            Place::Beyond(_) => false,
        }
    }

    /// An event that nothing comes of was the report of a failure: no other decision will come, so the
    /// failure is escalated.
    #[cold]
    pub(crate) fn orphan(&mut self, event: &Event, why: &str) {
        if makes(Mutation::ForgetOrphan) {
            return;
        }
        let Some(Failed { actor, .. }) = event.message.downcast::<Failed>() else { return };
        let Place::Local(Local { configuration, slot, generation }) = actor.0 else { return };
        if configuration == self.number && self.is_live(slot, generation) {
            self.escalate_held(slot, event.slot, why);
        }
    }

    fn escalate_held(&mut self, slot: u32, supervisor: u32, why: &str) {
        let number = self.number;
        // Of several that waited, the end of one may have ended this one by a link.
        let Some(extras) = &mut self.slots[slot as usize].extras else { return };
        let is_supervisor = |address: &Address| match &address.0 {
            Place::Local(local) => local.configuration == number && local.slot == supervisor,
            Place::Beyond(_) => false,
        };
        if extras.held.is_some() && extras.supervisor.as_ref().is_some_and(is_supervisor) {
            extras.last_failure = format!("{} ({why})", extras.last_failure);
            self.direct(slot, &Directive::Escalate);
        }
    }

    /// What is decided about an actor that is held holds from a later time on.
    fn decide_at(&mut self, slot: u32, at: u64, directive: Directive) {
        let extras = self.extras(slot);
        if extras.held.is_none() {
            return;
        }
        let at = if makes(Mutation::DecideAtOnce) { 0 } else { at };
        let before = std::mem::replace(&mut extras.decide_by, at);
        extras.decision = Some(directive);
        self.deadlines.remove(&(before, slot));
        self.deadlines.insert((at, slot));
    }

    /// The time has come for what was decided; or no decision has come in time.
    pub(super) fn decide_now(&mut self, slot: u32) {
        let extras = self.extras(slot);
        let directive = extras.decision.take().unwrap_or_else(|| {
            extras.last_failure = format!("{} (its supervisor has not decided in time)", extras.last_failure);
            Directive::Escalate
        });
        self.direct(slot, &directive);
    }

    /// A decision has come, or none is needed any more.
    fn decided(&mut self, slot: u32) {
        let Some(extras) = &mut self.slots[slot as usize].extras else { return };
        if extras.held.is_none() {
            return;
        }
        extras.decision = None;
        self.deadlines.remove(&(extras.decide_by, slot));
        if let Some(Address(Place::Local(supervisor))) = &extras.supervisor
            && let Some(waiting) = self.undecided.get_mut(&supervisor.slot)
        {
            waiting.remove(&slot);
            if waiting.is_empty() {
                self.undecided.remove(&supervisor.slot);
            }
        }
    }

    fn direct(&mut self, slot: u32, directive: &Directive) {
        self.decided(slot);
        let reason = std::mem::take(&mut self.extras(slot).last_failure);
        self.extras(slot).is_new = false;
        match directive {
            Directive::Resume => self.release(slot),
            Directive::Restart => match self.extras(slot).factory.as_ref().map(contain) {
                Some(Ok(fresh)) => {
                    self.cancel_own_timers(self.local_of(slot));
                    self.last_words(slot, |behaviour| behaviour.restarting(&reason));
                    if !makes(Mutation::RestartAsIs) {
                        self.slots[slot as usize].put(fresh);
                    }
                    if let Some(changed) = &mut self.changed {
                        changed.slots.insert(slot);
                    }
                    self.release(slot);
                    self.put_back(slot);
                    if let Some(first) = self.start(slot, self.sponsor, Event::UNPAID) {
                        self.queue.push_front(first);
                    }
                }
                Some(Err(words)) => {
                    self.end(slot, &End::Failed(format!("{reason} (making it anew panicked: {words})")));
                }
                None => self.end(slot, &End::Failed(format!("{reason} (nothing to restart it from)"))),
            },
            Directive::Stop => self.end(slot, &End::Failed(reason)),
            Directive::Escalate => {
                let failed = Failed { actor: Address::local(self.local_of(slot)), reason: reason.clone() };
                match self.overseer.clone().filter(|_| !makes(Mutation::NoOverseer)) {
                    Some(overseer) => self.tell(&overseer, Message::new(failed)),
                    None => {
                        let words = self.words_for(self.local_of(slot));
                        self.effects.complaints.push(format!("{words} failed: {reason}"));
                    }
                }
                self.end(slot, &End::Failed(reason));
            }
        }
    }

    /// Code of the actor's that runs outside of its events.
    fn last_words(&mut self, slot: u32, say: impl FnOnce(&mut Box<dyn Behaviour>)) {
        let Some(behaviour) = self.slots[slot as usize].behaviour.as_mut() else { return };
        if let Err(words) = contain(|| say(behaviour)) {
            let actor = self.words_for(self.local_of(slot));
            self.effects.complaints.push(format!("{actor} panicked as it ended or was restarted: {words}"));
        }
    }

    /// The actor takes events again, first those that it has held.
    pub(super) fn release(&mut self, slot: u32) {
        let extras = self.extras(slot);
        let Some(held) = extras.held.take() else { return };
        if extras.is_new {
            // What has come stays behind its first event.
            extras.held = Some(VecDeque::new());
        }
        if makes(Mutation::ReleaseLast) {
            self.queue.extend(held);
        } else {
            self.put_first(held);
        }
    }

    /// An event has found no room for what it sends: it and those that follow wait in the actor's own inbox.
    #[cold]
    pub(super) fn wait_for_room(&mut self, event: &mut Event, number: ConfigurationNumber) -> Outcome {
        let taken = std::mem::replace(&mut event.message, Message::internal(()));
        let event =
            Event { slot: event.slot, generation: event.generation, sponsor: event.sponsor, message: taken };
        let extras = self.extras(event.slot);
        extras.room_at = Some(number);
        extras.held.get_or_insert_default().push_front(event);
        Outcome::NoRoom(number)
    }

    /// There is room where an actor waits to send to.
    fn go_on(&mut self, slot: u32, number: ConfigurationNumber) {
        if self.extras(slot).room_at.take_if(|at| *at == number).is_some() {
            self.release(slot);
        }
    }

    /// Events that actors have put aside, or hold until their supervisors have decided.
    pub(crate) fn held_events(&self) -> impl Iterator<Item = &Event> {
        let extras = self.slots.iter().filter_map(|slot| slot.extras.as_ref());
        extras.flat_map(|extras| extras.stashed.iter().chain(extras.held.iter().flatten()))
    }

    /// An actor ends: those who watch it are told, those linked to it end too, unless it stopped by itself;
    /// one after the other, so that a chain of links may be as long as it likes.
    pub(crate) fn end(&mut self, slot: u32, how: &End) {
        self.ending.push((self.local_of(slot), how.clone()));
        if std::mem::replace(&mut self.is_ending, true) {
            return;
        }
        while let Some((Local { slot, generation, .. }, how)) = self.ending.pop() {
            // Of two that are linked to it, each has it end.
            if self.is_live(slot, generation) {
                self.end_one(slot, &how);
            }
        }
        self.is_ending = false;
    }

    fn end_one(&mut self, slot: u32, how: &End) {
        let actor = self.local_of(slot);
        self.decided(slot);
        self.last_words(slot, |behaviour| behaviour.ended(how));
        let extras = self.vacate(slot);
        if let Some(changed) = &mut self.changed {
            changed.slots.insert(slot);
        }
        let undecided = self.undecided.remove(&slot).filter(|_| !makes(Mutation::ForgetSupervisorEnd));
        for waiting in undecided.unwrap_or_default() {
            self.escalate_held(waiting, slot, "its supervisor has ended");
        }
        let Some(extras) = extras else { return };
        if let Some(maker) = extras.maker.filter(|maker| self.is_live(maker.slot, maker.generation)) {
            self.extras(maker.slot).belongings.remove(&actor);
        }
        // They are met, and come to nothing, in their turn.
        self.queue.extend(extras.stashed.into_iter().chain(extras.held.into_iter().flatten()));
        for Watch { watcher, .. } in extras.watchers.into_iter().filter(|_| !makes(Mutation::SilentEnd)) {
            self.tell(&watcher, Message::new(Ended { actor: Address::local(actor), how: how.clone() }));
        }
        if matches!(how, End::Failed(_)) || makes(Mutation::EndLinkedOnStop) {
            for linked in extras.links {
                self.control_at(linked, Control::End(how.clone()));
            }
        }
        for belonging in extras.belongings.into_iter().filter(|_| !makes(Mutation::KeepBelongings)) {
            self.control_at(belonging, Control::End(End::Stopped));
        }
    }

    /// The configuration was removed: all its actors end, and what its events have asked for is forgotten.
    /// Gives the events that it had not handled.
    #[cold]
    pub(crate) fn end_all(&mut self) -> VecDeque<Event> {
        let mut unhandled = std::mem::take(&mut self.queue);
        if makes(Mutation::DropUnhandled) {
            unhandled.clear();
        }
        self.effects = Effects::default();
        self.default_directive = Directive::Stop;
        self.overseer = None;
        for slot in 0..self.slots.len() {
            if self.slots[slot].behaviour.is_some() {
                self.end(slot as u32, &End::Failed(REMOVED.to_owned()));
            }
        }
        self.effects.complaints.clear();
        self.queue.clear();
        unhandled
    }
}
