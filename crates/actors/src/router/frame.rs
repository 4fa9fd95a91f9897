//! Frames between routers of actor configurations: messages, and the notice that an address is no longer
//! held.
//!
//! For a stream between two processes of a machine. Decoding believes nothing, allocates nothing and refuses
//! what it does not know; a frame has one spelling. An address is a token of 128 random bits, or the place of
//! an actor of a durable configuration with a seal of 128 bits, which means the same after both processes
//! were started again. Any process that has it may send. The layout is documented in
//! `docs/formats/router.md`.

use thiserror::Error;

use crate::model::durable_address::{DurableAddress, Token};

/// The longest frame in bytes, its length apart.
pub const FRAME_MAX: usize = 1 << 20;
/// Bytes before a frame: its length, little-endian.
pub const LENGTH_BYTES: usize = 4;
/// The version that a greeting names.
pub const VERSION: u32 = 2;
/// The most addresses of one message.
const ADDRESSES_MAX: usize = 4096;

const GREETING: u8 = 1;
const MESSAGE: u8 = 2;
const DROPPED: u8 = 3;
const LETTER: u8 = 4;
const ACKNOWLEDGED: u8 = 5;
const LACKING: u8 = 6;
const PRESENT: u8 = 7;

/// On whose side the actor of an address is; a durable one may be on either, or on neither.
const SENDERS: u8 = 0;
const RECEIVERS: u8 = 1;
const DURABLE: u8 = 2;

/// An address inside a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameAddress {
    /// The actor is on the sender's side.
    Senders(Token),
    /// The actor is on the receiver's side: the address comes home.
    Receivers(Token),
    /// The actor is of a durable configuration, wherever that is open.
    Durable(DurableAddress),
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
    /// A message to an actor of a durable configuration.
    Letter {
        /// The actor that it is for.
        target: DurableAddress,
        /// The sender's stream of messages to that configuration.
        stream: Token,
        /// The message's number in the stream, from 1: the receiver takes each once. 0 for a message of no
        /// stream.
        sequence: u64,
        /// The addresses that it carries.
        addresses: Addresses<'a>,
        /// The message itself.
        bytes: &'a [u8],
    },
    /// The receiver of a stream has committed it up to a number.
    Acknowledged {
        /// The stream.
        stream: Token,
        /// The number.
        sequence: u64,
    },
    /// The receiver of a stream lacks what comes after a number, and has got something later.
    Lacking {
        /// The stream.
        stream: Token,
        /// The last number that it has.
        sequence: u64,
    },
    /// A durable configuration is open on the sender's side.
    Present {
        /// The configuration.
        configuration: Token,
    },
}

/// The addresses of a message, checked, still as bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addresses<'a>(&'a [u8]);

impl Addresses<'_> {
    /// Each of them, in order.
    pub fn iter(&self) -> impl Iterator<Item = FrameAddress> {
        let mut rest = self.0;
        std::iter::from_fn(move || {
            // What does not decode was refused when the frame was read.
            let (address, after) = address(rest).ok()?;
            rest = after;
            Some(address)
        })
    }
}

/// The first address of these bytes, and the rest.
fn address(bytes: &[u8]) -> Result<(FrameAddress, &[u8]), FrameError> {
    let ([side], rest) = split(bytes)?;
    match side {
        SENDERS => split(rest).map(|(token, rest)| (FrameAddress::Senders(token), rest)),
        RECEIVERS => split(rest).map(|(token, rest)| (FrameAddress::Receivers(token), rest)),
        DURABLE => {
            split(rest).map(|(bytes, rest)| (FrameAddress::Durable(DurableAddress::from_bytes(&bytes)), rest))
        }
        other => Err(FrameError::Side(other)),
    }
}

/// Bytes of an address in a frame.
fn address_bytes(address: &FrameAddress) -> usize {
    match address {
        FrameAddress::Senders(_) | FrameAddress::Receivers(_) => 17,
        FrameAddress::Durable(_) => 1 + DurableAddress::BYTES,
    }
}

