//! Opening: what was kept becomes actors, events, messages and timers again.

use banyan_core::sponsors::SponsorId;

use super::error::OpenDurableError;
use super::identity::configuration_of_name;
use super::keys::{ACTOR, KIND, LEDGER, OUTBOX, QUEUED, SEEN, SELF, SENT, TIMER};
use super::state::Durability;
use super::stored::{START, StoredActor, StoredEvent, StoredSend, StoredTimer};
use crate::configuration::event::Event;
use crate::configuration::running::RunningConfiguration;
use crate::containment::Foreign;
use crate::model::address::ConfigurationNumber;
use crate::model::behaviour::Behaviour;
use crate::model::message::Message;
use crate::model::start::Start;
use crate::model::timers::{Timer, TimerId};
use crate::system::facilities::Facilities;

/// Slots in a row of which nothing is kept, at most: memory is taken for each, whatever a record's number
/// says. Only events that have failed leave such.
const SLOTS_MISSING_MAX: usize = 1 << 20;

impl Durability {
    /// Puts back what was kept; a new store begins with the first actor.
    pub(crate) fn wake(
        &mut self,
        running: &mut RunningConfiguration,
        mut first: Foreign<Box<dyn Behaviour>>,
        facilities: &Facilities,
    ) -> Result<(), OpenDurableError> {
        let keys: Vec<u64> = self.records.keys().filter(|key| *key != SELF).collect();
        running.timers.last = self.this.timers;
        if keys.is_empty() {
            let Some(first) = first.take() else { return Ok(()) };
            let slot = running.begin(first);
            if let Some(changed) = &mut running.changed {
                changed.slots.insert(slot);
            }
            return Ok(());
        }
        let own = running.number();
        for key in keys {
            let bytes = self.records.read(key).unwrap_or_default();
            let number = key & !KIND;
            let path = self.path.clone();
            match key & KIND {
                ACTOR => {
                    let what = format!("actor {number}");
                    let mut is_earlier = false;
                    let actor: StoredActor = postcard::from_bytes(&bytes)
                        .map_err(|error| OpenDurableError::unreadable(&path, &what, error))?;
                    let behaviour = match actor.behaviour {
                        None => None,
                        Some((kind, state)) => {
                            is_earlier = self.kinds.is_earlier(&kind);
                            let unknown =
                                || OpenDurableError::UnknownKind { path: path.clone(), kind: kind.clone() };
                            let make = self.kinds.maker(&kind).ok_or_else(unknown)?;
                            let made = make(&state.packet(own, &facilities.identities));
                            Some(made.map_err(|error| OpenDurableError::unreadable(&path, &what, error))?)
                        }
                    };
                    let slot = u32::try_from(number)
                        .map_err(|error| OpenDurableError::unreadable(&path, &what, error))?;
                    if slot as usize > running.slots.len() + SLOTS_MISSING_MAX {
                        let reason = format!("there are only {} before it", running.slots.len());
                        return Err(OpenDurableError::unreadable(&path, &what, reason));
                    }
                    running.restore(slot, actor.generation, behaviour);
                    if is_earlier && let Some(changed) = &mut running.changed {
                        changed.slots.insert(slot);
                    }
                }
                QUEUED => {
                    let event = postcard::from_bytes(&bytes);
                    let event = event
                        .map_err(|error| OpenDurableError::unreadable(&path, "a waiting event", error))?;
                    if self.stored_queued == 0 {
                        self.queue_from = number;
                    }
                    self.queue_to = number + 1;
                    self.stored_queued += 1;
                    let event = event_of(event, running.sponsor, own, facilities);
                    if event.message.is_internal::<Start>() && running.is_live(event.slot, event.generation) {
                        running.await_start(event.slot);
                    }
                    running.queue.push_back(event);
                }
                OUTBOX => {
                    let send: StoredSend = postcard::from_bytes(&bytes)
                        .map_err(|error| OpenDurableError::unreadable(&path, "an unsent message", error))?;
                    self.next_outbox = number + 1;
                    self.outbox.push_back((number, send.target.clone(), send.sequence));
                    let again = self.send_of(send, running.sponsor, own, facilities);
                    running.effects.outgoing.push(again);
                }
                LEDGER => {
                    let stored = postcard::from_bytes(&bytes).map_err(|error| {
                        OpenDurableError::unreadable(&path, "a change for the ledger", error)
                    })?;
                    self.unfinished.push((number, stored));
                }
                TIMER => {
                    let timer: StoredTimer = postcard::from_bytes(&bytes)
                        .map_err(|error| OpenDurableError::unreadable(&path, "a timer", error))?;
                    let sponsor = facilities.restored_sponsor(timer.sponsor).unwrap_or(running.sponsor);
                    // What is overdue is due now.
                    let due = facilities
                        .clock
                        .now()
                        .saturating_add(timer.date.saturating_sub(facilities.clock.date()));
                    let target = timer.target.address(own, &facilities.identities);
                    let message = Message::from_packet(timer.message.packet(own, &facilities.identities));
                    running.timers.set(TimerId(number), Timer { due, target, sponsor, message, owner: None });
                }
                SEEN | SENT => {
                    let (name, last): (String, u64) = postcard::from_bytes(&bytes)
                        .map_err(|error| OpenDurableError::unreadable(&path, "a sender", error))?;
                    if key & KIND == SENT
                        && let Some(configuration) = configuration_of_name(&name)
                        && !self.looking
                    {
                        // Acknowledgements of what was sent before the restart are for this configuration.
                        facilities.identities.stream(own, &self.this.identity, &configuration);
                    }
                    let table = if key & KIND == SEEN { &mut self.seen } else { &mut self.sent };
                    table.insert(name, (number, last));
                }
                _ => return Err(OpenDurableError::unreadable(&path, "a record", "its kind is unknown")),
            }
        }
        Ok(())
    }
}

