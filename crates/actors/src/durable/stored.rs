//! What is kept of actors, events and messages, as bytes.
//!
//! An address is kept if it can mean something in another process: an actor of the same configuration, of
//! another durable one by name, or of a durable one of another process by its seal. Any other is kept as an
//! address that leads nowhere.

use serde::{Deserialize, Serialize};

use crate::configuration::event::Event;
use crate::durable::identities::Identities;
use crate::durable::identity::Identity;
use crate::model::address::{Address, ConfigurationNumber, Local, Place};
use crate::model::durable_address::{DurableAddress, Token};
use crate::model::message::{CodecError, Packet};
use crate::model::saved::Saved;

/// In the generation of a stored event: it is its actor's first, and has no message. Events in memory have
/// another mark there, which is not kept.
pub(crate) const START: u32 = Event::DUE;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum StoredAddress {
    Own {
        slot: u32,
        generation: u32,
    },
    Other {
        name: String,
        slot: u32,
        generation: u32,
    },
    Gone,
    /// As any process knows it: see `durable::identities`.
    Remote {
        address: Vec<u8>,
    },
}

impl StoredAddress {
    pub(crate) fn of(address: &Address, own: ConfigurationNumber, identities: &Identities) -> Self {
        match &address.0 {
            Place::Local(Local { configuration, slot, generation }) if *configuration == own => {
                Self::Own { slot: *slot, generation: *generation }
            }
            Place::Local(Local { configuration, slot, generation }) => {
                match identities.numbers.durable_name(*configuration) {
                    Some(name) => Self::Other { name, slot: *slot, generation: *generation },
                    None => Self::Gone,
                }
            }
            Place::Beyond(proxy) => match proxy.door().durable() {
                Some(address) => Self::Remote { address: address.to_bytes().to_vec() },
                None => Self::Gone,
            },
        }
    }

    pub(crate) fn address(self, own: ConfigurationNumber, identities: &Identities) -> Address {
        match self {
            Self::Own { slot, generation } => Address::local(Local { configuration: own, slot, generation }),
            Self::Other { name, slot, generation } => Address::local(Local {
                configuration: identities.numbers.of_durable(&name),
                slot,
                generation,
            }),
            Self::Gone => Address::nowhere(),
            Self::Remote { address } => match address.as_slice().try_into() {
                Ok(bytes) => identities.address(&DurableAddress::from_bytes(bytes)),
                Err(_) => Address::nowhere(),
            },
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StoredPacket {
    pub(super) bytes: Vec<u8>,
    pub(super) addresses: Vec<StoredAddress>,
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
    /// With the bits that say what of its delivery is paid for.
    pub(crate) generation: u32,
    pub(crate) message: StoredPacket,
    /// Who pays for it, if the budgets are kept too.
    pub(crate) sponsor: Option<StoredSponsor>,
}

/// A sponsor of a ledger that is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StoredSponsor {
    /// Names the ledger: in another one the same numbers are another sponsor's.
    pub(crate) ledger: u64,
    pub(crate) index: u32,
    pub(crate) generation: u32,
}

/// A message that comes later.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct StoredTimer {
    /// Nanoseconds since 1970.
    pub(crate) date: u64,
    pub(crate) target: StoredAddress,
    pub(crate) message: StoredPacket,
    pub(crate) sponsor: Option<StoredSponsor>,
}

/// What a store holds of the configuration as a whole.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct StoredSelf {
    pub(crate) identity: Identity,
    /// Numbers of timers that may have been given out.
    pub(crate) timers: u64,
}

/// A message to another durable configuration, until that has it.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct StoredSend {
    pub(crate) target: String,
    pub(crate) sequence: u64,
    pub(crate) event: StoredEvent,
    /// If the target is a configuration of another process: what proves the right to send to that actor.
    pub(crate) seal: Option<Token>,
}

impl StoredPacket {
    pub(crate) fn of(packet: Packet, own: ConfigurationNumber, identities: &Identities) -> Self {
        let addresses = packet.addresses.iter().map(|address| StoredAddress::of(address, own, identities));
        Self { addresses: addresses.collect(), bytes: packet.bytes }
    }

    pub(crate) fn packet(self, own: ConfigurationNumber, identities: &Identities) -> Packet {
        let addresses = self.addresses.into_iter().map(|address| address.address(own, identities));
        Packet { addresses: addresses.collect(), bytes: self.bytes }
    }
}

impl StoredActor {
    pub(crate) fn of(
        generation: u32,
        saved: Option<Saved>,
        own: ConfigurationNumber,
        identities: &Identities,
    ) -> Self {
        let behaviour = saved.map(|saved| (saved.kind, StoredPacket::of(saved.state, own, identities)));
        Self { generation, behaviour }
    }
}

/// Who is, or was, signalled when a sponsor is exhausted, and who has paid for that.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StoredController {
    pub(crate) address: StoredAddress,
    pub(crate) payer: (u32, u32),
}

/// A record as bytes.
pub(super) fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>, CodecError> {
    postcard::to_stdvec(value).map_err(|error| CodecError::Encode {
        type_name: std::any::type_name::<T>(),
        reason: error.to_string(),
    })
}