/// The addresses of a message, behind their number, and its bytes.
fn content(bytes: &[u8]) -> Result<(Addresses<'_>, &[u8]), FrameError> {
    let (count, all) = split(bytes)?;
    let count = usize::from(u16::from_le_bytes(count));
    if count > ADDRESSES_MAX {
        return Err(FrameError::Addresses(count));
    }
    let mut rest = all;
    for _ in 0..count {
        rest = address(rest)?.1;
    }
    Ok((Addresses(&all[..all.len() - rest.len()]), rest))
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
                let (addresses, bytes) = content(rest)?;
                (Self::Message { target, addresses, bytes }, &[][..])
            }
            DROPPED => {
                let (token, rest) = split(rest)?;
                let (count, rest) = split(rest)?;
                (Self::Dropped { token, count: u64::from_le_bytes(count) }, rest)
            }
            LETTER => {
                let (target, rest) = split(rest)?;
                let (stream, rest) = split(rest)?;
                let (sequence, rest) = split(rest)?;
                let (addresses, bytes) = content(rest)?;
                let (target, sequence) = (DurableAddress::from_bytes(&target), u64::from_le_bytes(sequence));
                (Self::Letter { target, stream, sequence, addresses, bytes }, &[][..])
            }
            ACKNOWLEDGED | LACKING => {
                let (stream, rest) = split(rest)?;
                let (sequence, rest) = split(rest)?;
                let sequence = u64::from_le_bytes(sequence);
                let frame = match kind {
                    ACKNOWLEDGED => Self::Acknowledged { stream, sequence },
                    _ => Self::Lacking { stream, sequence },
                };
                (frame, rest)
            }
            PRESENT => {
                let (configuration, rest) = split(rest)?;
                (Self::Present { configuration }, rest)
            }
            other => return Err(FrameError::Kind(other)),
        };
        if rest.is_empty() { Ok(frame) } else { Err(FrameError::Length) }
    }
}

/// Bytes of a message's addresses, their number and its own.
fn content_bytes(addresses: &[FrameAddress], bytes: &[u8]) -> Result<usize, FrameError> {
    if addresses.len() > ADDRESSES_MAX {
        return Err(FrameError::Addresses(addresses.len()));
    }
    Ok(2 + addresses.iter().map(address_bytes).sum::<usize>() + bytes.len())
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
        let length = 16 + content_bytes(addresses, bytes)?;
        self.begin(MESSAGE, length)?;
        (self.write)(target);
        self.content(addresses, bytes);
        Ok(())
    }

    /// A message to an actor of a durable configuration.
    ///
    /// # Errors
    /// As [`Writer::message`].
    pub fn letter(
        &mut self,
        target: &DurableAddress,
        stream: &Token,
        sequence: u64,
        addresses: &[FrameAddress],
        bytes: &[u8],
    ) -> Result<(), FrameError> {
        let length = DurableAddress::BYTES + 16 + 8 + content_bytes(addresses, bytes)?;
        self.begin(LETTER, length)?;
        (self.write)(&target.to_bytes());
        (self.write)(stream);
        (self.write)(&sequence.to_le_bytes());
        self.content(addresses, bytes);
        Ok(())
    }

    fn content(&mut self, addresses: &[FrameAddress], bytes: &[u8]) {
        (self.write)(&(addresses.len() as u16).to_le_bytes());
        for address in addresses {
            match address {
                FrameAddress::Senders(token) => {
                    (self.write)(&[SENDERS]);
                    (self.write)(token);
                }
                FrameAddress::Receivers(token) => {
                    (self.write)(&[RECEIVERS]);
                    (self.write)(token);
                }
                FrameAddress::Durable(address) => {
                    (self.write)(&[DURABLE]);
                    (self.write)(&address.to_bytes());
                }
            }
        }
        (self.write)(bytes);
    }

    /// The notice that a stream is committed up to a number.
    ///
    /// # Errors
    /// None that can happen: a notice is short.
    pub fn acknowledged(&mut self, stream: &Token, sequence: u64) -> Result<(), FrameError> {
        self.numbered(ACKNOWLEDGED, stream, sequence)
    }

    /// The notice that a stream has a gap behind a number.
    ///
    /// # Errors
    /// None that can happen: a notice is short.
    pub fn lacking(&mut self, stream: &Token, sequence: u64) -> Result<(), FrameError> {
        self.numbered(LACKING, stream, sequence)
    }

    fn numbered(&mut self, kind: u8, token: &Token, number: u64) -> Result<(), FrameError> {
        self.begin(kind, 24)?;
        (self.write)(token);
        (self.write)(&number.to_le_bytes());
        Ok(())
    }

    /// The notice that a durable configuration is open here.
    ///
    /// # Errors
    /// None that can happen: a notice is short.
    pub fn present(&mut self, configuration: &Token) -> Result<(), FrameError> {
        self.begin(PRESENT, 16)?;
        (self.write)(configuration);
        Ok(())
    }

    /// The notice that an address is no longer held.
    ///
    /// # Errors
    /// None that can happen: a notice is short.
    pub fn dropped(&mut self, token: &Token, count: u64) -> Result<(), FrameError> {
        self.numbered(DROPPED, token, count)
    }
}
