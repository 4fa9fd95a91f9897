//! [`Message`]: one message of any type, small ones held in place, never serialised between native actors.
//!
//! A message is turned into bytes, with a table of the addresses that it carries ([`Packet`]), only when it
//! leaves the native world: for a WebAssembly behaviour, a durable store or another process. An address is
//! never bytes: in a packet it is an index into the table, so that bytes alone are no way to an actor.

use std::cell::RefCell;
use std::fmt;

use crate::mutation::{Mutation, makes};
use crate::sys::erased::{Erased, Table};
use banyan_wire::bounded;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::containment::contain;
use crate::model::address::Address;
use crate::model::measure::{Measured, Unmeasured, measure};

/// Elements of collections in a message beyond one for each byte: such as take no bytes.
const EMPTY_ELEMENTS_MAX: u32 = 65_536;

/// What can be a message: any type that serde can write and read, and that may move between threads.
pub trait Payload: Serialize + DeserializeOwned + Send + 'static {}
impl<T: Serialize + DeserializeOwned + Send + 'static> Payload for T {}

/// A message outside of the native world: bytes, and the addresses that they refer to by index.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Packet {
    /// The message, in postcard's encoding if a native actor wrote it.
    pub bytes: Vec<u8>,
    /// What the indexes in the bytes stand for.
    pub addresses: Vec<Address>,
}

/// Why a message has no form as bytes, or bytes are no message of the type asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// The type's own serialisation failed.
    #[error("a message of type {type_name} could not be written as bytes: {reason}")]
    Encode {
        /// The Rust type.
        type_name: &'static str,
        /// What the serialiser says.
        reason: String,
    },
    /// The bytes are no such message.
    #[error("{length} bytes with {addresses} addresses are no message of type {type_name}: {reason}")]
    Decode {
        /// The Rust type that was expected.
        type_name: &'static str,
        /// Bytes there were.
        length: usize,
        /// Addresses there were.
        addresses: usize,
        /// What the deserialiser says.
        reason: String,
    },
    /// The message is of another Rust type.
    #[error("a message of type {found} was sent to an actor that takes {expected}")]
    OtherType {
        /// What the actor takes.
        expected: &'static str,
        /// What was sent.
        found: &'static str,
    },
}

/// What becomes of addresses that are written on this thread.
enum Addresses {
    /// They are those of a packet that is being written or read.
    Table(Vec<Address>),
    /// Their message is only measured.
    Measured,
}

thread_local! {
    static ADDRESSES: RefCell<Option<Addresses>> = const { RefCell::new(None) };
}

/// Puts an address into the table of the packet being written; `None` outside of a packet.
pub(crate) fn write_address(address: &Address) -> Option<u32> {
    ADDRESSES.with_borrow_mut(|addresses| {
        let table = match addresses.as_mut()? {
            Addresses::Table(table) => table,
            Addresses::Measured => return Some(0),
        };
        let found = table.iter().position(|other| other == address);
        let index = found.unwrap_or_else(|| {
            table.push(address.clone());
            table.len() - 1
        });
        u32::try_from(index).ok()
    })
}

/// The address at an index of the packet being read.
pub(crate) fn read_address(index: u32) -> Option<Address> {
    ADDRESSES.with_borrow(|addresses| match addresses.as_ref()? {
        Addresses::Table(table) => table.get(index as usize).cloned(),
        Addresses::Measured => None,
    })
}

/// Puts back what was there.
struct Restore(Option<Addresses>);

impl Drop for Restore {
    fn drop(&mut self) {
        ADDRESSES.set(self.0.take());
    }
}

/// Runs `work` with a table of addresses in place, and gives the table back, whether `work` panics or not.
fn with_addresses<T>(addresses: Vec<Address>, work: impl FnOnce() -> T) -> (T, Vec<Address>) {
    // A serialiser may itself make a packet, so what was there is put back.
    let _restore = Restore(ADDRESSES.replace(Some(Addresses::Table(addresses))));
    let result = work();
    let addresses = match ADDRESSES.take() {
        Some(Addresses::Table(addresses)) => addresses,
        Some(Addresses::Measured) | None => Vec::new(),
    };
    (result, addresses)
}

/// What a value holds, as far as its own code tells.
fn measured<M: Serialize>(value: &M) -> (Measured, Result<(), Unmeasured>) {
    let _restore = Restore(ADDRESSES.replace(Some(Addresses::Measured)));
    let panicked = |words| (Measured::default(), Err(Unmeasured::Refused(words)));
    contain(|| measure(value)).unwrap_or_else(panicked)
}

