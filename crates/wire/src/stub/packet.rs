//! How a message is put into a packet and taken out of it, and the two macros that declare records and
//! messages.

/// Bytes of a packet at most: the kind, a result, and the longest list of actions.
pub const PACKET_MAX: usize = KIND_BYTES + 8 + 32 * super::ACTIONS_MAX;

/// Bytes of the kind, with which every packet begins.
pub(super) const KIND_BYTES: usize = 4;

/// One message as it travels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    bytes: [u8; PACKET_MAX],
    length: usize,
}

/// A packet that is no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// It is shorter than a kind.
    #[error("a packet of {0} bytes is too short for a kind")]
    Short(usize),
    /// There is no such message.
    #[error("there is no message of kind {0}")]
    Kind(u32),
    /// Its length is not that of its kind, or a field has an impossible value.
    #[error("a message of kind {kind} cannot have these {length} bytes")]
    Body {
        /// The kind.
        kind: u32,
        /// Bytes after it.
        length: usize,
    },
}

impl Packet {
    /// A packet of `kind` with a record.
    #[must_use]
    pub(super) fn new<T: Body>(kind: u32, body: &T) -> Self {
        let mut packet = Self { bytes: [0; PACKET_MAX], length: 0 };
        packet.put(&kind.to_le_bytes());
        body.write(&mut packet);
        packet
    }

    /// Appends bytes, for which there is room. Once for all records: most of what a stub sends is put here.
    #[inline(never)]
    pub(super) fn put(&mut self, bytes: &[u8]) {
        self.bytes[self.length..][..bytes.len()].copy_from_slice(bytes);
        self.length += bytes.len();
    }

    /// What is to be sent.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

/// What follows the kind in a packet.
pub(super) trait Body: Sized {
    /// The fields, for the format's document.
    const FIELDS: &'static [Field];

    /// Appends the record to a packet.
    fn write(&self, to: &mut Packet);

    /// The record that these bytes are, all of them.
    fn read(from: &[u8]) -> Option<Self>;
}

/// A field of a record, for the format's document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// Its name.
    pub name: &'static str,
    /// What it says, in the words of its documentation.
    pub about: &'static str,
    /// Where it begins, counted from the end of the kind.
    pub offset: usize,
    /// How long it is.
    pub bytes: usize,
}

/// A message, or a value of an enumeration, for the format's document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// The number with which its packets begin, or that is its value.
    pub number: u32,
    /// Its name.
    pub name: &'static str,
    /// What it means, in the words of its documentation.
    pub about: &'static str,
    /// What follows the kind.
    pub fields: &'static [Field],
}

/// Declares records: structures that lie in a packet as they lie in memory, without padding.
macro_rules! records {
    ($($(#[$attribute:meta])* $name:ident { $($(#[doc = $about:literal])* $field:ident: $type:ty),* $(,)? })+) => { $(
        $(#[$attribute])*
        #[derive(
            Clone, Copy, Debug, PartialEq, Eq, zerocopy::TryFromBytes, zerocopy::IntoBytes, zerocopy::KnownLayout,
            zerocopy::Immutable,
        )]
        #[repr(C)]
        pub struct $name { $($(#[doc = $about])* pub $field: $type),* }

        impl $crate::stub::packet::Body for $name {
            const FIELDS: &'static [$crate::stub::packet::Field] = &[$($crate::stub::packet::Field {
                name: stringify!($field),
                about: concat!($($about),*),
                offset: core::mem::offset_of!($name, $field),
                bytes: size_of::<$type>(),
            }),*];

            fn write(&self, to: &mut $crate::stub::packet::Packet) {
                to.put(zerocopy::IntoBytes::as_bytes(self));
            }

            fn read(from: &[u8]) -> Option<Self> {
                zerocopy::TryFromBytes::try_read_from_bytes(from).ok()
            }
        }

        const _: () = assert!(size_of::<$name>() + $crate::stub::packet::KIND_BYTES <= $crate::stub::PACKET_MAX);
    )+ };
}

/// Declares all messages that go one way: a number, a name and a record for each.
macro_rules! messages {
    ($(#[$attribute:meta])* $name:ident {
        $($(#[doc = $about:literal])* $kind:literal $variant:ident($body:ty)),+ $(,)?
    }) => {
        $(#[$attribute])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name { $($(#[doc = $about])* $variant($body)),+ }

        impl $name {
            /// All of them, for the format's document.
            pub const ROWS: &'static [$crate::stub::packet::Row] = &[$($crate::stub::packet::Row {
                number: $kind,
                name: stringify!($variant),
                about: concat!($($about),*),
                fields: <$body as $crate::stub::packet::Body>::FIELDS,
            }),+];

            /// As it travels.
            #[must_use]
            pub fn encode(&self) -> $crate::stub::packet::Packet {
                match self {
                    $(Self::$variant(body) => $crate::stub::packet::Packet::new($kind, body)),+
                }
            }

            /// The message that a packet is.
            ///
            /// # Errors
            /// [`Malformed`](super::Malformed) if it is none.
            pub fn decode(packet: &[u8]) -> Result<Self, $crate::stub::packet::Malformed> {
                use $crate::stub::packet::{Body, KIND_BYTES, Malformed};
                let Some((kind, body)) = packet.split_first_chunk::<KIND_BYTES>() else {
                    return Err(Malformed::Short(packet.len()));
                };
                let kind = u32::from_le_bytes(*kind);
                match kind {
                    $($kind => <$body>::read(body).map(Self::$variant),)+
                    _ => return Err(Malformed::Kind(kind)),
                }
                .ok_or(Malformed::Body { kind, length: body.len() })
            }
        }
    };
}

/// Declares an enumeration that is a field of a record, or part of one.
macro_rules! enumeration {
    ($(#[$attribute:meta])* $name:ident: $number:ident {
        $($(#[doc = $about:literal])* $value:literal $variant:ident),+ $(,)?
    }) => {
        $(#[$attribute])*
        #[derive(
            Clone, Copy, Debug, PartialEq, Eq, zerocopy::TryFromBytes, zerocopy::IntoBytes, zerocopy::KnownLayout,
            zerocopy::Immutable,
        )]
        #[repr($number)]
        pub enum $name { $($(#[doc = $about])* $variant = $value),+ }

        impl $name {
            /// All values, for the format's document.
            pub const ROWS: &'static [$crate::stub::packet::Row] = &[$($crate::stub::packet::Row {
                number: $value,
                name: stringify!($variant),
                about: concat!($($about),*),
                fields: &[],
            }),+];
        }
    };
}
pub(super) use {enumeration, messages, records};