/// An event that was kept; `sponsor` pays for it if it is not known who did.
pub(super) fn event_of(
    stored: StoredEvent,
    sponsor: SponsorId,
    own: ConfigurationNumber,
    facilities: &Facilities,
) -> Event {
    let sponsor = facilities.restored_sponsor(stored.sponsor).unwrap_or(sponsor);
    let message = match stored.generation & START {
        0 => Message::from_packet(stored.message.packet(own, &facilities.identities)),
        _ => Message::internal(Start::NEW),
    };
    Event { slot: stored.slot, generation: stored.generation & !START, sponsor, message }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::durable::records::Records;
    use crate::durable::stored::encode;
    use crate::{Configuration, DurableStore, Kinds, Quota, Simulation, closure};
    use banyan_pages::store::SnapshotOperation;

    /// Whether a store opens whose only actor had this slot.
    fn open(slot: u64) -> Result<(), OpenDurableError> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("one.arena");
        let mut records = Records::open(&path, None).unwrap();
        let actor = StoredActor { generation: 1, behaviour: None };
        records.write(ACTOR | slot, &encode(&actor).unwrap());
        records.commit(1, SnapshotOperation::None).unwrap();
        drop(records);
        let store = DurableStore::open(&path, Kinds::new()).unwrap();
        let first = closure((), |(), (): &(), _: &mut crate::Context<'_>| Ok(()));
        let simulation = Simulation::new(1, 1, Quota::AMPLE);
        simulation.open(Configuration::new("one").durable_behaviour(store, first)).map(drop)
    }

    /// Memory is taken for each slot below the last one.
    #[test]
    fn a_slot_far_beyond_all_others_is_refused() {
        open(3).unwrap();
        for slot in [SLOTS_MISSING_MAX as u64 + 1, u64::from(u32::MAX)] {
            let Err(OpenDurableError::Record { what, reason, .. }) = open(slot) else { panic!("{slot}") };
            assert_eq!((what, reason), (format!("actor {slot}"), "there are only 0 before it".to_owned()));
        }
    }
}