/// A type's own code, which may panic.
fn contained<T>(run: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    contain(run).unwrap_or_else(|words| Err(format!("it panicked: {words}")))
}

impl Packet {
    /// Writes a value. What [`Packet::decode`] would not read again is not written.
    ///
    /// # Errors
    /// [`CodecError::Encode`].
    pub fn encode<M: Serialize>(value: &M) -> Result<Self, CodecError> {
        let type_name = std::any::type_name::<M>();
        let refuse = |reason: String| CodecError::Encode { type_name, reason };
        let (Measured { elements, .. }, result) = measured(value);
        result.map_err(|unmeasured| refuse(unmeasured.to_string()))?;
        let packet = Self::encode_own(value)?;
        if elements > packet.bytes.len() as u64 + u64::from(EMPTY_ELEMENTS_MAX) {
            return Err(refuse(format!("it has {elements} elements, of which most take no bytes")));
        }
        Ok(packet)
    }

    /// Writes a value that only this program reads, as deep as it is.
    ///
    /// # Errors
    /// [`CodecError::Encode`].
    pub(crate) fn encode_own<M: Serialize>(value: &M) -> Result<Self, CodecError> {
        let write = || postcard::to_stdvec(value).map_err(|error| error.to_string());
        let (bytes, addresses) = with_addresses(Vec::new(), || contained(write));
        let type_name = std::any::type_name::<M>();
        let bytes = bytes.map_err(|reason| CodecError::Encode { type_name, reason })?;
        Ok(Self { bytes, addresses })
    }

    /// Reads a value. Any bytes give a value or an error, whatever the type: values nested deeper than 128
    /// are an error, more elements without bytes than 65,536, and bytes beyond the value.
    ///
    /// # Errors
    /// [`CodecError::Decode`].
    pub fn decode<M: DeserializeOwned>(&self) -> Result<M, CodecError> {
        self.decode_by(|bytes| bounded::read(bytes, EMPTY_ELEMENTS_MAX).map_err(|error| error.to_string()))
    }

    /// Reads a value that this program has written itself, as deep as it was.
    ///
    /// # Errors
    /// [`CodecError::Decode`].
    pub(crate) fn decode_own<M: DeserializeOwned>(&self) -> Result<M, CodecError> {
        self.decode_by(|bytes| postcard::take_from_bytes(bytes).map_err(|error| error.to_string()))
    }

    fn decode_by<'a, M>(
        &'a self,
        read: impl FnOnce(&'a [u8]) -> Result<(M, &'a [u8]), String>,
    ) -> Result<M, CodecError> {
        let error = |reason: String| CodecError::Decode {
            type_name: std::any::type_name::<M>(),
            length: self.bytes.len(),
            addresses: self.addresses.len(),
            reason,
        };
        let (result, _) = with_addresses(self.addresses.clone(), || contained(|| read(&self.bytes)));
        match result {
            Ok((value, [])) => Ok(value),
            Ok((_, rest)) => Err(error(format!("{} bytes are left over", rest.len()))),
            Err(reason) => Err(error(reason)),
        }
    }

    /// Bytes of memory that it takes.
    #[must_use]
    pub fn size(&self) -> u64 {
        (self.bytes.len() + self.addresses.len() * size_of::<Address>()) as u64
    }
}

/// What the runtime knows of a message's type.
struct Kind {
    /// It is a message of the runtime's own, which has no form as bytes.
    internal: bool,
    /// Bytes beside the event.
    size: fn(&Held) -> u64,
    encode: fn(&Held) -> Result<Packet, CodecError>,
}

type Held = Erased<Kind>;

/// Bytes that a value takes beside its event.
fn held_by<M: Payload>(value: &M) -> u64 {
    let (own, in_event) = (size_of::<M>() as u64, Held::is_held_in_place::<M>());
    // What owns nothing holds nothing.
    let all = if std::mem::needs_drop::<M>() && !makes(Mutation::ChargeItself) {
        measured(value).0.bytes.max(own)
    } else {
        own
    };
    if in_event { all - own } else { all }
}

/// The value, for the table of its type.
fn own<M: 'static>(held: &Held) -> &M {
    held.get().expect("a value and its table are of one type")
}

struct KindOf<M>(std::marker::PhantomData<M>);

