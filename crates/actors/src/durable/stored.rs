//! What is kept of actors, events and messages, as bytes.
//!
//! An address is kept if it can mean something in another process: an actor of the same configuration, or of another
//! durable one, by name. Any other is kept as an address that leads nowhere.

use serde::{Deserialize, Serialize};

use crate::address::{Address, GuestNumber, Local, Place};
use crate::behaviour::Saved;
use crate::message::Packet;
use crate::system::System;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum StoredAddress {
    Own { slot: u32, generation: u32 },
    Other { name: String, slot: u32, generation: u32 },
    Gone,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StoredPacket {
    bytes: Vec<u8>,
    addresses: Vec<StoredAddress>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct StoredActor {
    pub(crate) generation: u32,
    /// `None`: the slot is free, and its next actor has this generation.
    pub(crate) behaviour: Option<(String, StoredPacket)>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct StoredEvent {
    pub(crate) slot: u32,
    pub(crate) generation: u32,
    pub(crate) message: StoredPacket,
}

/// A message to another durable configuration, until that has it.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct StoredSend {
    pub(crate) target: String,
    pub(crate) sequence: u64,
    pub(crate) event: StoredEvent,
}

impl StoredPacket {
    pub(crate) fn of(packet: Packet, own: GuestNumber, system: &System) -> Self {
        let addresses = packet.addresses.iter().map(|address| match &address.0 {
            Place::Local(Local { guest, slot, generation }) if *guest == own => {
                StoredAddress::Own { slot: *slot, generation: *generation }
            }
            Place::Local(Local { guest, slot, generation }) => match system.durable_name(*guest) {
                Some(name) => StoredAddress::Other { name, slot: *slot, generation: *generation },
                None => StoredAddress::Gone,
            },
            Place::Beyond(_) => StoredAddress::Gone,
        });
        Self { addresses: addresses.collect(), bytes: packet.bytes }
    }

    pub(crate) fn packet(self, own: GuestNumber, system: &System) -> Packet {
        let addresses = self.addresses.into_iter().map(|address| {
            Address::local(match address {
                StoredAddress::Own { slot, generation } => Local { guest: own, slot, generation },
                StoredAddress::Other { name, slot, generation } => {
                    Local { guest: system.number_of_durable(&name), slot, generation }
                }
                // No configuration has this number.
                StoredAddress::Gone => Local { guest: 0, slot: 0, generation: 0 },
            })
        });
        Packet { addresses: addresses.collect(), bytes: self.bytes }
    }
}

impl StoredActor {
    pub(crate) fn of(generation: u32, saved: Option<Saved>, own: GuestNumber, system: &System) -> Self {
        let behaviour = saved.map(|saved| (saved.kind, StoredPacket::of(saved.state, own, system)));
        Self { generation, behaviour }
    }
}
