//! The outbox: what a durable configuration sends to others is numbered, kept until the receiver has
//! committed it, and sent again when that may lack it.
//!
//! A receiver is known by its name if it is of this process, else by that of its identity
//! (`durable::identities`).

use banyan_core::sponsors::SponsorId;

use super::commit::stored_event;
use super::identity::{configuration_of_name, name_of_configuration, name_of_stream};
use super::keys::{OUTBOX, SENT};
use super::requests::Numbered;
use super::state::Durability;
use super::stored::{StoredEvent, StoredPacket, StoredSend, encode};
use super::waking::event_of;
use crate::configuration::effects::Outgoing;
use crate::configuration::event::Event;
use crate::configuration::running::RunningConfiguration;
use crate::model::address::{ConfigurationNumber, Place};
use crate::model::durable_address::{DurableAddress, Token};
use crate::model::message::{CodecError, Message};
use crate::system::facilities::Facilities;

impl Durability {
    /// Sends again what a receiver may lack.
    pub(super) fn resend(&self, target: &str, running: &mut RunningConfiguration, facilities: &Facilities) {
        let own = running.number();
        for (key, ..) in self.outbox.iter().filter(|(_, to, _)| to == target) {
            let record = self.records.read(OUTBOX | key);
            let send = record.and_then(|bytes| postcard::from_bytes::<StoredSend>(&bytes).ok());
            let send = send.expect("this process has written the record");
            running.effects.outgoing.push(self.send_of(send, running.sponsor, own, facilities));
        }
    }

    /// A message of the outbox, to be sent.
    pub(super) fn send_of(
        &self,
        send: StoredSend,
        sponsor: SponsorId,
        own: ConfigurationNumber,
        facilities: &Facilities,
    ) -> Outgoing {
        let StoredSend { target, sequence, event, seal } = send;
        match (configuration_of_name(&target), seal) {
            (Some(configuration), Some(seal)) => {
                let (slot, generation) = (event.slot, event.generation);
                let event = event_of(event, sponsor, own, facilities);
                let to = DurableAddress { configuration, slot, generation, seal };
                let message = self.number_for(&to, event.message, sequence, facilities, own);
                match facilities.identities.address(&to).0 {
                    Place::Beyond(proxy) => Outgoing::Beyond(proxy, event.sponsor, message),
                    // It is open in this process by now.
                    Place::Local(local) => Outgoing::Configuration(
                        local.configuration,
                        Event { slot, generation, message, ..event },
                    ),
                }
            }
            _ => {
                let event = event_of(event, sponsor, own, facilities);
                let event = self.number(event, sequence, facilities, own);
                Outgoing::Configuration(facilities.identities.numbers.of_durable(&target), event)
            }
        }
    }

    fn number(
        &self,
        event: Event,
        sequence: u64,
        facilities: &Facilities,
        own: ConfigurationNumber,
    ) -> Event {
        let sender = facilities.identities.numbers.durable_name(own).unwrap_or_default();
        let message = Message::internal(Numbered { sender, sequence, message: event.message });
        Event { message, ..event }
    }

    /// A message to a configuration of another process, with its number in the stream to that.
    fn number_for(
        &self,
        to: &DurableAddress,
        message: Message,
        sequence: u64,
        facilities: &Facilities,
        own: ConfigurationNumber,
    ) -> Message {
        let stream = facilities.identities.stream(own, &self.this.identity, &to.configuration);
        Message::internal(Numbered { sender: name_of_stream(&stream), sequence, message })
    }

    /// Puts a message into the outbox if it is for another durable configuration, and numbers it.
    pub(super) fn write_send(
        &mut self,
        outgoing: &mut Outgoing,
        own: ConfigurationNumber,
        facilities: &Facilities,
    ) -> Result<(), CodecError> {
        match outgoing {
            Outgoing::Configuration(number, event) => {
                let Some(target) = facilities.identities.numbers.durable_name(*number) else { return Ok(()) };
                if event.slot == Event::CONTROL || event.message.is_internal::<Numbered>() {
                    return Ok(());
                }
                let stored = stored_event(event, own, facilities)?;
                let sequence = self.write_outbox(target, stored, None)?;
                let message = std::mem::replace(&mut event.message, Message::internal(()));
                *event = self.number(Event { message, ..*event }, sequence, facilities, own);
            }
            Outgoing::Beyond(proxy, sponsor, message) => {
                let Some(to) = proxy.door().durable() else { return Ok(()) };
                if message.is_internal::<Numbered>() {
                    return Ok(());
                }
                let stored = StoredEvent {
                    slot: to.slot,
                    generation: to.generation,
                    message: StoredPacket::of(message.to_packet()?, own, &facilities.identities),
                    sponsor: facilities.stored_sponsor(*sponsor),
                };
                let target = name_of_configuration(&to.configuration);
                let sequence = self.write_outbox(target, stored, Some(to.seal))?;
                let taken = std::mem::replace(message, Message::internal(()));
                *message = self.number_for(&to, taken, sequence, facilities, own);
            }
        }
        Ok(())
    }

