//! A commit: states, waiting events, timers and unsent messages of a batch become durable together, and then
//! those that wait for that are answered.

use std::collections::BTreeSet;

use banyan_pages::store::{CommitError, SnapshotOperation};

use super::error::CommitFailed;
use super::identity::stream_of_name;
use super::keys::{ACTOR, QUEUED, SEEN, SELF, TIMER};
use super::records::Records;
use super::requests::{DurableRequest, Notice};
use super::room::Writing;
use super::state::Durability;
use super::stored::{START, StoredActor, StoredAddress, StoredEvent, StoredPacket, StoredTimer, encode};
use crate::configuration::effects::Outgoing;
use crate::configuration::event::Event;
use crate::configuration::running::RunningConfiguration;
use crate::model::address::ConfigurationNumber;
use crate::model::message::{CodecError, Message, Packet};
use crate::model::start::Start;
use crate::model::timers::TimerId;
use crate::system::facilities::Facilities;

/// Numbers of timers that are reserved at a time, so that one is never given out twice.
const TIMERS_RESERVED: u64 = 1024;

impl Durability {
    pub(super) fn kill_point(&mut self, point: &str) {
        if let Some(kill) = &mut self.kill
            && kill.point == point
        {
            kill.occurrence -= 1;
            if kill.occurrence == 0 {
                // No destructor runs, no buffer is flushed: what a power cut would leave of a process.
                let _ =
                    rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
            }
        }
    }

    /// Makes the batch durable: states, queue and outbox together.
    pub(crate) fn commit(
        &mut self,
        running: &mut RunningConfiguration,
        facilities: &Facilities,
    ) -> Result<(), CommitFailed> {
        self.uncommitted = 0;
        if self.looking {
            let is_answer = |one: &Outgoing| match one {
                Outgoing::Beyond(proxy, ..) => proxy.door().durable().is_none(),
                Outgoing::Configuration(..) => false,
            };
            running.effects.outgoing.retain(is_answer);
            running.effects.requests.clear();
            self.forget_held(facilities, true);
            return Ok(());
        }
        self.kill_point("dispatched");
        match self.write_batch(running, facilities) {
            Ok(()) => self.commit_written(running, facilities),
            Err(error) => Err(self.fail(error, running, facilities)),
        }
    }

    /// Makes durable what was written of the batch, and answers those that wait for that.
    pub(super) fn commit_written(
        &mut self,
        running: &mut RunningConfiguration,
        facilities: &Facilities,
    ) -> Result<(), CommitFailed> {
        match self.write_held(facilities).and_then(|()| self.commit_records()) {
            Ok(()) => {
                self.kill_point("committed");
                self.report(facilities);
                self.answer(running, facilities);
                self.go_on(running, facilities);
                Ok(())
            }
            Err(error) => match error.disk() {
                Some(health) => {
                    self.wait_for_disk(facilities.clock.now(), health);
                    Err(error)
                }
                None => Err(self.fail(error, running, facilities)),
            },
        }
    }

    /// The batch is not committed, and never will be.
    fn fail(
        &mut self,
        error: CommitFailed,
        running: &mut RunningConfiguration,
        facilities: &Facilities,
    ) -> CommitFailed {
        self.writing = Writing::Failed;
        running.take_back(0, facilities);
        running.effects.requests.clear();
        self.forget_held(facilities, false);
        error
    }

