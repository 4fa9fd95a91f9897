//! [`DurableAddress`]: an actor of a durable configuration, as any process knows it, for as long as the actor
//! lives.

use zerocopy::little_endian::U32;
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// Names an actor, a configuration or a stream of messages to other processes: 128 bits that cannot be
/// guessed.
pub type Token = [u8; 16];

/// Names an actor of a durable configuration to other processes, for as long as it lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DurableAddress {
    /// Names the configuration.
    pub configuration: Token,
    /// The actor's place in it.
    pub slot: u32,
    /// Which of the actors that had this place.
    pub generation: u32,
    /// Made by the configuration from the place with a key that stays with it: only who was given the seal
    /// can know it.
    pub seal: Token,
}

/// The bytes of an address.
#[derive(FromBytes, IntoBytes, Immutable)]
#[repr(C)]
struct Layout {
    configuration: Token,
    slot: U32,
    generation: U32,
    seal: Token,
}

impl DurableAddress {
    /// Bytes of a durable address.
    pub const BYTES: usize = size_of::<Layout>();

    /// The address as bytes, with which another process can be given it.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; Self::BYTES] {
        let Self { configuration, slot, generation, seal } = *self;
        zerocopy::transmute!(Layout { configuration, slot: slot.into(), generation: generation.into(), seal })
    }

    /// The address of these bytes. Any bytes are an address; one that was not given out leads nowhere.
    #[must_use]
    pub fn from_bytes(bytes: &[u8; Self::BYTES]) -> Self {
        let Layout { configuration, slot, generation, seal } = zerocopy::transmute!(*bytes);
        Self { configuration, slot: slot.get(), generation: generation.get(), seal }
    }
}
