//! Frames between routers of actor configurations: messages, and the notice that an address is no longer held.
//!
//! For a stream between two processes of a machine. Decoding believes nothing, allocates nothing and refuses what it does
//! not know; a frame has one spelling. An address is a token of 128 random bits: whoever has it may send. The layout is
//! documented in `docs/formats/router.md`.

use thiserror::Error;

/// The longest frame in bytes, its length apart.
pub const FRAME_MAX: usize = 1 << 20;
/// Bytes before a frame: its length, little-endian.
pub const LENGTH_BYTES: usize = 4;
/// The version that a greeting names.
pub const VERSION: u32 = 1;
/// The most addresses of one message.
pub const ADDRESSES_MAX: usize = 4096;

const GREETING: u8 = 1;
const MESSAGE: u8 = 2;
const DROPPED: u8 = 3;
/// A token, and on whose side the actor is.
const ADDRESS_BYTES: usize = 17;

/// Names an actor to other processes.
pub type Token = [u8; 16];

/// An address inside a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameAddress {
    /// The actor is on the sender's side.
    Senders(Token),
    /// The actor is on the receiver's side: the address comes home.
    Receivers(Token),
}

/// One frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frame<'a> {
    /// The first frame each way.
    Greeting {
        /// The sender's version of this format.
        version: u32,
    },
    /// A message.
    Message {
        /// The actor that it is for, on the receiver's side.
        target: Token,
        /// The addresses that it carries.
        addresses: Addresses<'a>,
        /// The message itself.
        bytes: &'a [u8],
    },
    /// The sender holds an address no longer.
    Dropped {
        /// The actor, on the receiver's side.
        token: Token,
        /// How often the address had come.
        count: u64,
    },
}

/// The addresses of a message, checked, still as bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addresses<'a>(&'a [u8]);

impl Addresses<'_> {
    /// Each of them, in order.
    pub fn iter(&self) -> impl Iterator<Item = FrameAddress> {
        self.0.chunks_exact(ADDRESS_BYTES).map(|chunk| {
            let mut token = [0; 16];
            token.copy_from_slice(&chunk[1..]);
            if chunk[0] == 0 { FrameAddress::Senders(token) } else { FrameAddress::Receivers(token) }
        })
    }
}

/// Why bytes are no frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum FrameError {
    /// Longer than a frame may be.
    #[error("a frame of {0} bytes is longer than {FRAME_MAX}")]
    TooLong(usize),
    /// It ends too early, or goes on too long.
    #[error("a frame has the wrong length for its kind")]
    Length,
    /// No such kind.
    #[error("no frame has kind {0}")]
    Kind(u8),
    /// Neither side.
    #[error("an address of a frame is on side {0}, which there is not")]
    Side(u8),
    /// More than a message may carry.
    #[error("a message with {0} addresses carries more than {ADDRESSES_MAX}")]
    Addresses(usize),
}

fn split<const N: usize>(bytes: &[u8]) -> Result<([u8; N], &[u8]), FrameError> {
    let (first, rest) = bytes.split_first_chunk::<N>().ok_or(FrameError::Length)?;
    Ok((*first, rest))
}

impl<'a> Frame<'a> {
    /// Reads a frame, without its length.
    ///
    /// # Errors
    /// [`FrameError`].
    pub fn decode(bytes: &'a [u8]) -> Result<Self, FrameError> {
        if bytes.len() > FRAME_MAX {
            return Err(FrameError::TooLong(bytes.len()));
        }
        let (&kind, rest) = bytes.split_first().ok_or(FrameError::Length)?;
        let (frame, rest) = match kind {
            GREETING => {
                let (version, rest) = split(rest)?;
                (Self::Greeting { version: u32::from_le_bytes(version) }, rest)
            }
            MESSAGE => {
                let (target, rest) = split(rest)?;
                let (count, rest) = split(rest)?;
                let count = usize::from(u16::from_le_bytes(count));
                if count > ADDRESSES_MAX {
                    return Err(FrameError::Addresses(count));
                }
                let (addresses, bytes) =
                    rest.split_at_checked(count * ADDRESS_BYTES).ok_or(FrameError::Length)?;
                let sides = addresses.iter().step_by(ADDRESS_BYTES);
                if let Some(side) = sides.copied().find(|side| *side > 1) {
                    return Err(FrameError::Side(side));
                }
                (Self::Message { target, addresses: Addresses(addresses), bytes }, &[][..])
            }
            DROPPED => {
                let (token, rest) = split(rest)?;
                let (count, rest) = split(rest)?;
                (Self::Dropped { token, count: u64::from_le_bytes(count) }, rest)
            }
            other => return Err(FrameError::Kind(other)),
        };
        if rest.is_empty() { Ok(frame) } else { Err(FrameError::Length) }
    }
}

/// Writes frames, with their lengths before them, piece by piece.
pub struct Writer<F: FnMut(&[u8])> {
    write: F,
}

impl<F: FnMut(&[u8])> Writer<F> {
    /// Hands the bytes to a function.
    pub fn new(write: F) -> Self {
        Self { write }
    }

    fn begin(&mut self, kind: u8, length: usize) -> Result<(), FrameError> {
        let length = length + 1;
        if length > FRAME_MAX {
            return Err(FrameError::TooLong(length));
        }
        // It fits: the longest frame is far shorter than 4 GiB.
        (self.write)(&(length as u32).to_le_bytes());
        (self.write)(&[kind]);
        Ok(())
    }

    /// A greeting.
    ///
    /// # Errors
    /// None that can happen: a greeting is short.
    pub fn greeting(&mut self, version: u32) -> Result<(), FrameError> {
        self.begin(GREETING, 4)?;
        (self.write)(&version.to_le_bytes());
        Ok(())
    }

    /// A message.
    ///
    /// # Errors
    /// [`FrameError::TooLong`] or [`FrameError::Addresses`]; nothing was written then.
    pub fn message(
        &mut self,
        target: &Token,
        addresses: &[FrameAddress],
        bytes: &[u8],
    ) -> Result<(), FrameError> {
        if addresses.len() > ADDRESSES_MAX {
            return Err(FrameError::Addresses(addresses.len()));
        }
        self.begin(MESSAGE, 16 + 2 + addresses.len() * ADDRESS_BYTES + bytes.len())?;
        (self.write)(target);
        (self.write)(&(addresses.len() as u16).to_le_bytes());
        for address in addresses {
            let (side, token) = match address {
                FrameAddress::Senders(token) => (0, token),
                FrameAddress::Receivers(token) => (1, token),
            };
            (self.write)(&[side]);
            (self.write)(token);
        }
        (self.write)(bytes);
        Ok(())
    }

    /// The notice that an address is no longer held.
    ///
    /// # Errors
    /// None that can happen: a notice is short.
    pub fn dropped(&mut self, token: &Token, count: u64) -> Result<(), FrameError> {
        self.begin(DROPPED, 24)?;
        (self.write)(token);
        (self.write)(&count.to_le_bytes());
        Ok(())
    }
}