    fn commit_records(&mut self) -> Result<(), CommitFailed> {
        let exporting =
            self.requests.iter().any(|request| matches!(request, DurableRequest::Snapshot { .. }));
        if !self.records.is_dirty() && !exporting {
            return Ok(());
        }
        let name = self.requests.iter().find_map(|request| match request {
            DurableRequest::Snapshot { name, .. } => name.clone(),
            _ => None,
        });
        let operation = name.map_or(SnapshotOperation::None, SnapshotOperation::Retain);
        match self.records.commit(self.events, operation) {
            Ok(_) => Ok(()),
            // A bad name is the fault of the request for the snapshot, not of the batch.
            Err(error @ (CommitError::SnapshotName(_) | CommitError::SnapshotExists(_))) => {
                self.refuse_snapshots(&error.to_string());
                Ok(self.records.commit(self.events, SnapshotOperation::None).map(|_| ())?)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// After what was committed has left.
    pub(crate) fn left(&mut self) {
        self.kill_point("sent");
    }

    fn refuse_snapshots(&mut self, reason: &str) {
        self.requests.retain(|request| match request {
            DurableRequest::Snapshot { done, .. } => {
                // The caller may have given up.
                let _ = done.send(Err(reason.to_owned()));
                false
            }
            _ => true,
        });
    }

    fn write_batch(
        &mut self,
        running: &mut RunningConfiguration,
        facilities: &Facilities,
    ) -> Result<(), CommitFailed> {
        let own = running.number();
        let changed = running.changed.as_mut().map(|changed| {
            self.reordered |= std::mem::take(&mut changed.reordered);
            (std::mem::take(&mut changed.slots), std::mem::take(&mut changed.timers))
        });
        let (slots, timers) = changed.unwrap_or_default();
        for slot in slots {
            let saved = running.save(slot).map_err(CommitFailed::NotSaved)?;
            let generation = running.generation(slot);
            let actor =
                StoredActor::of(generation, saved.map(|(_, saved)| saved), own, &facilities.identities);
            self.records.write(ACTOR | u64::from(slot), &encode(&actor)?);
        }
        if self.reordered {
            // The mark of a timer's event is not kept, and with it who may not cancel it any more.
            self.parked.retain(|event| running.is_wanted(event));
            running.drop_cancelled();
        }
        self.write_queue(running, facilities)?;
        self.write_timers(timers, running, facilities)?;
        let mut outgoing = std::mem::take(&mut running.effects.outgoing);
        let written = outgoing.iter_mut().try_for_each(|one| self.write_send(one, own, facilities));
        running.effects.outgoing = outgoing;
        written?;
        for sender in &self.seen_changed {
            if let Some((key, last)) = self.seen.get(sender) {
                self.records.write(SEEN | key, &encode(&(sender, last))?);
            }
        }
        Ok(())
    }

    /// Stores the timers that were set, and removes those that were fired or cancelled.
    fn write_timers(
        &mut self,
        changed: BTreeSet<TimerId>,
        running: &RunningConfiguration,
        facilities: &Facilities,
    ) -> Result<(), CodecError> {
        let own = running.number();
        for id in changed {
            let Some(timer) = running.timers.get(id) else {
                self.records.remove(TIMER | id.0);
                continue;
            };
            let stored = StoredTimer {
                date: facilities
                    .clock
                    .date()
                    .saturating_add(timer.due.saturating_sub(facilities.clock.now())),
                target: StoredAddress::of(&timer.target, own, &facilities.identities),
                message: StoredPacket::of(timer.message.to_packet()?, own, &facilities.identities),
                sponsor: facilities.stored_sponsor(timer.sponsor),
            };
            self.records.write(TIMER | id.0, &encode(&stored)?);
        }
        if running.timers.last > self.this.timers {
            self.this.timers = running.timers.last + TIMERS_RESERVED;
            self.records.write(SELF, &encode(&self.this)?);
        }
        Ok(())
    }

    /// Stores the events that wait. Those that were stored before and are still at the front of the queue
    /// stay as they are.
    fn write_queue(
        &mut self,
        running: &RunningConfiguration,
        facilities: &Facilities,
    ) -> Result<(), CommitFailed> {
        let own = running.number();
        let is_control = |event: &Event| event.slot == Event::CONTROL;
        // Parked and held events are older than what is in the queue, and come first when the store is opened
        // again.
        let is_odd = !self.parked.is_empty() || running.held_events().next().is_some();
        let is_odd = is_odd || running.queue.iter().any(is_control);
        if is_odd || self.reordered {
            for number in self.queue_from..self.queue_to {
                self.records.remove(QUEUED | number);
            }
            self.queue_from = self.queue_to;
            self.stored_queued = 0;
            for event in self.parked.iter().chain(running.held_events()) {
                store_event(&mut self.records, &mut self.queue_to, event, own, facilities)?;
            }
        }
        for event in running.queue.iter().skip(self.stored_queued as usize).filter(|event| !is_control(event))
        {
            store_event(&mut self.records, &mut self.queue_to, event, own, facilities)?;
        }
        self.stored_queued = if is_odd { 0 } else { running.queue.len() as u64 };
        self.reordered = is_odd;
        Ok(())
    }

    /// After a commit: senders are told what they need not keep, and requests are answered.
    fn answer(&mut self, running: &mut RunningConfiguration, facilities: &Facilities) {
        let own = facilities.identities.numbers.durable_name(running.number()).unwrap_or_default();
        for sender in std::mem::take(&mut self.seen_changed) {
            if let Some(stream) = stream_of_name(&sender) {
                let sequence = self.seen.get(&sender).map_or(0, |(_, last)| *last);
                self.aftermath.notices.push(Notice::Acknowledged { stream, sequence });
                continue;
            }
            let Some(number) = facilities.identities.numbers.known(&sender) else { continue };
            let sequence = self.seen.get(&sender).map_or(0, |(_, last)| *last);
            let message = Message::internal(DurableRequest::Acknowledge { target: own.clone(), sequence });
            let event = Event::control(running.sponsor, message);
            running.effects.outgoing.push(Outgoing::Configuration(number, event));
        }
        for request in std::mem::take(&mut self.requests) {
            match request {
                DurableRequest::Acknowledge { .. } => {}
                DurableRequest::Resend { target } => self.resend(&target, running, facilities),
                DurableRequest::Snapshot { export, done, .. } => {
                    // A copy is somebody else.
                    let exported = export.map_or(Ok(()), |path| self.records.export(&path, &[SELF]));
                    let _ = done.send(exported.map(|()| self.events).map_err(|error| error.to_string()));
                }
                DurableRequest::Seen { sender, answer } => {
                    let _ = answer.send(self.seen.get(&sender).map_or(0, |(_, last)| *last));
                }
            }
        }
    }
}

pub(super) fn stored_event(
    event: &Event,
    own: ConfigurationNumber,
    facilities: &Facilities,
) -> Result<StoredEvent, CodecError> {
    let (packet, mark) = match event.message.is_internal::<Start>() {
        true => (Packet::default(), START),
        false => (event.proper_message().to_packet()?, 0),
    };
    let message = StoredPacket::of(packet, own, &facilities.identities);
    let sponsor = facilities.stored_sponsor(event.sponsor);
    let generation = event.generation & !(Event::DUE | Event::COUNTED) | mark;
    Ok(StoredEvent { slot: event.slot, generation, message, sponsor })
}

fn store_event(
    records: &mut Records,
    next: &mut u64,
    event: &Event,
    own: ConfigurationNumber,
    facilities: &Facilities,
) -> Result<(), CodecError> {
    records.write(QUEUED | *next, &encode(&stored_event(event, own, facilities)?)?);
    *next += 1;
    Ok(())
}