impl<M: Payload> KindOf<M> {
    const TABLE: Table<Kind> = Table::of::<M>(Kind {
        internal: false,
        size: |held| held_by(own::<M>(held)),
        encode: |held| Packet::encode(own::<M>(held)),
    });
}

/// A value that stays inside the runtime.
struct Internal<T>(std::marker::PhantomData<T>);

impl<T: Send + 'static> Internal<T> {
    const TABLE: Table<Kind> = Table::of::<T>(Kind {
        internal: true,
        size: |_| if Held::is_held_in_place::<T>() { 0 } else { size_of::<T>() as u64 },
        encode: |_| {
            Err(CodecError::Encode { type_name: std::any::type_name::<T>(), reason: "it is internal".into() })
        },
    });
}

static PACKET: Table<Kind> = Table::of::<Packet>(Kind {
    internal: false,
    size: |held| own::<Packet>(held).size(),
    encode: |held| Ok(own::<Packet>(held).clone()),
});

/// One message, of any type. Threads hand it on, and do not share it: a payload need not be `Sync`.
///
/// ```compile_fail
/// fn shared<T: Sync>() {}
/// shared::<banyan_actors::Message>();
/// ```
pub struct Message(Held);

/// A message as the type that its receiver takes.
pub enum View<'a, M> {
    /// It was sent as this type.
    Native(&'a M),
    /// It came as bytes.
    Decoded(Box<M>),
}

impl<M> std::ops::Deref for View<'_, M> {
    type Target = M;
    #[inline]
    fn deref(&self) -> &M {
        match self {
            Self::Native(value) => value,
            Self::Decoded(value) => value,
        }
    }
}

impl Message {
    /// A message that native actors get as it is.
    #[inline]
    pub fn new<M: Payload>(value: M) -> Self {
        Self(Erased::new(value, const { &KindOf::<M>::TABLE }))
    }

    /// A message of bytes and addresses; a native actor gets what they decode to.
    #[must_use]
    pub fn from_packet(packet: Packet) -> Self {
        Self(Erased::new(packet, &PACKET))
    }

    /// A message of the runtime's own.
    pub(crate) fn internal<T: Send + 'static>(value: T) -> Self {
        Self(Erased::new(value, const { &Internal::<T>::TABLE }))
    }

    /// The name of its type; of what came as bytes, that of a packet.
    #[cfg(feature = "tracing")]
    pub(crate) fn type_name(&self) -> &'static str {
        self.0.type_name()
    }

    /// Whether it is a message of the runtime's own, of this type.
    pub(crate) fn is_internal<T: 'static>(&self) -> bool {
        self.0.about().internal && self.0.is::<T>()
    }

    /// The value of a message of the runtime's own, or the message.
    pub(crate) fn try_internal<T: Send + 'static>(self) -> Result<T, Self> {
        if self.is_internal::<T>() { self.0.take().map_err(Self) } else { Err(self) }
    }

    /// The value, if it is of this type.
    #[inline]
    #[must_use]
    pub fn downcast<M: 'static>(&self) -> Option<&M> {
        self.0.get()
    }

    /// The message as bytes, if it came as such.
    fn as_packet(&self) -> Option<&Packet> {
        self.downcast::<Packet>()
    }

    /// The message as the type that its receiver takes, decoded if it came as bytes.
    ///
    /// # Errors
    /// [`CodecError`].
    #[inline]
    pub fn view<M: Payload>(&self) -> Result<View<'_, M>, CodecError> {
        match self.downcast::<M>() {
            Some(value) => Ok(View::Native(value)),
            None => self.decode(),
        }
    }

    #[cold]
    fn decode<M: Payload>(&self) -> Result<View<'_, M>, CodecError> {
        let found = self.0.type_name();
        let other = CodecError::OtherType { expected: std::any::type_name::<M>(), found };
        let packet = self.as_packet().ok_or(other)?;
        Ok(View::Decoded(Box::new(packet.decode()?)))
    }

    /// The message as bytes and addresses.
    ///
    /// # Errors
    /// [`CodecError::Encode`] if the type's serialisation fails.
    pub fn to_packet(&self) -> Result<Packet, CodecError> {
        (self.0.about().encode)(&self.0)
    }

    /// Bytes that the message takes beside its event: what a sponsor pays for it. What a native value points
    /// at is measured by its serialisation: what that leaves out is not seen.
    #[inline]
    #[must_use]
    pub fn size(&self) -> u64 {
        if self.0.is_all_in_place() { 0 } else { (self.0.about().size)(&self.0) }
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Message({})", self.0.type_name())
    }
}
