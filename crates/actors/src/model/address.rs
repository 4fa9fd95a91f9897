//! Addresses: the only way to an actor, and so the only authority there is.
//!
//! None can be made from numbers: it is got from `create`, from a message, or from a name. As bytes it exists
//! only inside a packet, as an index into the packet's table; between processes a router turns it into 128
//! random bits. An address may outlive its actor: sending to it then does nothing.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::marker::PhantomData;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use banyan_core::sponsors::SponsorId;

use crate::containment::{Foreign, contain, note};
use crate::model::durable_address::DurableAddress;
use crate::model::message::{self, Message};

/// Number of a configuration within a process.
pub type ConfigurationNumber = u32;

/// An actor of this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Local {
    pub(crate) configuration: ConfigurationNumber,
    pub(crate) slot: u32,
    /// Which of the actors that had this slot.
    pub(crate) generation: u32,
}

/// What takes messages and is no actor of this process: an actor in another one, or a thread that waits for
/// an answer.
pub trait Door: Send + Sync {
    /// Takes a message; it may be lost, as everything beyond a process may.
    fn deliver(&self, message: Message, sponsor: SponsorId);
    /// Takes a message that its sender's sponsor has paid for. It makes a difference to a door that leads
    /// back into this process, where a message is paid for once.
    fn deliver_paid(&self, message: Message, sponsor: SponsorId) {
        self.deliver(message, sponsor);
    }
    /// Words for people that tell what is behind.
    fn describe(&self) -> String;
    /// For a router's proxies: the token of what is behind.
    fn token(&self) -> Option<[u8; 16]> {
        None
    }
    /// For what stands for an actor of a durable configuration of another process: its address.
    fn durable(&self) -> Option<DurableAddress> {
        None
    }
    /// For a router's proxies: the address has arrived once more.
    fn arrived_again(&self) {}
}

/// A door, shared by all addresses that lead to it; it closes with the last of them.
pub(crate) struct Proxy {
    door: Foreign<Box<dyn Door>>,
}

impl Proxy {
    pub(crate) fn new(door: Box<dyn Door>) -> Arc<Self> {
        Arc::new(Self { door: Foreign::new(door) })
    }

    pub(crate) fn door(&self) -> &dyn Door {
        self.door.as_ref().expect("a proxy has its door until it is dropped").as_ref()
    }

    /// Hands a message to the door. What that does with it ends here.
    pub(crate) fn deliver(&self, message: Message, sponsor: SponsorId) {
        self.use_door(|door| door.deliver(message, sponsor));
    }

    /// The same with a message that an event has paid for.
    pub(crate) fn deliver_paid(&self, message: Message, sponsor: SponsorId) {
        self.use_door(|door| door.deliver_paid(message, sponsor));
    }

    fn use_door(&self, deliver: impl FnOnce(&dyn Door)) {
        if let Err(words) = contain(|| deliver(self.door())) {
            note("a message behind a door", &words);
        }
    }
}

#[derive(Clone)]
pub(crate) enum Place {
    Local(Local),
    Beyond(Arc<Proxy>),
}

/// The address of an actor that takes messages of whatever type.
#[derive(Clone)]
pub struct Address(pub(crate) Place);

impl Address {
    /// The address of a door.
    #[must_use]
    pub fn of_door(door: Box<dyn Door>) -> Self {
        Self(Place::Beyond(Proxy::new(door)))
    }

    /// An address that leads nowhere: no configuration has its number.
    pub(crate) const fn nowhere() -> Self {
        Self::local(Local { configuration: 0, slot: 0, generation: 0 })
    }

    pub(crate) const fn local(local: Local) -> Self {
        Self(Place::Local(local))
    }

    /// The same address, for messages of one type. The actor checks what it gets: a message that it does not
    /// take is a failed event.
    #[must_use]
    pub fn typed<M>(self) -> Addr<M> {
        Addr { address: self, takes: PhantomData }
    }
}

impl PartialEq for Address {
    fn eq(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (Place::Local(one), Place::Local(other)) => one == other,
            (Place::Beyond(one), Place::Beyond(other)) => Arc::ptr_eq(one, other),
            _ => false,
        }
    }
}

impl Eq for Address {}

impl Hash for Address {
    fn hash<H: Hasher>(&self, state: &mut H) {
        match &self.0 {
            Place::Local(local) => local.hash(state),
            Place::Beyond(proxy) => Arc::as_ptr(proxy).hash(state),
        }
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Place::Local(Local { configuration, slot, generation }) => {
                write!(formatter, "{configuration}.{slot}.{generation}")
            }
            Place::Beyond(proxy) => formatter.write_str(&proxy.door().describe()),
        }
    }
}

impl Serialize for Address {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let index = message::write_address(self)
            .ok_or_else(|| serde::ser::Error::custom("an address can be written only inside a message"))?;
        serializer.serialize_u32(index)
    }
}

impl<'de> Deserialize<'de> for Address {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let index = u32::deserialize(deserializer)?;
        message::read_address(index).ok_or_else(|| {
            serde::de::Error::custom(format_args!("the message carries no address number {index}"))
        })
    }
}

/// The address of an actor that takes messages of type `M`.
pub struct Addr<M> {
    address: Address,
    takes: PhantomData<fn(M)>,
}

impl<M> Addr<M> {
    /// The same address, without the type.
    #[inline]
    #[must_use]
    pub fn address(&self) -> &Address {
        &self.address
    }
}

impl<M> Clone for Addr<M> {
    #[inline]
    fn clone(&self) -> Self {
        Self { address: self.address.clone(), takes: PhantomData }
    }
}

impl<M> PartialEq for Addr<M> {
    fn eq(&self, other: &Self) -> bool {
        self.address == other.address
    }
}

impl<M> Eq for Addr<M> {}

impl<M> Hash for Addr<M> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.address.hash(state);
    }
}

impl<M> fmt::Debug for Addr<M> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.address.fmt(formatter)
    }
}

impl<M> From<Addr<M>> for Address {
    fn from(typed: Addr<M>) -> Self {
        typed.address
    }
}

impl<M> Serialize for Addr<M> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.address.serialize(serializer)
    }
}

impl<'de, M> Deserialize<'de> for Addr<M> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Address::deserialize(deserializer)?.typed())
    }
}
