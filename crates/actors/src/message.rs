//! [`Message`]: one message of any type, small ones held in place, never serialised between native actors.
//!
//! A message is turned into bytes, with a table of the addresses that it carries ([`Packet`]), only when it leaves the
//! native world: for a WebAssembly behaviour, a durable store or another process. An address is never bytes: in a packet
//! it is an index into the table, so that bytes alone give nobody a way to an actor.
//!
//! Unsafe code: a message is a value of a type that only its table of functions knows.

use std::any::TypeId;
use std::cell::RefCell;
use std::fmt;
use std::mem::MaybeUninit;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::address::Address;

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

thread_local! {
    /// The addresses of the packet that is being written or read on this thread.
    static ADDRESSES: RefCell<Option<Vec<Address>>> = const { RefCell::new(None) };
}

/// Puts an address into the table of the packet being written; `None` outside of a packet.
pub(crate) fn write_address(address: &Address) -> Option<u32> {
    ADDRESSES.with_borrow_mut(|table| {
        let table = table.as_mut()?;
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
    ADDRESSES.with_borrow(|table| table.as_ref()?.get(index as usize).cloned())
}

/// Runs `work` with a table of addresses in place, and gives the table back, whether `work` panics or not.
fn with_addresses<T>(addresses: Vec<Address>, work: impl FnOnce() -> T) -> (T, Vec<Address>) {
    struct Restore(Option<Vec<Address>>);
    impl Drop for Restore {
        fn drop(&mut self) {
            ADDRESSES.set(self.0.take());
        }
    }
    // A serialiser may itself make a packet, so what was there is put back.
    let _restore = Restore(ADDRESSES.replace(Some(addresses)));
    let result = work();
    let addresses = ADDRESSES.take().unwrap_or_default();
    (result, addresses)
}

impl Packet {
    /// Writes a value.
    ///
    /// # Errors
    /// [`CodecError::Encode`].
    pub fn encode<M: Serialize>(value: &M) -> Result<Self, CodecError> {
        let (bytes, addresses) = with_addresses(Vec::new(), || postcard::to_stdvec(value));
        let bytes = bytes.map_err(|error| CodecError::Encode {
            type_name: std::any::type_name::<M>(),
            reason: error.to_string(),
        })?;
        Ok(Self { bytes, addresses })
    }

    /// Reads a value. Any bytes give a value or an error; bytes beyond the value are an error.
    ///
    /// # Errors
    /// [`CodecError::Decode`].
    pub fn decode<M: DeserializeOwned>(&self) -> Result<M, CodecError> {
        let error = |reason: String| CodecError::Decode {
            type_name: std::any::type_name::<M>(),
            length: self.bytes.len(),
            addresses: self.addresses.len(),
            reason,
        };
        let (result, _) =
            with_addresses(self.addresses.clone(), || postcard::take_from_bytes::<M>(&self.bytes));
        match result {
            Ok((value, [])) => Ok(value),
            Ok((_, rest)) => Err(error(format!("{} bytes are left over", rest.len()))),
            Err(reason) => Err(error(reason.to_string())),
        }
    }

    /// Bytes of memory that it takes.
    #[must_use]
    pub fn size(&self) -> u64 {
        (self.bytes.len() + self.addresses.len() * size_of::<Address>()) as u64
    }
}

/// Words of a message that are held in place.
const PLACE_WORDS: usize = 3;
type Place = [MaybeUninit<u64>; PLACE_WORDS];

/// What can be done with the value of a message, whose type only this table knows.
struct Table {
    type_id: TypeId,
    type_name: fn() -> &'static str,
    /// The value lies in a box, and the place holds its address.
    boxed: bool,
    size: fn(*const ()) -> u64,
    /// # Safety: the pointer is to a live value of the table's type, which is dead afterwards. `None`: nothing to do.
    drop: Option<unsafe fn(*mut ())>,
    /// # Safety: the pointer is to a live value of the table's type.
    encode: unsafe fn(*const ()) -> Result<Packet, CodecError>,
}

const fn is_boxed<M>() -> bool {
    size_of::<M>() > size_of::<Place>() || align_of::<M>() > align_of::<Place>()
}

/// # Safety
/// As [`Table::drop`]: a value in place.
unsafe fn drop_in_place<M>(value: *mut ()) {
    // SAFETY: as the caller promises.
    unsafe { std::ptr::drop_in_place(value.cast::<M>()) }
}

/// # Safety
/// As [`Table::drop`]: a value that `Box::into_raw` gave.
unsafe fn drop_box<M>(value: *mut ()) {
    // SAFETY: as the caller promises.
    drop(unsafe { Box::from_raw(value.cast::<M>()) });
}

/// # Safety
/// As [`Table::encode`].
unsafe fn encode<M: Payload>(value: *const ()) -> Result<Packet, CodecError> {
    // SAFETY: as the caller promises.
    Packet::encode(unsafe { &*value.cast::<M>() })
}

/// # Safety
/// As [`Table::encode`]: a packet.
unsafe fn copy_packet(value: *const ()) -> Result<Packet, CodecError> {
    // SAFETY: as the caller promises.
    Ok(unsafe { &*value.cast::<Packet>() }.clone())
}

struct TableOf<M>(std::marker::PhantomData<M>);

impl<M: Payload> TableOf<M> {
    const TABLE: Table = Table {
        type_id: TypeId::of::<M>(),
        type_name: std::any::type_name::<M>,
        boxed: is_boxed::<M>(),
        size: |_| if is_boxed::<M>() { size_of::<M>() as u64 } else { 0 },
        drop: if is_boxed::<M>() {
            Some(drop_box::<M>)
        } else if std::mem::needs_drop::<M>() {
            Some(drop_in_place::<M>)
        } else {
            None
        },
        encode: encode::<M>,
    };
}

/// A value that stays inside the runtime: it has no form as bytes.
struct Internal<T>(std::marker::PhantomData<T>);

impl<T: Send + 'static> Internal<T> {
    const TABLE: Table = Table {
        type_id: TypeId::of::<T>(),
        type_name: std::any::type_name::<T>,
        boxed: true,
        size: |_| size_of::<T>() as u64,
        drop: Some(drop_box::<T>),
        encode: |_| {
            Err(CodecError::Encode { type_name: std::any::type_name::<T>(), reason: "it is internal".into() })
        },
    };
}

static PACKET_TABLE: Table = Table {
    type_id: TypeId::of::<Packet>(),
    type_name: || "bytes",
    boxed: true,
    // SAFETY: the table is only ever used with a packet.
    size: |packet| unsafe { &*packet.cast::<Packet>() }.size(),
    drop: Some(drop_box::<Packet>),
    encode: copy_packet,
};

/// One message, of any type.
pub struct Message {
    table: &'static Table,
    place: Place,
}

// SAFETY: every constructor demands a `Send` value.
unsafe impl Send for Message {}

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
        let mut place: Place = [MaybeUninit::uninit(); PLACE_WORDS];
        if is_boxed::<M>() {
            let pointer = Box::into_raw(Box::new(value));
            // SAFETY: a pointer fits into the first word.
            unsafe { place.as_mut_ptr().cast::<*mut M>().write(pointer) };
        } else {
            // SAFETY: the value fits, by `is_boxed`.
            unsafe { place.as_mut_ptr().cast::<M>().write(value) };
        }
        Self { table: const { &TableOf::<M>::TABLE }, place }
    }

    /// A message of bytes and addresses; a native actor gets what they decode to.
    #[must_use]
    pub fn from_packet(packet: Packet) -> Self {
        let mut place: Place = [MaybeUninit::uninit(); PLACE_WORDS];
        let pointer = Box::into_raw(Box::new(packet));
        // SAFETY: a pointer fits into the first word.
        unsafe { place.as_mut_ptr().cast::<*mut Packet>().write(pointer) };
        Self { table: &PACKET_TABLE, place }
    }

    /// A message of the runtime's own.
    pub(crate) fn internal<T: Send + 'static>(value: T) -> Self {
        let mut place: Place = [MaybeUninit::uninit(); PLACE_WORDS];
        let pointer = Box::into_raw(Box::new(value));
        // SAFETY: a pointer fits into the first word.
        unsafe { place.as_mut_ptr().cast::<*mut T>().write(pointer) };
        Self { table: const { &Internal::<T>::TABLE }, place }
    }

    /// Whether it is a message of the runtime's own, of this type.
    pub(crate) fn is_internal<T: 'static>(&self) -> bool {
        self.table.boxed && self.table.type_id == TypeId::of::<T>()
    }

    /// The value of a message of the runtime's own, or the message.
    pub(crate) fn try_internal<T: Send + 'static>(self) -> Result<T, Self> {
        if !self.is_internal::<T>() {
            return Err(self);
        }
        let this = std::mem::ManuallyDrop::new(self);
        // SAFETY: the value is a boxed `T`, and the message is not dropped.
        Ok(*unsafe { Box::from_raw(this.value().cast_mut().cast::<T>()) })
    }

    #[inline]
    fn value(&self) -> *const () {
        if self.table.boxed {
            // SAFETY: the constructors wrote a pointer there.
            unsafe { self.place.as_ptr().cast::<*const ()>().read() }
        } else {
            self.place.as_ptr().cast()
        }
    }

    /// The value, if it is of this type.
    #[inline]
    #[must_use]
    pub fn downcast<M: 'static>(&self) -> Option<&M> {
        // SAFETY: the table says that the value is an `M`, and it lives as long as the message.
        (self.table.type_id == TypeId::of::<M>()).then(|| unsafe { &*self.value().cast::<M>() })
    }

    /// The message as bytes, if it came as such.
    #[must_use]
    pub fn as_packet(&self) -> Option<&Packet> {
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
        let other =
            CodecError::OtherType { expected: std::any::type_name::<M>(), found: (self.table.type_name)() };
        let packet = self.as_packet().ok_or(other)?;
        Ok(View::Decoded(Box::new(packet.decode()?)))
    }

    /// The message as bytes and addresses.
    ///
    /// # Errors
    /// [`CodecError::Encode`] if the type's serialisation fails.
    pub fn to_packet(&self) -> Result<Packet, CodecError> {
        // SAFETY: the value is live and of the table's type.
        unsafe { (self.table.encode)(self.value()) }
    }

    /// Bytes that the message takes beside its event: what a sponsor pays for it. What a native value points at is not
    /// seen.
    #[inline]
    #[must_use]
    pub fn size(&self) -> u64 {
        if self.table.boxed { (self.table.size)(self.value()) } else { 0 }
    }
}

impl Drop for Message {
    #[inline]
    fn drop(&mut self) {
        if let Some(drop) = self.table.drop {
            // SAFETY: the value is live, of the table's type, and dead from here.
            unsafe { drop(self.value().cast_mut()) }
        }
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Message({})", (self.table.type_name)())
    }
}