    fn write_outbox(
        &mut self,
        target: String,
        event: StoredEvent,
        seal: Option<Token>,
    ) -> Result<u64, CodecError> {
        let next = self.sent.len() as u64;
        let sent = self.sent.entry(target.clone()).or_insert((next, 0));
        sent.1 += 1;
        let (key, sequence) = *sent;
        self.records.write(SENT | key, &encode(&(&target, sequence))?);
        let send = StoredSend { target: target.clone(), sequence, event, seal };
        self.records.write(OUTBOX | self.next_outbox, &encode(&send)?);
        self.outbox.push_back((self.next_outbox, target, sequence));
        self.next_outbox += 1;
        Ok(sequence)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use banyan_core::sponsors::{Quota, SponsorId};

    use super::{
        Durability, Event, Facilities, Message, Numbered, OUTBOX, Outgoing, RunningConfiguration, event_of,
        stored_event,
    };
    use crate::durable::kinds::Kinds;
    use crate::durable::requests::DurableRequest;

    /// What was paid for before the process ended is not paid for again after it, and the other way round.
    #[test]
    fn a_kept_event_is_as_much_paid_for_as_before() {
        let system = Facilities::for_test(Quota::AMPLE);
        for paid in [0, Event::PREPAID, Event::UNPAID] {
            let message = Message::new(7_u64);
            let event = Event { slot: 3, generation: 5 | paid, sponsor: SponsorId::ROOT, message };
            let again = event_of(stored_event(&event, 1, &system).unwrap(), SponsorId::ROOT, 1, &system);
            assert_eq!((again.slot, again.generation), (3, 5 | paid));
        }
    }

    /// A message that a receiver has not committed stays, whatever others have, and is what is sent again.
    #[test]
    fn an_acknowledgement_frees_what_it_names_and_no_more() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("sender.arena");
        let mut durability = Durability::open(&path, Kinds::new(), None).unwrap();
        let system = Facilities::for_test(Quota::AMPLE);
        let event = |slot, message| Event { slot, generation: 0, sponsor: SponsorId::ROOT, message };
        for (slot, target) in (0..).zip(["one", "other", "one", "one"]) {
            let stored = stored_event(&event(slot, Message::new(7_u64)), 1, &system).unwrap();
            durability.write_outbox(target.to_owned(), stored, None).unwrap();
        }
        let acknowledge = |durability: &mut Durability, target: &str, sequence| {
            let target = target.to_owned();
            let message = Message::internal(DurableRequest::Acknowledge { target, sequence });
            let mut queue = VecDeque::new();
            durability.admit(event(Event::CONTROL, message), &mut queue, &system);
            assert!(queue.is_empty());
            let kept = durability.outbox.iter().map(|(key, target, sequence)| {
                assert!(durability.records.read(OUTBOX | key).is_some(), "what is kept is in the store");
                (target.clone(), *sequence)
            });
            kept.collect::<Vec<_>>()
        };
        let kept = |list: &[(&str, u64)]| -> Vec<(String, u64)> {
            list.iter().map(|(target, sequence)| ((*target).to_owned(), *sequence)).collect()
        };
        assert_eq!(acknowledge(&mut durability, "one", 1), kept(&[("other", 1), ("one", 2), ("one", 3)]));
        assert_eq!(acknowledge(&mut durability, "nobody", 9), kept(&[("other", 1), ("one", 2), ("one", 3)]));
        let mut running = RunningConfiguration::new(1, SponsorId::ROOT);
        durability.resend("one", &mut running, &system);
        let again: Vec<(u32, u64)> = std::mem::take(&mut running.effects.outgoing)
            .into_iter()
            .map(|outgoing| match outgoing {
                Outgoing::Configuration(_, event) => {
                    let numbered = event.message.try_internal::<Numbered>().ok().unwrap();
                    (event.slot, numbered.sequence)
                }
                Outgoing::Beyond(..) => panic!("nobody is beyond"),
            })
            .collect();
        assert_eq!(again, [(2, 2), (3, 3)]);
        assert_eq!(acknowledge(&mut durability, "one", 3), kept(&[("other", 1)]));
    }
}
